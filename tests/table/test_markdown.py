"""The tables in Markdown from made cells, a figure at a time; what is missing stays empty."""

import pytest

from brevitas_defakeq.table.markdown import markdown
from brevitas_defakeq.table.overview import overview

SPEC = {
    "detectors": [{"label": "UCF"}, {"label": "NPR"}],
    "datasets": {"DFD": "", "CDF | v2": ""},
    "methods": [{"label": "float"}, {"label": "DeFakeQ 3 bits"}],
}
#: How DeFakeQ's verdicts differ on DFD; the cell of the other data set is of an earlier version.
FIDELITY = {
    "verdict_agreement": 0.995, "feature_snr_db": None, "largest_probability_change": 0.2134,
    "flips": {"count": 18, "n": 4000, "share": 0.0045, "interval": [0.0028, 0.0071], "threshold": 0.0},
}  # fmt: skip
#: Detector and method -> bytes and the AUC on both data sets.
CELLS = {
    ("UCF", "float"): (2**20 * 80, (0.849, 0.753)),
    ("UCF", "DeFakeQ 3 bits"): (2**20 * 8, (0.842, 0.7535)),
    ("NPR", "float"): (2**20 * 5, (0.855, None)),
}


@pytest.fixture(scope="module")
def found():
    cells = []
    for (detector, method), (size, aucs) in CELLS.items():
        for dataset, auc in zip(SPEC["datasets"], aucs, strict=True):
            figures = {"auc": auc, "auc_interval": [0.7, 0.9], "video_auc": None, "eer": 0.25}
            if method != "float":
                lost = CELLS[detector, "float"][1][list(SPEC["datasets"]).index(dataset)] - auc
                figures["drop"] = {"auc": lost, "auc_interval": [-0.01, 0.02]}
                figures["fidelity"] = FIDELITY if dataset == "DFD" else {"verdict_agreement": 0.99}
                figures["video"] = {"fidelity": {"flips": {"share": 0.01}}}
            if auc is not None:
                cells.append(
                    {
                        "detector": detector, "method": method, "dataset": dataset, "size_bytes": size,
                        "float_bytes": CELLS[detector, "float"][0], "average_bits": None, "figures": figures,
                    }
                )  # fmt: skip
    return overview(SPEC, cells)


def tables(text):
    """Title -> rows of cells, the header first."""
    parts = {}
    for part in text.split("## ")[1:]:
        title, *lines = part.strip().splitlines()
        rows = [line.strip("|").split("|") for line in lines if line.startswith("|")]
        assert len(set(map(len, rows))) == 1, f"{title}: every line has as many cells"
        parts[title.split(":")[0]] = [[cell.strip() for cell in row] for row in rows if row[0] != "---"]
    return parts


def test_the_json(found):
    assert found["auc"] == {
        "DFD": {"UCF": {"float": 0.849, "DeFakeQ 3 bits": 0.842}, "NPR": {"float": 0.855}},
        "CDF | v2": {"UCF": {"float": 0.753, "DeFakeQ 3 bits": 0.7535}},
    }
    assert found["sizes"]["UCF"]["DeFakeQ 3 bits"] == {
        "bytes": 2**20 * 8, "mib": 8.0, "compression_percent": 90.0, "average_bits": None,
    }  # fmt: skip
    assert found["mean"] == {"UCF": {"float": (0.849 + 0.753) / 2, "DeFakeQ 3 bits": (0.842 + 0.7535) / 2}}
    assert found["flips"] == {"DFD": {"UCF": {"DeFakeQ 3 bits": 0.0045}}, "CDF | v2": {}}
    assert found["mean_flips"] == {}, "not every data set has them"


def test_the_mean_of_flips(found):
    cells = [
        {**cell, "figures": {**cell["figures"], "fidelity": {"flips": {"share": share}}}}
        for cell, share in zip(found["cells"][2:4], (0.01, 0.04), strict=True)
    ]
    assert {cell["method"] for cell in cells} == {"DeFakeQ 3 bits"}
    assert overview(SPEC, cells)["mean_flips"] == {"UCF": {"DeFakeQ 3 bits": pytest.approx(0.025)}}


def test_the_tables(found):
    read = tables(markdown(found))
    assert read["Table 1"] == [
        ["detector", "MiB, float", "MiB, DeFakeQ 3 bits", "compression, float", "compression, DeFakeQ 3 bits",
         "AUC, float", "AUC, DeFakeQ 3 bits"],
        ["UCF", "80.00", "8.00", "0.0", "90.0", "84.9", "84.2 (-0.7)"],
        ["NPR", "5.00", "", "0.0", "", "85.5", ""],
    ]  # fmt: skip
    assert read["Tables 2 and 3"] == [
        ["detector", "CDF / v2, float", "CDF / v2, DeFakeQ 3 bits", "mean, float", "mean, DeFakeQ 3 bits"],
        ["UCF", "75.3", "75.3 (+0.0)", "80.1", "79.8 (-0.3)"],
        ["NPR", "", "", "", ""],
    ]
    assert read["Table 4"] == [
        ["method", "DFD, UCF", "DFD, NPR", "CDF / v2, UCF", "CDF / v2, NPR"],
        ["float", "84.9", "85.5", "75.3", ""],
        ["DeFakeQ 3 bits", "84.2", "", "75.3", ""],
    ]
    assert read["Table 5"] == [
        ["method", "MiB, UCF", "compression, UCF", "MiB, NPR", "compression, NPR"],
        ["float", "80.00", "0.0", "5.00", "0.0"],
        ["DeFakeQ 3 bits", "8.00", "90.0", "", ""],
    ]
    losses = read["Losses of AUC against float, with paired 95 % intervals over videos"]
    assert losses[0] == [
        "detector", "data set", "method", "AUC", "interval", "loss", "interval", "video AUC", "EER",
    ]  # fmt: skip
    assert losses[1] == ["UCF", "DFD", "float", "0.8490", "0.7000 to 0.9000", "", "", "", "0.2500"]
    quantized = next(row for row in losses if row[1:3] == ["DFD", "DeFakeQ 3 bits"])
    assert quantized[5:7] == ["0.0070", "-0.0100 to 0.0200"]
    assert read["Flips"][1:] == [
        ["UCF", "DFD", "DeFakeQ 3 bits", "4000", "0.45", "0.28 to 0.71", "1.00", "99.5", "0.213"],
    ]  # fmt: skip


def test_notes_come_first(found):
    assert found["notes"] == [] and "Notes" not in markdown(found)
    assert markdown({**found, "notes": ["one", "two"]}).startswith("## Notes\n\n- one\n- two\n\n## Table 1")


def test_untrained_and_reversed_detectors_are_noted(found):
    cells = [{**cell, "untrained": cell["detector"] == "NPR"} for cell in found["cells"]]
    cells[0] = {**cells[0], "figures": {**cells[0]["figures"], "auc": 0.1, "auc_interval": [0.0, 0.2]}}
    notes = overview(found["spec"], cells)["notes"]
    assert any(note.startswith("NPR: its weights are random") for note in notes)
    assert any(note.startswith("UCF on DFD: AUC below 0.5 on all data (0.100)") for note in notes)
    assert len(notes) == 2


def test_one_data_set_alone(found):
    single = {**found, "auc": {"DFD": found["auc"]["DFD"]}}
    assert tables(markdown(single))["Tables 2 and 3"][0] == [
        "detector",
        "mean, float",
        "mean, DeFakeQ 3 bits",
    ]
