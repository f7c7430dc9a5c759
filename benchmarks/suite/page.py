"""The suite's page and charts, from the JSON files alone."""

from pathlib import Path

from benchmarks.suite.charts import pareto, saliency_chart
from benchmarks.suite.method_tables import leaders, method_tables
from benchmarks.suite.other_tools import other_tools
from benchmarks.suite.rows import by_setting
from benchmarks.suite.setting_tables import parts_tables, saliency_table, samples_table
from benchmarks.suite.tasks import WHOLE
from benchmarks.tables import reports


def write_page(results: Path, peers: Path, page: Path, charts: Path) -> None:
    """Markdown to ``page``, a Pareto chart a vehicle to ``charts``.

    Args:
        results, peers: folders of the suite's rows and of other tools' (``benchmarks.peers``).
    """
    rows = list(reports(results).values())
    measured = [row for row in rows if "refused" not in row]
    settings = by_setting(measured)
    sections = ["# How it compares\n", _HEAD, _LEADERS, leaders(settings)]
    sections += other_tools(list(reports(peers).values()), measured)
    sections += saliency_table(settings) + samples_table(measured) + parts_tables(settings)
    sections += method_tables(settings)
    sections += [f"- {row['task']['vehicle']}, {row['task']['method']}, {row['task']['bits']:g} bits: "
                 f"{row['refused']}" for row in rows if "refused" in row]  # fmt: skip
    page.write_text("\n".join(sections))
    for vehicle in {setting.vehicle for setting in settings}:
        found = [row for key, rows in settings.items() if key.vehicle == vehicle for row in rows]
        pareto(found, charts / f"pareto-{vehicle}.svg", vehicle)
    for vehicle in WHOLE:
        saliency_chart(settings, vehicle, charts / f"saliency-{vehicle}.png")


_HEAD = """\
Written by `python -m benchmarks --table` from the JSON files in `benchmarks/results/suite`. Every method
starts from the same detector and calibration images and takes the same number of steps; the detectors know
drawn faces.
Bytes are those of the packed weights before they are entropy-coded, of other tools those of the file.
Pruning, SVD and signs have float activations. Flips are verdicts that differ from the float detector's at its
own threshold. The parts are, for drawn faces, the forgery families used in training and those kept out; for
photographs the fair pairs ffhq/tpdne and cip.
"""

_LEADERS = """\
## Who leads

Means over the detectors that are measured whole, seed 0, at equal bytes.
"""
