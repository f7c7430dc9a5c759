"""Verification of the steps: every step's graph is run on the same inputs as the profile."""

from dataclasses import asdict, dataclass

import numpy as np
from qonnx.core.datatype import BaseDataType
from qonnx.core.modelwrapper import ModelWrapper
from qonnx.core.onnx_exec import execute_onnx
from qonnx.custom_op.registry import getCustomOp

from brevitas_defakeq.utils.errors import UserError
from hw.exact import run_exactly
from hw.finn_quirks import FINN_DOMAIN

#: Outputs within this share of the largest output count as equal.
STEP_TOLERANCE = 1e-5
#: Layers that compute in floating point: FINN approximates GELU, and sums are added in another order, which
#: moves values over thresholds next to them. Graphs with such layers may differ by ``FLOAT_STEP_TOLERANCE``
#: (root mean square, as a share of the largest output); all others must be equal.
FLOAT_LAYERS = ("LayerNormalization", "Softmax", "Gelu", "Sigmoid", "Tanh", "Erf")
FLOAT_STEP_TOLERANCE = 0.02


class StepError(Exception):
    """A step failed or changed the network's function: a bug, not a user error."""


@dataclass(frozen=True)
class StepAgreement:
    """Outputs of a step's graph compared with the profile's.

    Attributes:
        frames: number of inputs.
        equal: number of inputs whose outputs agree within ``STEP_TOLERANCE``.
        largest: the largest difference, as a share of the largest output.
        root_mean_square: of the differences of all outputs, as the same share.
    """

    frames: int
    equal: int
    largest: float
    root_mean_square: float

    def to_dict(self) -> dict:
        return asdict(self)


class ProfileReference:
    """The profile's outputs for some inputs.

    Args:
        inputs: integers [N, 3, H, W]; None draws four, uniform in the range of the input's type.
    """

    def __init__(self, profile: ModelWrapper, inputs: np.ndarray | None) -> None:
        name = profile.graph.input[0].name
        shape, kind = profile.get_tensor_shape(name), profile.get_tensor_datatype(name)
        if inputs is None:
            draw = np.random.default_rng(0)
            inputs = draw.integers(int(kind.min()), int(kind.max()) + 1, (4, *shape[1:]))
        self.inputs = [each[None] for each in checked_inputs(inputs, shape, kind).astype(np.float32)]
        self.outputs = np.stack([run_exactly(profile, each).ravel() for each in self.inputs])
        self.floats = any(node.op_type in FLOAT_LAYERS for node in profile.graph.node)

    def check(self, step: str, model: ModelWrapper) -> StepAgreement:
        """Run a step's graph. Raises StepError where it no longer computes the profile's function."""
        runner = _in_python if _is_hardware(model) else run_exactly
        model = as_software(model)
        found = np.stack([runner(model, _in_layout_of(model, each)).ravel() for each in self.inputs])
        apart = np.abs(found - self.outputs) / max(float(np.abs(self.outputs).max()), 1e-30)
        result = StepAgreement(
            frames=len(found), equal=int((apart.max(1) <= STEP_TOLERANCE).sum()), largest=float(apart.max()),
            root_mean_square=float(np.sqrt((apart**2).mean())),
        )  # fmt: skip
        limit = FLOAT_STEP_TOLERANCE if self.floats else 0.0
        if result.equal < result.frames and not result.root_mean_square <= limit:
            raise StepError(
                f"step {step} changed the network: {result.frames - result.equal} of {result.frames} frames "
                f"differ, by up to {result.largest:.2g} of the largest output; please report it with the file"
            )
        return result


def checked_inputs(inputs: np.ndarray, shape: list[int], kind: BaseDataType) -> np.ndarray:
    """The inputs, if a profile can take them; else raises UserError.

    Args:
        inputs: integers [N, 3, H, W].
        shape: of the profile's input, [1, 3, H, W].
        kind: data type of the profile's input.
    """
    if inputs.ndim != 4 or list(inputs.shape[1:]) != shape[1:] or not len(inputs):
        raise UserError(
            f"--inputs: shape {inputs.shape}; the network needs (N, {', '.join(map(str, shape[1:]))})"
        )
    if inputs.dtype.kind not in "iuf" or not np.isfinite(inputs).all():
        raise UserError("--inputs: contains NaN, infinity or no numbers; give integers")
    if (inputs != np.round(inputs)).any() or inputs.min() < kind.min() or inputs.max() > kind.max():
        raise UserError(
            f"--inputs: the network needs integers from {kind.min():.0f} to {kind.max():.0f}; "
            "quantize the images as host.json describes"
        )
    return inputs


def _in_layout_of(model: ModelWrapper, integers: np.ndarray) -> np.ndarray:
    """An input [1, 3, H, W] in the layout of the graph's input: channels last after step `lower`."""
    shape = model.get_tensor_shape(model.graph.input[0].name)
    channels_last = list(integers.shape) != list(shape)
    return np.ascontiguousarray(integers.transpose(0, 2, 3, 1)) if channels_last else integers


def _is_hardware(model: ModelWrapper) -> bool:
    return all(node.domain.startswith(FINN_DOMAIN) for node in model.graph.node)


def _in_python(model: ModelWrapper, integers: np.ndarray) -> np.ndarray:
    """Run hardware layers by FINN's own Python execution."""
    name, output = model.graph.input[0].name, model.graph.output[0].name
    return execute_onnx(model, {name: integers})[output]


def as_software(model: ModelWrapper) -> ModelWrapper:
    """A copy with RTL and HLS layers turned back into their base layers, which run without a simulator."""
    copy = ModelWrapper(model.model, make_deepcopy=True)
    for node in copy.graph.node:
        if not node.domain.startswith(f"{FINN_DOMAIN}."):
            continue
        node.domain, node.op_type = FINN_DOMAIN, node.op_type.rpartition("_")[0]
        known = getCustomOp(node).get_nodeattr_types()
        for attribute in [each for each in node.attribute if each.name not in known]:
            node.attribute.remove(attribute)
    return copy
