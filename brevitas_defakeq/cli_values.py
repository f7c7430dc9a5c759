"""Values of options: parsed, checked and turned into what the package takes."""

import math
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from brevitas_defakeq.utils.errors import UserError

if TYPE_CHECKING:
    from brevitas_defakeq.config import DefakeQConfig
    from brevitas_defakeq.data.selection import Selection
    from brevitas_defakeq.imaging.crop import Crop


def numbers(text: str, option: str) -> tuple[float, ...]:
    """Numbers separated by commas; whole ones as int."""
    try:
        values = tuple(float(word) for word in text.split(","))
    except ValueError:
        values = (math.nan,)
    if not all(map(math.isfinite, values)):
        raise UserError(f"{option} {text!r}: give numbers separated by commas")
    return tuple(int(value) if value == int(value) else value for value in values)


def triple(text: str | None, option: str) -> tuple[float, ...] | None:
    """A number for each channel; one number stands for all three."""
    if text is None:
        return None
    values = numbers(text, option)
    if len(values) not in (1, 3):
        raise UserError(f"{option} {text!r}: give one number or three")
    return values * 3 if len(values) == 1 else values


def budgets(given: list[str] | None) -> dict[str, float]:
    """``["lut=40000,bram=100", "dsp=50"]`` as numbers by name."""
    found: dict[str, float] = {}
    for name, value, item in _named(given):
        if name == "bytes":
            continue
        try:
            limit = float(value)
        except ValueError:
            raise UserError(f"--budget {item!r}: give NAME=NUMBER, as in lut=40000,bram=100") from None
        if name in found:
            raise UserError(f"--budget {name} is given twice")
        found[name] = limit
    return found


def byte_budget(given: list[str] | None) -> int | None:
    """The limit of ``["bytes=100kB"]``, None where there is none; it stands alone."""
    limits = [value for name, value, _ in _named(given) if name == "bytes"]
    if not limits:
        return None
    if len(limits) > 1 or budgets(given):
        raise UserError("--budget bytes= goes alone and once; leave the other budgets out")
    return _sent_bytes(limits[0])


def _named(given: list[str] | None) -> list[tuple[str, str, str]]:
    """Name, value and the whole of each limit."""
    items = [item.strip() for item in ",".join(given).split(",")] if given else []
    return [(*item.partition("=")[::2], item) for item in items]


def _sent_bytes(text: str) -> int:
    """``"100kB"``, ``"1.5MB"``, ``"96KiB"`` or ``"100000"`` in bytes."""
    units = {"kib": 1 << 10, "mib": 1 << 20, "kb": 1000, "mb": 1000_000, "b": 1, "": 1}
    lowered = text.strip().lower()
    unit = next(suffix for suffix in units if lowered.endswith(suffix))
    try:
        return int(float(lowered.removesuffix(unit)) * units[unit])
    except (ValueError, OverflowError):
        raise UserError(f"--budget bytes={text}: give a size such as 100kB, 1.5MB or 96KiB") from None


def byte_count(text: str) -> int:
    """``"500MB"`` or ``"2GB"`` in bytes."""
    units = {"kb": 1 << 10, "mb": 1 << 20, "gb": 1 << 30, "b": 1}
    lowered = text.strip().lower()
    for suffix, unit in units.items():
        if lowered.endswith(suffix):
            try:
                return int(float(lowered.removesuffix(suffix)) * unit)
            except ValueError:
                break
    raise UserError(f"--cache-memory {text!r}: give a size such as 500MB or 2GB")


def set_threads(threads: int | None) -> None:
    """Set torch's number of threads, if one is given."""
    if threads is None:
        return
    if threads < 1:
        raise UserError(f"--threads {threads}: must be at least 1")
    import torch

    torch.set_num_threads(threads)


def selection_of(
    split: str,
    compression: str,
    datasets: list[str] | None,
    frames: int | None = None,
    first: bool = False,
    root: Path | None = None,
) -> "Selection":
    """The images of a data set that the options select."""
    from brevitas_defakeq.data.selection import Selection

    return Selection(
        split=split, compression=compression, datasets=tuple(datasets or ()), frames=frames, first=first,
        root=root,
    )  # fmt: skip


def crop_of(kind: str | None, margin: float) -> "Crop | None":
    """The crop that the options give, or None."""
    from brevitas_defakeq.imaging.crop import Crop

    return None if kind is None else Crop(kind, margin)


def with_iterations(config: "DefakeQConfig", iterations: int | None) -> "DefakeQConfig":
    """The configuration with so many steps per block; the final pass scales with them."""
    if iterations is None:
        return config
    work = config.reconstruction
    steps = min(config.final.steps, max(1, round(config.final.steps * iterations / max(1, work.iterations))))
    return replace(
        config, reconstruction=replace(work, iterations=iterations),
        final=replace(config.final, steps=steps if config.final.steps else 0),
    )  # fmt: skip
