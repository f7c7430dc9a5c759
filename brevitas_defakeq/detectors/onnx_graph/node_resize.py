"""Resize and Upsample, in the ways that torch has."""

from typing import Any

import numpy as np
import torch
from torch.nn import functional as F

from brevitas_defakeq.detectors.onnx_graph.converter import Node, Value

_MODES = {
    ("linear", 1): "linear", ("linear", 2): "bilinear", ("linear", 3): "trilinear", ("cubic", 2): "bicubic",
}  # fmt: skip
#: Torch's weights of a cubic interpolation.
_CUBIC = -0.75


def resize(node: Node) -> None:
    """By sizes or by scales; axes that keep their length are left alone."""
    x = node.data(0)
    sizes, scales = _targets(node)
    changed = [axis for axis, size in enumerate(sizes) if size != x.shape[axis]]
    if not changed:
        node.alias(x)
        return
    if x.batch_axis in changed:
        node.refuse("it resizes the axis of the batch")
    mode, way = _text(node, "mode", "nearest"), _text(node, "coordinate_transformation_mode", "half_pixel")
    if node.op == "Upsample":
        way = "asymmetric"
    if way == "tf_crop_and_resize" or node.attribute("antialias", 0):
        node.refuse(
            f"{'antialiasing' if node.attribute('antialias', 0) else way} has no counterpart in torch"
        )
    if mode == "nearest":
        indices = {axis: _nearest(node, x, axis, sizes, scales, way) for axis in changed}
        _by_index(node, x, sizes, indices)
        return
    steps = [1 / scales[axis] for axis in changed]
    if mode == "linear" and way == "asymmetric" and all(step == int(step) for step in steps):
        indices = {
            axis: np.arange(sizes[axis]) * int(step) for axis, step in zip(changed, steps, strict=True)
        }
        _by_index(node, x, sizes, indices)
        return
    _interpolated(node, x, sizes, scales, changed, mode, way)


def _text(node: Node, name: str, default: str) -> str:
    return str(node.attribute(name, default))


def _targets(node: Node) -> tuple[list[int], list[float]]:
    """The length of every axis, and its scale."""
    shape = node.data(0).shape
    axes = [node.axis(axis) for axis in node.attribute("axes", range(len(shape)))]
    upsample = node.op == "Upsample"
    given = node.array(1) if upsample else node.array(2)
    wanted = None if upsample else node.array(3)
    sizes, scales = list(shape), [1.0] * len(shape)
    if wanted is not None and len(wanted):
        if _text(node, "keep_aspect_ratio_policy", "stretch") != "stretch":
            node.refuse("it keeps the ratio of the sides; export it with the size that comes out")
        for axis, size in zip(axes, wanted, strict=True):
            sizes[axis], scales[axis] = int(size), float(size) / shape[axis]
    else:
        for axis, scale in zip(axes, given, strict=True):
            sizes[axis], scales[axis] = (
                int(np.floor(np.float32(shape[axis]) * np.float32(scale))),
                float(scale),
            )
    return sizes, scales


def _nearest(node: Node, x: Value, axis: int, sizes: list[int], scales: list[float], way: str) -> np.ndarray:
    """The positions that are taken along an axis, as ONNX defines them."""
    new, old, scale = sizes[axis], x.shape[axis], np.float32(scales[axis])
    steps = np.arange(new, dtype=np.float32)
    if way == "asymmetric":
        positions = steps / scale
    elif way == "align_corners":
        positions = steps * np.float32((old - 1) / max(new - 1, 1))
    elif way == "half_pixel" or (way == "pytorch_half_pixel" and new > 1):
        positions = (steps + np.float32(0.5)) / scale - np.float32(0.5)
    elif way == "pytorch_half_pixel":
        positions = np.zeros(1, np.float32)
    elif way == "half_pixel_symmetric":
        positions = (steps + np.float32(0.5)) / scale - np.float32(0.5) + (old - new / scale) / 2
    else:
        node.refuse(f"mode nearest with {way} has no counterpart in torch")
    default = "floor" if node.op == "Upsample" else "round_prefer_floor"
    rounded = {
        "round_prefer_floor": np.ceil(positions - np.float32(0.5)),
        "round_prefer_ceil": np.floor(positions + np.float32(0.5)),
        "floor": np.floor(positions),
        "ceil": np.ceil(positions),
    }[_text(node, "nearest_mode", default)]
    return np.clip(rounded, 0, old - 1).astype(np.int64)


def _by_index(node: Node, x: Value, sizes: list[int], indices: dict[int, np.ndarray]) -> None:
    """Torch's nearest where it takes the same positions, else one index an axis."""
    if min(indices) >= 2 and all(
        np.array_equal(index, _torch_nearest(x.shape[axis], sizes[axis])) for axis, index in indices.items()
    ):
        node.function("interpolate", [x], size=sizes[2:], mode="nearest")
        return
    last = max(indices)
    for axis, index in sorted(indices.items()):
        outputs = None if axis == last else node.temporary(f"axis{axis}")
        x = node.function("take", [x, Value("index", index)], outputs, axis=axis)


def _torch_nearest(old: int, new: int) -> np.ndarray:
    positions = torch.arange(old, dtype=torch.float32)[None, None]
    return F.interpolate(positions, size=new, mode="nearest")[0, 0].numpy().astype(np.int64)


def _interpolated(
    node: Node, x: Value, sizes: list[int], scales: list[float], changed: list[int], mode: str, way: str
) -> None:
    exact = all(np.isclose(scales[axis] * x.shape[axis], sizes[axis], rtol=0, atol=1e-4) for axis in changed)
    single = any(sizes[axis] == 1 for axis in changed)
    name = _MODES.get((mode, len(sizes) - 2))
    fits = (
        way in ("half_pixel", "align_corners")
        or (way == "pytorch_half_pixel" and not single)
        or (way == "half_pixel_symmetric" and exact)
    )
    own = mode == "cubic" and abs(float(node.attribute("cubic_coeff_a", _CUBIC)) - _CUBIC) > 1e-6
    if name is None or not fits or own or node.attribute("exclude_outside", 0):
        node.refuse(f"mode {mode} with {way} has no counterpart in torch")
    order = [*[axis for axis in range(len(sizes)) if axis not in changed], *changed]
    turned = min(changed) < 2
    if turned and len(changed) != len(sizes) - 2:
        node.refuse("it resizes axes that are not next to each other")
    outputs = node.temporary("resized") if turned else None
    spatial = [sizes[axis] for axis in order[2:]] if turned else sizes[2:]
    if turned:
        x = node.function("permute", [x], node.temporary("turned"), axes=order)
    options: dict[str, Any] = {"size": spatial, "mode": name, "align_corners": way == "align_corners"}
    if not exact and way != "align_corners":
        sides = order[2:] if turned else range(2, len(sizes))
        options["scales"] = [scales[axis] for axis in sides]
    x = node.function("interpolate", [x], outputs, **options)
    if turned:
        node.function("permute", [x], axes=[order.index(axis) for axis in range(len(sizes))])
