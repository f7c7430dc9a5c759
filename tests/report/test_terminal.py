"""Tables, JSON and progress, on standard output or standard error."""

import copy
import io
import json
from pathlib import Path

import pytest
from rich.console import Console

from brevitas_defakeq.report import terminal
from brevitas_defakeq.report.terminal import card_table, comparison, detector_table, run_tables, show, stages

METRICS = {
    "auc": 0.91234, "auc_interval": [0.9, 0.925], "accuracy": 0.8, "eer": 0.15, "ap": 0.93, "n": 50,
    "video_auc": 0.95,
    "per_dataset": {"one": {"n": 20, "auc": 0.87}, "two": {"n": 20, "auc": 0.99}, "three": {"n": 10}},
    "fidelity": {
        "rank_correlation": 0.9, "verdict_agreement": 0.975, "feature_snr_db": 20.0,
        "flips": {"count": 2, "n": 50, "share": 0.04, "interval": [0.011, 0.1346], "threshold": 0.5},
        "expected_flips": {"share": 0.032, "interval": [0.012, 0.08], "n": 50},
        "largest_probability_change": 0.2134,
    },
}  # fmt: skip
EARLIER = json.loads((Path(__file__).parents[1] / "data_files" / "run_013x" / "report.json").read_text())


def report(**changes):
    variants = ("float", "round_to_nearest", "round_to_nearest_above", "quantized", "mixed")
    return {
        "detector": {"name": "tiny"}, "average_bits": 2.4983, "metrics": dict.fromkeys(variants, METRICS),
        "size_bytes": {"float": 200_000, "quantized": 20_000, "mixed": 25_000}, **changes,
    }  # fmt: skip


def printed(table, width=200):
    console = Console(file=io.StringIO(), width=width)
    console.print(table)
    return console.file.getvalue()


def row(text, label):
    (line,) = [line for line in text.splitlines() if f"│ {label} " in line]
    return [cell.strip() for cell in line.split("│")[1:-1]]


def test_a_row_per_variant_with_sizes_and_data_sets():
    text = printed(comparison(report()))
    assert "tiny: 2.50 bits a weight on average" in text
    wanted = ["0.9123", "0.900-0.925", "0.8700", "0.9900", "97.5 %", "4.00 %"]
    assert row(text, "DeFakeQ (M_q)") == ["DeFakeQ (M_q)", *wanted, "20", "10.0 %"]
    assert row(text, "float") == ["float", *wanted, "200", "100.0 %"]
    assert row(text, "round to nearest")[1:] == [*wanted, "", ""]
    assert "three" not in text, "a data set of one class has no AUC"


def test_estimated_chip_resources_are_shown():
    hardware = {"board": "zc706", "estimated": {"lut": 38120.0, "bram": 12.0}}
    assert "estimated on zc706: lut 38,120, bram 12" in printed(comparison(report(hardware=hardware)))


def test_what_makes_the_numbers_worthless_is_said():
    reversed_ = {**METRICS, "auc": 0.1, "auc_interval": [0.05, 0.2], "per_dataset": {}}
    metrics = {"float": reversed_, "quantized": reversed_}
    text = printed(comparison(report(metrics=metrics, detector={"name": "tiny", "untrained": True})))
    assert "float: AUC below 0.5 on all data (0.100): labels or class order look reversed" in text
    assert "the detector's weights are random: no number here" in " ".join(text.split())
    assert "random" not in printed(comparison(report())) and "reversed" not in printed(comparison(report()))


def test_one_data_set_needs_no_column_of_its_own():
    single = {**METRICS, "per_dataset": {"one": {"n": 50, "auc": 0.9}}}
    text = printed(comparison(report(metrics={"float": single, "quantized": single})))
    assert "one" not in text.replace("one bit", "") and "M_q^v" not in text


def test_without_test_data_fidelity_is_shown():
    alone = {"fidelity": METRICS["fidelity"]}
    text = printed(comparison(report(metrics={"float": alone, "quantized": alone})))
    assert "no test data: fidelity on held-out calibration images" in text
    assert "AUC" not in text and row(text, "DeFakeQ (M_q)")[1:] == ["97.5 %", "4.00 %", "20", "10.0 %"]


def test_flips_have_a_table_with_their_interval():
    first, second = run_tables(report())
    text = printed(second)
    assert "flips: verdicts that change at float's threshold, logit 0.5" in text and "│ float " not in text
    for label in ("round to nearest", "DeFakeQ (M_q)", "DeFakeQ, channels restored (M_q^v)"):
        assert row(text, label) == [
            label,
            "50 images",
            "97.5 %",
            "4.00 %",
            "1.10 to 13.46 %",
            "3.20 %",
            "0.213",
        ]
    assert printed(first) == printed(comparison(report()))


def test_flips_of_videos_where_there_are_fewer_than_images():
    metrics = copy.deepcopy(METRICS)
    metrics["video"] = {"fidelity": copy.deepcopy(METRICS["fidelity"])}
    several = {"float": metrics, "quantized": metrics}
    assert "videos" not in printed(run_tables(report(metrics=several))[1]), "a frame a video"
    metrics["video"]["fidelity"]["flips"] |= {"count": 1, "n": 10, "share": 0.1, "interval": [0.0179, 0.404]}
    (line,) = [
        line for line in printed(run_tables(report(metrics=several))[1]).splitlines() if "10 vid" in line
    ]
    assert "10.00 %" in line and "1.79 to 40.40 %" in line


def test_a_report_of_an_earlier_version_is_shown_without_flips():
    assert "flips" not in EARLIER["metrics"]["quantized"]["fidelity"]
    (table,) = run_tables(EARLIER)
    assert row(printed(table), "DeFakeQ (M_q)")[1:3] == ["100.0 %", ""]


def card(**metrics):
    return {
        "name": "tiny", "format": "onnx", "bytes": {"file": 3000}, "patterns": {"LUT3": 1},
        "provenance": {"agreement": None}, "auc": metrics or None,
    }  # fmt: skip


def test_a_card_says_what_its_run_flipped():
    text = " ".join(printed(card_table(card(**METRICS))).split())
    assert "in the run 4.00 % flips (1.10 to 13.46 %) against float" in text
    assert "largest change of P(fake) 0.213" in text
    for known in (card(), card(**EARLIER["metrics"]["quantized"])):
        assert "flips" not in printed(card_table(known))
    checked = {"verdicts": 1.0, "images": 8, "difference": 0.001}
    both = {**card(**METRICS), "provenance": {"agreement": checked}}
    assert "100.0 % of 8 verdicts as the model's" in printed(card_table(both))


def test_detectors():
    row = {"name": "tiny", "parameters": 1234, "input_size": (16, 20), "description": "", "weights": ""}
    text = printed(detector_table([row | {"crop": None}, row | {"name": "big", "crop": {"kind": "box"}}]))
    assert "16 x 20" in text and "1,234" in text and "your crops" in text and "box" in text


# ------------------------------------------------------------------------------------------ where it goes


def test_json_is_all_of_standard_output(capsys):
    show({"auc": 0.5, "name": "Gesicht ü"}, comparison(report()), as_json=True)
    output, errors = capsys.readouterr()
    assert json.loads(output) == {"auc": 0.5, "name": "Gesicht ü"} and output.count("\n") == 1
    assert "DeFakeQ (M_q)" in errors


def test_tables_are_all_of_standard_output(capsys):
    show({"auc": 0.5}, comparison(report()), as_json=False)
    output, errors = capsys.readouterr()
    assert "DeFakeQ (M_q)" in output and errors == ""
    assert max(map(len, output.splitlines())) <= 110


def run_stages():
    with stages() as on_progress:
        on_progress("calibrate", 0, 1)
        on_progress("allocate", 0, 1)
        on_progress("allocate", 3, 7)
        for index in range(5):
            on_progress("reconstruct", index, 4)


def test_no_bars_in_files(capsys):
    run_stages()
    with pytest.raises(KeyError), stages() as on_progress:
        on_progress("calibrate", 0, 1)
        raise KeyError
    assert capsys.readouterr() == ("", "")


def test_bars_on_a_terminal(monkeypatch):
    screen = Console(file=io.StringIO(), force_terminal=True, width=100, legacy_windows=False)
    monkeypatch.setattr(terminal, "Console", lambda **_: screen)
    run_stages()
    text = screen.file.getvalue()
    for stage in ("calibrate", "allocate", "reconstruct"):
        assert stage in text
    assert "4/4" in text and "1/1" in text and "7/7" in text, "every stage is full at the end"
