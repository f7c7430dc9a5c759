"""What a file takes and returns: kept with the run, so that the exported file takes and returns the same."""

from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from onnx import ModelProto, TensorProto, ValueInfoProto

from brevitas_defakeq.utils.errors import UserError

_DTYPES: dict[int, str] = {TensorProto.FLOAT: "float32", TensorProto.FLOAT16: "float16"}
#: Operators that turn scores to probabilities: the run works on the scores before them.
FINAL_OPERATORS = ("Softmax", "LogSoftmax", "Sigmoid")


@dataclass(frozen=True)
class GraphValue:
    """An input or output: its name, "float32" or "float16", and its axes (a text where any length fits).

    ``final``: the operator that makes it of the network's result, or "".
    """

    name: str
    dtype: str
    shape: tuple[str | int, ...]
    final: str = ""


@dataclass(frozen=True)
class GraphInterface:
    """The input, its layout ("NCHW" or "NHWC"), and the outputs; ``verdict`` is the position of the score."""

    image: GraphValue
    layout: str
    outputs: tuple[GraphValue, ...]
    verdict: int = 0

    @property
    def size(self) -> tuple[int, int] | None:
        """Height and width, if the file fixes them."""
        sides = self.image.shape[2:] if self.layout == "NCHW" else self.image.shape[1:3]
        height, width = sides
        return (height, width) if isinstance(height, int) and isinstance(width, int) else None

    @property
    def fixed_batch(self) -> bool:
        return self.image.shape[0] == 1

    def to_json(self) -> dict[str, Any]:
        return asdict(self)

    @classmethod
    def from_json(cls, content: dict[str, Any]) -> "GraphInterface":
        outputs = tuple(_value(output) for output in content["outputs"])
        return cls(_value(content["image"]), content["layout"], outputs, content["verdict"])


def _value(content: dict[str, Any]) -> GraphValue:
    return GraphValue(**{**content, "shape": tuple(content["shape"])})


def read_interface(model: ModelProto, path: Path, wanted: str | None) -> GraphInterface:
    """Read it from the file as it is stored.

    Args:
        wanted: the name of the output that is the score; None finds it.

    Raises:
        UserError: the file does not take one batch of RGB images, or it is unclear which output is the score.
    """
    held = {tensor.name for tensor in model.graph.initializer}
    inputs = [value for value in model.graph.input if value.name not in held]
    if len(inputs) != 1:
        names = ", ".join(value.name for value in inputs) or "none"
        raise UserError(f"{path} has {len(inputs)} inputs ({names}); a detector takes one, the images")
    image = _read(inputs[0])
    layout = _layout(image)
    if layout is None:
        shape = list(image.shape)
        raise UserError(
            f"{path}: input {image.name} of type {image.dtype} and shape {shape} is no batch of RGB images "
            "in floating point, [N, 3, H, W] or [N, H, W, 3]"
        )
    if isinstance(image.shape[0], int) and image.shape[0] != 1:
        raise UserError(
            f"{path} is fixed to batches of {image.shape[0]} images; export it for one image or any number"
        )
    outputs = tuple(map(_read, model.graph.output))
    return GraphInterface(image, layout, outputs, _verdict(outputs, wanted, path))


def _read(value: ValueInfoProto) -> GraphValue:
    kind = value.type.tensor_type
    shape = tuple(
        dim.dim_value if dim.HasField("dim_value") and dim.dim_value > 0 else dim.dim_param or f"d{axis}"
        for axis, dim in enumerate(kind.shape.dim)
    )
    dtype = _DTYPES.get(kind.elem_type) or TensorProto.DataType.Name(kind.elem_type).lower()
    return GraphValue(value.name, dtype, shape)


def _layout(image: GraphValue) -> str | None:
    if len(image.shape) != 4 or image.dtype not in _DTYPES.values():
        return None
    if image.shape[1] == 3 or (isinstance(image.shape[1], str) and image.shape[3] != 3):
        return "NCHW"
    return "NHWC" if image.shape[3] == 3 else None


def _verdict(outputs: tuple[GraphValue, ...], wanted: str | None, path: Path) -> int:
    names = [output.name for output in outputs]
    if wanted is not None:
        if wanted not in names:
            raise UserError(f"{path} has no output {wanted!r}; its outputs are {', '.join(names)}")
        return names.index(wanted)
    known = [
        name for name in ("logits", "logit", "cls", "prob", "probs", "scores", "output") if name in names
    ]
    if len(names) == 1 or known:
        return names.index(known[0]) if known and len(names) > 1 else 0
    raise UserError(
        f"{path} has the outputs {', '.join(names)}; say which is the score with --model-arg output=NAME"
    )
