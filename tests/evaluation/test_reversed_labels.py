"""An AUC that is surely below one half is said; one that may be chance is not."""

import pytest

from brevitas_defakeq.evaluation.reversed_labels import reversed_note, reversed_notes


def metrics(auc, high):
    return {"auc": auc, "auc_interval": [max(0.0, auc - 0.1), high]}


@pytest.mark.parametrize(("auc", "high", "said"), [(0.02, 0.1, True), (0.4, 0.49, True), (0.4, 0.6, False)])
def test_only_where_the_interval_excludes_one_half(auc, high, said):
    note = reversed_note({"all data": metrics(auc, high), "faces": metrics(0.9, 0.95), "one class": {"n": 3}})
    assert (note is not None) == said
    if note:
        assert note == (
            f"AUC below 0.5 on all data ({auc:.3f}): labels or class order look reversed; nothing was flipped"
        )


def test_of_variants_and_data_sets():
    own = {**metrics(0.7, 0.8), "per_dataset": {"a": metrics(0.1, 0.2), "b": metrics(0.9, 0.95)}}
    (note,) = reversed_notes({"float": own, "quantized": metrics(0.8, 0.9)})
    assert note.startswith("float: AUC below 0.5 on a (0.100):")
