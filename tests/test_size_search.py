"""The largest budget whose file fits: the search by brute force, and whole runs against plain ones."""

import logging
from dataclasses import replace

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from brevitas_defakeq import UserError, export_onnx, load, quantize
from brevitas_defakeq.cli_values import budgets, byte_budget
from brevitas_defakeq.imaging.preprocessing import Preprocessing
from brevitas_defakeq.size_search import largest_budget, quantize_to_size


@given(
    st.lists(st.integers(1, 50), min_size=1, max_size=30), st.integers(0, 900),
    st.lists(st.floats(0.2, 5.0), min_size=30, max_size=30),
)  # fmt: skip
def test_the_search_finds_what_trying_all_finds(steps, limit, errors):
    """However wrong the guesses are."""
    sizes = [sum(steps[: place + 1]) for place in range(len(steps))]
    tried = []

    def size_of(budget):
        tried.append(budget)
        return sizes[int(budget)]

    def search():
        return largest_budget(
            size_of, list(map(float, range(len(sizes)))), limit,
            lambda budget: max(1, round(sizes[int(budget)] * errors[int(budget)])),
        )  # fmt: skip

    fitting = [place for place, size in enumerate(sizes) if size <= limit]
    if not fitting:
        with pytest.raises(UserError, match=rf"smallest file, at 0 bits a weight, takes {sizes[0]} bytes"):
            search()
        return
    budget, trials = search()
    assert budget == fitting[-1]
    assert [trial.average_bits for trial in trials] == tried and len(set(tried)) == len(tried)
    assert all(trial.fits == (trial.bytes <= limit) for trial in trials)


def test_good_guesses_need_few_runs():
    """Sizes a tenth below what is expected, as entropy coding leaves them: two runs of 25."""
    found, trials = largest_budget(
        lambda bits: int(0.9 * 10_000 * bits), [2 + 0.25 * step for step in range(25)], 33_000,
        lambda bits: int(10_000 * bits),
    )  # fmt: skip
    assert found == 3.5 and len(trials) == 3


@pytest.fixture(scope="module")
def config(quick_config):
    return quick_config(
        candidate_bits=(2, 3), reconstruction__iterations=1, final__steps=0, haq__relaxed_steps=20
    )


def test_it_is_the_plain_run_at_that_budget(tiny, images, config, tmp_path, caplog):
    largest = quantize(tiny.model(), images, replace(config, average_bits=3.0))
    limit = largest.report["size_bytes"]["quantized"] - 1
    with caplog.at_level(logging.WARNING):
        found = quantize_to_size(tiny.model(), images, config, max_bytes=limit, out=tmp_path)
    assert "the weights file is counted" in caplog.text, "tensors have no preprocessing, so no ONNX file"
    search = found.report["search"]
    assert search["max_bytes"] == limit and search["file"] == "weights.safetensors"
    assert (tmp_path / "weights.safetensors").stat().st_size <= limit
    chosen = found.config.average_bits
    assert chosen == max(trial["average_bits"] for trial in search["trials"] if trial["fits"])
    assert min(t["average_bits"] for t in search["trials"] if not t["fits"]) == chosen + 0.25
    plain = quantize(tiny.model(), images, replace(config, average_bits=chosen))
    assert found.bits == plain.bits
    for kind, tensor in load(tmp_path, tiny.model()).packed["quantized"].items():
        assert torch.equal(tensor, plain.packed["quantized"][kind]), kind
    assert not (tmp_path / ".unfinished").exists()


def test_what_is_counted_is_the_file_that_export_writes(tiny, images, config, tmp_path):
    found = quantize_to_size(
        tiny.model(), images, replace(config, candidate_bits=(2,)), max_bytes=10**6,
        preprocessing=Preprocessing((16, 16)),
    )  # fmt: skip
    (trial,) = found.report["search"]["trials"]
    assert found.report["search"]["file"] == "model.onnx.gz"
    export_onnx(found, tmp_path, compress=True)
    assert trial["bytes"] == (tmp_path / "model.onnx.gz").stat().st_size


def test_bad_calls(tiny, images, config):
    with pytest.raises(UserError, match="give at least 1"):
        quantize_to_size(tiny.model(), images, config, max_bytes=0)
    with pytest.raises(UserError, match=r"smallest file, at 2 bits a weight, takes [\d,]+ bytes; allow"):
        quantize_to_size(tiny.model(), images, config, max_bytes=100)


@pytest.mark.parametrize(
    ("text", "size"),
    [
        ("100kB", 100_000),
        ("1.5MB", 1_500_000),
        ("96KiB", 98_304),
        ("2MiB", 2 << 20),
        ("1234", 1234),
        ("5b", 5),
    ],
)
def test_sizes(text, size):
    assert byte_budget([f"bytes={text}"]) == size and budgets([f"bytes={text}"]) == {}


@pytest.mark.parametrize("text", ["", "many", "kB", "1,5MB", "infkB", "nan"])
def test_what_is_no_size(text):
    with pytest.raises(UserError, match="--budget"):
        byte_budget([f"bytes={text}"])


def test_it_goes_alone():
    assert byte_budget(None) is None and byte_budget(["lut=3"]) is None
    for given_budgets in (["bytes=1kB", "lut=3"], ["bytes=1kB,bytes=2kB"]):
        with pytest.raises(UserError, match="goes alone"):
            byte_budget(given_budgets)
