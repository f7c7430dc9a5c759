"""The tables of ``defakeq datasets`` and ``defakeq datasets check``."""

from typing import Any

from rich.table import Table


def dataset_tables(described: dict[str, Any]) -> list[Table]:
    """Tables of the known data sets and layouts, from ``data.known_datasets.describe_datasets``."""
    known = Table(
        title="data sets known by name; their videos lie in frames/VIDEO/000.png or as VIDEO.mp4 in"
    )
    for column in ("name", "class folders", "splits"):
        known.add_column(column, overflow="fold")
    for row in described["datasets"]:
        if row["part_of"] is None:
            known.add_row(row["name"], "\n".join(row["folders"]), row["splits"])
    subsets = [row["name"] for row in described["datasets"] if row["part_of"]]
    known.caption = f"{{c}}: raw, c23 or c40; parts of FaceForensics++ by name: {', '.join(subsets)}"
    layouts = Table(title="layouts")
    layouts.add_column("layout", no_wrap=True)
    layouts.add_column("looks like", overflow="fold")
    for row in described["layouts"]:
        layouts.add_row(row["name"], row["looks_like"].replace("[", "\\["))
    return [known, layouts]


def findings_tables(findings: dict[str, Any]) -> list[Table]:
    """Tables of ``data.check.check_source``: counts, predictors of the label, and problems."""
    tables = [_counts(findings)]
    if any(dataset["manipulations"] for dataset in findings["datasets"]):
        tables.append(_manipulations(findings))
    if findings["label_goes_with"]:
        tables.append(_label_goes_with(findings))
    return [*tables, _problems(findings)]


def _counts(findings: dict[str, Any]) -> Table:
    table = Table(title=f"{findings['path']}: {findings['layout']}")
    for column in ("data set", "split"):
        table.add_column(column)
    for column in ("real videos", "images", "fake videos", "images", "without label"):
        table.add_column(column, justify="right")
    for dataset in findings["datasets"]:
        for split, labels in dataset["splits"].items():
            cells = [
                f"{labels.get(label, {}).get(what, 0):,}"
                for label in ("real", "fake")
                for what in ("videos", "images")
            ]
            unlabelled = labels.get("unlabelled", {}).get("images", 0)
            table.add_row(dataset["name"], split, *cells, f"{unlabelled:,}" if unlabelled else "")
    return table


def _manipulations(findings: dict[str, Any]) -> Table:
    table = Table(title="fakes by manipulation, all splits")
    table.add_column("data set")
    table.add_column("manipulation")
    for column in ("videos", "images"):
        table.add_column(column, justify="right")
    for dataset in findings["datasets"]:
        for name, count in dataset["manipulations"].items():
            table.add_row(dataset["name"], name, f"{count['videos']:,}", f"{count['images']:,}")
    return table


def _label_goes_with(findings: dict[str, Any]) -> Table:
    table = Table(title=f"does anything but the face predict the label? ({findings['headers_read']:,} files)")
    table.add_column("attribute")
    table.add_column("labels predicted from it", justify="right")
    table.add_column("most predictive value")
    for column in ("of the real", "of the fake"):
        table.add_column(column, justify="right")
    table.caption = "50 % is chance; accuracy on held-out videos"
    for row in findings["label_goes_with"]:
        shares = (f"{100 * row[f'share_of_{label}']:.0f} %" for label in ("real", "fake"))
        accuracy = f"{100 * row['accuracy']:.0f} %" + " !" * row["notable"]
        table.add_row(row["attribute"], accuracy, row["value"], *shares)
    return table


def _problems(findings: dict[str, Any]) -> Table:
    table = Table(title="problems" if findings["problems"] else "no problems found", show_header=False)
    table.add_column(overflow="fold")
    for problem in findings["problems"]:
        table.add_row(problem.replace("[", "\\["))
    return table
