"""From what the forms of a detector say, batch by batch, to all of their figures."""

from collections.abc import Iterable, Mapping, Sequence
from contextlib import ExitStack
from pathlib import Path

import numpy as np

from brevitas_defakeq.data.sources import Sample
from brevitas_defakeq.evaluation.columns import Columns
from brevitas_defakeq.evaluation.compare import compare
from brevitas_defakeq.evaluation.observe import Observed, Seen, gather
from brevitas_defakeq.evaluation.score_file import score_writer
from brevitas_defakeq.progress import ProgressCallback
from brevitas_defakeq.utils.files import check_writable


def figures_of(
    seen: Iterable[Seen],
    samples: Sequence[Sample],
    thresholds: Mapping[str, float],
    *,
    convention: str,
    scores: Path | None,
    no_face: int | None,
    on_progress: ProgressCallback,
) -> dict:
    """The figures of the first form that was seen, and of all in ``forms``."""
    observed = scored(seen, samples, scores, on_progress)
    figures = compare(observed, thresholds, Columns.of(samples), convention=convention, no_face=no_face)
    first = next(iter(figures))
    return {**figures[first], "form": first, "forms": figures}


def scored(
    seen: Iterable[Seen], samples: Sequence[Sample], folder: Path | None, on_progress: ProgressCallback
) -> dict[str, Observed]:
    """All logits by form; written to ``FOLDER/<form>.csv`` on the way, where a folder is given."""
    if folder is not None:
        check_writable(folder)
    done, write = 0, {}
    with ExitStack() as stack:

        def keep(logits: Mapping[str, np.ndarray]) -> None:
            nonlocal done
            count = len(next(iter(logits.values())))
            for form, values in logits.items() if folder is not None else ():
                if form not in write:
                    write[form] = stack.enter_context(score_writer(folder / f"{form}.csv"))
                write[form](samples[done : done + count], values)
            done += count
            on_progress("score", done, len(samples))

        return gather(seen, keep)
