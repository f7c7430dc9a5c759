"""Score files: what is written reads back to the last bit, or is refused in a line."""

import csv
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from brevitas_defakeq.data.sources import Sample
from brevitas_defakeq.evaluation.frame_table import FrameTable
from brevitas_defakeq.evaluation.score_file import HEADER, read_scores, read_scores_together, score_writer
from brevitas_defakeq.evaluation.summary import summaries
from brevitas_defakeq.utils.errors import UserError

words = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0/\r"), min_size=1, max_size=8)
names = words.filter(lambda word: word.strip(". \n") == word and word)


def write(path, samples, logits, size=3):
    with score_writer(path) as write_batch:
        for start in range(0, len(samples), size):
            write_batch(samples[start : start + size], logits[start : start + size])


@settings(deadline=None, max_examples=50)
@given(
    st.lists(
        st.tuples(names, names, st.integers(0, 1), names, names, st.floats(width=32, allow_nan=False)),
        min_size=1, max_size=9,
    )
)  # fmt: skip
def test_what_is_written_reads_back(tmp_path_factory, rows):
    path = tmp_path_factory.mktemp("scores") / "it.csv"
    samples = [
        Sample(Path(folder, name), label, video, dataset, "swap" * label)
        for folder, name, label, video, dataset, _ in rows
    ]
    logits = np.float32([row[-1] for row in rows])
    write(path, samples, logits)
    found = read_scores(path)
    np.testing.assert_array_equal(found.logits, logits.astype(float))
    expected = FrameTable.from_samples(samples)
    for column in ("labels", "videos", "folders"):
        np.testing.assert_array_equal(getattr(found.frames, column), getattr(expected, column))
    assert found.frames.datasets.names == expected.datasets.names
    assert found.frames.manipulations.names == expected.manipulations.names


def test_the_file_by_hand(tmp_path):
    samples = [
        Sample(Path("a/0.png"), 0, "a", "FF"),
        Sample(Path("b, c/1.png"), 1, "b", "FF", "Deepfakes"),
    ]
    write(tmp_path / "new" / "it.csv", samples, np.float32([0.0, 0.1]))
    lines = (tmp_path / "new" / "it.csv").read_text().splitlines()
    assert lines[0] == "path,label,dataset,manipulation,video,logit,probability" == ",".join(HEADER)
    assert lines[1] == "a/0.png,0,FF,,a,0.0,0.5"
    assert lines[2] == '"b, c/1.png",1,FF,Deepfakes,b,0.10000000149011612,0.524979'
    with open(tmp_path / "new" / "it.csv", newline="") as file:
        assert [row["video"] for row in csv.DictReader(file)] == ["a", "b"]


def test_the_file_is_whole_or_not_there(tmp_path):
    path = tmp_path / "it.csv"
    path.write_text("before")
    with pytest.raises(RuntimeError), score_writer(path) as write_batch:
        write_batch([Sample(Path("a.png"), 0, "a", "x")], np.zeros(1))
        raise RuntimeError
    assert path.read_text() == "before" and list(tmp_path.iterdir()) == [path]


def test_metrics_from_a_file_are_those_of_the_scores(tmp_path, as_samples, scored):
    labels, scores = scored(60)
    samples, other = as_samples(list(labels), [str(n // 3) for n in range(60)]), scores * 2 + 0.1
    for variant, values in (("float", scores), ("quantized", other)):
        write(tmp_path / f"{variant}.csv", samples, values)
    files = {variant: tmp_path / f"{variant}.csv" for variant in ("float", "quantized")}
    frames, read = read_scores_together(files)
    direct = summaries(
        FrameTable.from_samples(samples), {"float": scores, "quantized": other}, {"quantized": 0.1}
    )
    assert summaries(frames, read, {"quantized": 0.1}) == direct
    write(tmp_path / "other.csv", samples[::-1], other)
    with pytest.raises(UserError, match="hold scores of different frames"):
        read_scores_together({**files, "quantized": tmp_path / "other.csv"})


FIRST_LINE = ",".join(HEADER) + "\n"


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("", "is no score file; its first line must be path,label"),
        ("path,label\na.png,0\n", "is no score file"),
        (FIRST_LINE + "a.png,0,x,,a,0.5,0.6\nb.png,1,x,,b,high,0.6\n", "line 3: could not convert"),
        (FIRST_LINE + "a.png,2,x,,a,0.5,0.6\n", "line 2: label '2'"),
        (FIRST_LINE + "a.png,0,x,,a,0.5\n", "line 2: 6 values instead of 7"),
        (FIRST_LINE + "\xff", "is no CSV in UTF-8"),
    ],
)
def test_other_files_are_refused(tmp_path, content, message):
    (tmp_path / "it.csv").write_bytes(content.encode("latin-1"))
    with pytest.raises(UserError, match=message) as caught:
        read_scores(tmp_path / "it.csv")
    assert "\n" not in str(caught.value)


def test_a_missing_file_is_refused(tmp_path):
    with pytest.raises(UserError, match="it.csv cannot be read: No such file"):
        read_scores(tmp_path / "it.csv")
