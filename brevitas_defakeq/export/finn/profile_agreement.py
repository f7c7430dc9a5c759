"""Whether a profile says what its QONNX graph says, executed by qonnx, value by value."""

from collections.abc import Mapping
from dataclasses import asdict, dataclass

import numpy as np
from onnx import ModelProto
from qonnx.core.modelwrapper import ModelWrapper
from qonnx.core.onnx_exec import execute_node, execute_onnx

from brevitas_defakeq.export.finn.finn_profile import FinnProfile
from brevitas_defakeq.utils.errors import UserError

#: Largest difference of a value, over the largest size of such a value: what float32 leaves.
PROFILE_TOLERANCE = 1e-5


@dataclass(frozen=True)
class ProfileAgreement:
    """A profile with the host's arithmetic against its QONNX graph.

    Attributes:
        images: how many.
        largest: largest difference of a logit, over the range of the logits.
        ties: images beyond 1e-5 of it, on which each single value agrees to 1e-5 all the same where it is
            worked out of equal ones: a sum that float32 rounds in another order lies between two codes.
    """

    images: int
    largest: float
    ties: int

    def to_dict(self) -> dict:
        return asdict(self)


def verify_profile(qonnx: ModelProto, profile: FinnProfile, images: np.ndarray) -> ProfileAgreement:
    """Run both on normalized images [N, 3, H, W].

    Raises:
        UserError: they differ; names the first node that does.
    """
    reference, core = ModelWrapper(qonnx), ModelWrapper(profile.model)
    wanted = np.array([_run(reference, image[None]) for image in images])
    found = np.array([_hosted(core, profile, image[None]) for image in images])
    size = max(float(np.ptp(wanted)), float(np.abs(wanted).max()), 1e-12)
    differences = np.abs(found - wanted) / size
    off = np.flatnonzero(~(differences <= PROFILE_TOLERANCE))
    for number in off:
        culprit = first_differing_node(reference, core, profile, images[number][None], size)
        if culprit is not None:
            raise UserError(
                f"the FINN profile is off by {differences[number]:.1e} of the outputs' range; the first node "
                f"that differs is {culprit}; nothing was written"
            )
    return ProfileAgreement(len(images), float(differences.max()), len(off))


def _run(model: ModelWrapper, values: np.ndarray) -> float:
    (answer,) = execute_onnx(model, {model.graph.input[0].name: values.astype(np.float32)}).values()
    return float(answer.item())


def _hosted(core: ModelWrapper, profile: FinnProfile, image: np.ndarray) -> float:
    """The logit by the profile and the host's arithmetic."""
    (answer,) = execute_onnx(core, {core.graph.input[0].name: profile.input.integers(image)}).values()
    return profile.logit(answer)


def first_differing_node(
    reference: ModelWrapper, core: ModelWrapper, profile: FinnProfile, image: np.ndarray, size: float
) -> str | None:
    """The first node of the profile that makes something else of equal values [1, 3, H, W], or None.

    Args:
        size: the range of the logits.
    """
    feed = {reference.graph.input[0].name: image.astype(np.float32)}
    wanted = execute_onnx(reference, feed, return_full_exec_context=True)
    context = core.make_empty_exec_context()
    context[core.graph.input[0].name] = profile.input.integers(image)
    opset = core.get_opset_imports()[""]
    for node in core.graph.node:
        execute_node(node, context, core.graph, opset)
        for name in node.output:
            expected = _expected(name, profile, wanted)
            if expected is None:
                continue
            if context[name].shape != expected.shape or not _close(context[name], expected):
                return f"{node.name} ({node.op_type})"
            context[name] = expected
    end = core.graph.output[0].name
    logit = float(wanted[reference.graph.output[0].name].item())
    same = abs(profile.logit(context[end]) - logit) <= PROFILE_TOLERANCE * size
    return None if same else f"{core.find_producer(end).name} (the output)"


def _expected(name: str, profile: FinnProfile, wanted: Mapping[str, np.ndarray]) -> np.ndarray | None:
    """What the QONNX graph has under a name of the profile, in the profile's order of channels."""
    moved = profile.sorted.get(name)
    if moved is not None and moved.name in wanted:
        return np.take(wanted[moved.name], moved.order, axis=moved.axis)
    return wanted.get(name)


def _close(found: np.ndarray, expected: np.ndarray) -> bool:
    size = max(float(np.abs(expected).max(initial=0.0)), 1e-12)
    return bool((np.abs(found - expected) <= PROFILE_TOLERANCE * size).all())
