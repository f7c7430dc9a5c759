"""Metrics of a detector on labelled images; data flow one way.

1. ``predictors``: variants of a run, or exported files, yield outputs for images.
2. ``predict.collect`` keeps the scores; ``score_file`` writes and reads them as CSV.
3. ``subset_metrics``: ``metrics`` by a convention (``conventions``), AUCs with intervals (``bootstrap``) and
   paired differences (``paired_auc``) on some of the frames (``frame_table``).
4. ``summary``: all of them overall, by data set and by manipulation, with ``fidelity`` and notes.

``evaluate_run`` and ``robustness`` are the entry points; quantization also uses
``metrics.carry_threshold`` and ``smallest_budget``.
"""
