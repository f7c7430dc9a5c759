"""The tables of ``defakeq datasets`` and ``defakeq datasets check``."""

import io

from rich.console import Console

from brevitas_defakeq.data.known_datasets import describe_datasets
from brevitas_defakeq.report.dataset_report import dataset_tables, findings_tables

FINDINGS = {
    "path": "data/celeb", "layout": "frames folders", "headers_read": 2000,
    "datasets": [
        {
            "name": "Celeb-DF-v2", "manipulations": {"swap": {"videos": 1340, "images": 5000}},
            "splits": {
                "train": {"unlabelled": {"videos": 1, "images": 7}},
                "test": {"real": {"videos": 178, "images": 5696}, "fake": {"videos": 1340, "images": 5000}},
            },
        }
    ],
    "label_goes_with": [
        {"attribute": "file format", "accuracy": 0.984, "value": "PNG", "share_of_real": 0.0,
         "share_of_fake": 0.97, "notable": True},
        {"attribute": "data set", "accuracy": 0.5, "value": "a", "share_of_real": 1.0, "share_of_fake": 1.0,
         "notable": False},
    ],
    "problems": ["[3] videos of 178 are missing"],
}  # fmt: skip


def printed(tables, width=110):
    console = Console(file=io.StringIO(), width=width)
    console.print(*tables)
    return console.file.getvalue()


def rows(text):
    return [[cell.strip() for cell in line.split("│")[1:-1]] for line in text.splitlines() if "│" in line]


def test_counts_shares_and_problems():
    found = rows(printed(findings_tables(FINDINGS)))
    assert ["Celeb-DF-v2", "train", "0", "0", "0", "0", "7"] in found
    assert ["Celeb-DF-v2", "test", "178", "5,696", "1,340", "5,000", ""] in found
    assert ["Celeb-DF-v2", "swap", "1,340", "5,000"] in found
    assert ["file format", "98 % !", "PNG", "0 %", "97 %"] in found
    assert ["data set", "50 %", "a", "100 %", "100 %"] in found
    assert ["[3] videos of 178 are missing"] in found


def test_nothing_to_say():
    plain = {**FINDINGS, "problems": [], "label_goes_with": []}
    plain["datasets"] = [{**FINDINGS["datasets"][0], "manipulations": {}}]
    text = printed(findings_tables(plain))
    assert "no problems found" in text
    assert "tell the label" not in text and "manipulation" not in text


def test_every_data_set_and_layout_is_shown():
    described = describe_datasets()
    text = printed(dataset_tables(described), width=160)
    for row in [*described["datasets"], *described["layouts"]]:
        assert row["name"] in text
    assert "manipulated_sequences/Deepfakes/{c}" in text
    assert "path,label[,video][,dataset][,manipulation]" in text
