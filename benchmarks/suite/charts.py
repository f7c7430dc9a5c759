"""Charts of the suite's rows."""

from collections.abc import Callable, Iterable, Mapping
from contextlib import contextmanager
from pathlib import Path

import numpy as np

from benchmarks.presets import PEERS
from benchmarks.suite.faces import face_tested
from benchmarks.suite.rows import Row, Setting, auc_kept, by_method, relative_error, share_of_flips
from benchmarks.suite.tasks import COMPRESSION

#: Methods that a chart shows, ours first.
_SHOWN = ("best", "paper", *PEERS, *COMPRESSION)
_MAPS = ("best", "BRECQ", "FIMA-Q", "nearest")
_Axis = tuple[str, str, str, Callable[[Row], float]]
_AXES: tuple[_Axis, ...] = (
    ("flipped verdicts", "%", "log", lambda row: 100 * share_of_flips(row)),
    ("AUC kept", "% of the float AUC", "linear", lambda row: 100 * auc_kept(row)),
    ("error of the logit", "of its variance", "log", relative_error),
)


@contextmanager
def _figure(rows: int, columns: int, size: tuple[float, float], chart: Path):
    """The axes of a figure that is written to ``chart``; the same bytes from the same JSON."""
    import matplotlib

    matplotlib.use("Agg")
    matplotlib.rcParams["svg.hashsalt"] = "defakeq"
    from matplotlib import pyplot

    figure, axes = pyplot.subplots(rows, columns, figsize=size, squeeze=False)
    yield figure, axes
    chart.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(chart, metadata={"Date": None} if chart.suffix == ".svg" else None)
    pyplot.close(figure)


def pareto(rows: Iterable[Row], chart: Path, vehicle: str) -> None:
    """Flips, AUC kept and error against bytes at 8-bit activations, by method; names ``best``'s knee.

    Args:
        rows: of one detector.
    """
    wanted = [row for row in rows if row["task"]["activation_bits"] == 8 and row["task"]["seed"] == 0]
    methods = by_method(sorted(wanted, key=lambda row: row["bytes"]["weights"]))
    with _figure(1, 3, (15, 4.5), chart) as (figure, axes):
        for axis, (title, label, scale, read) in zip(axes[0], _AXES, strict=True):
            for number, method in enumerate(name for name in _SHOWN if name in methods):
                ours = method in ("best", "paper")
                kilobytes = [row["bytes"]["weights"] / 1e3 for row in methods[method]]
                values = [read(row) for row in methods[method]]
                style = {"linewidth": 2.5, "zorder": 3} if ours else {"alpha": 0.7}
                axis.plot(
                    kilobytes, values, marker="osv^Dx"[number // 10], markersize=3, label=method, **style
                )
            axis.set(title=f"{vehicle}: {title}", xlabel="kB of weights", ylabel=label, yscale=scale)
        _name_knee(axes[0][2], methods.get("best", []))
        axes[0][2].legend(fontsize=7, loc="center left", bbox_to_anchor=(1, 0.5))
        figure.tight_layout()


def _name_knee(axis, rows: list[Row]) -> None:
    if len(rows) >= 3:
        row = rows[knee([row["bytes"]["weights"] for row in rows], [relative_error(row) for row in rows])]
        point = row["bytes"]["weights"] / 1e3, relative_error(row)
        axis.annotate(
            f"knee: {row['task']['bits']:g} bits", point, xytext=(20, 30), textcoords="offset points",
            arrowprops={"arrowstyle": "->"},
        )  # fmt: skip


def knee(sizes: list[float], errors: list[float]) -> int:
    """The point farthest below the line from the first to the last, errors as logarithms (Kneedle)."""
    x, y = np.array(sizes, dtype=float), np.log(np.maximum(errors, 1e-12))
    x, y = (x - x[0]) / (x[-1] - x[0]), (y - y[-1]) / (y[0] - y[-1])
    return int(np.argmax(1 - x - y))


def saliency_chart(settings: Mapping[Setting, list[Row]], vehicle: str, chart: Path) -> None:
    """Four fakes, and where the float and the quantized detectors look, at 3 bits."""
    found = settings.get(Setting(vehicle, 8, 3.0), [])
    rows = {
        row["task"]["method"]: row["saliency"] for row in found
        if row["task"]["seed"] == 0 and "shown" in row.get("saliency", {})
    }  # fmt: skip
    methods = [method for method in _MAPS if method in rows]
    if "best" not in methods:
        return
    shown = rows["best"]["shown"]
    size = 1.5 * (2 + len(methods)), 1.5 * len(shown) + 0.3
    with _figure(len(shown), 2 + len(methods), size, chart) as (figure, axes):
        for number, index in enumerate(shown):
            maps = {"float": rows["best"]["float"][number]}
            maps |= {method: rows[method]["quantized"][number] for method in methods}
            axes[number][0].imshow(face_tested(index))
            for axis, (name, values) in zip(axes[number][1:], maps.items(), strict=True):
                axis.imshow(values, interpolation="bilinear")
                axis.set_title(name if number == 0 else "", fontsize=9)
        for axis in axes.flat:
            axis.axis("off")
        figure.tight_layout()
