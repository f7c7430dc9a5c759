"""Whether a profile says what its QONNX graph says, executed by qonnx, value by value."""

from collections.abc import Mapping
from dataclasses import asdict, dataclass

import numpy as np
from onnx import ModelProto
from qonnx.core.modelwrapper import ModelWrapper
from qonnx.core.onnx_exec import execute_node, execute_onnx

from brevitas_defakeq.errors import UserError
from brevitas_defakeq.export.finn.profile import Profile

#: Largest difference of a value, over the largest size of such a value: what float32 leaves.
TOLERANCE = 1e-5


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


def agreement(qonnx: ModelProto, profile: Profile, images: np.ndarray) -> ProfileAgreement:
    """Run both on normalized images [N, 3, H, W].

    Raises:
        UserError: they differ; names the first node that does.
    """
    reference, core = ModelWrapper(qonnx), ModelWrapper(profile.model)
    pairs = [_pair(reference, core, profile, image[None]) for image in images]
    logits = np.array([context[reference.graph.output[0].name].item() for context, _ in pairs])
    scale = max(float(np.ptp(logits)), float(np.abs(logits).max()), 1e-12)
    differences = np.abs(np.array([found for _, found in pairs]) - logits) / scale
    off = np.flatnonzero(~(differences <= TOLERANCE))
    for number in off:
        culprit = first_difference(core, profile, pairs[number][0])
        if culprit is not None:
            raise UserError(
                f"the FINN profile is off by {differences[number]:.1e} of the outputs' range; the first node "
                f"that differs is {culprit}; nothing was written"
            )
    return ProfileAgreement(len(images), float(differences.max()), len(off))


def _pair(reference: ModelWrapper, core: ModelWrapper, profile: Profile, image: np.ndarray):
    """All values of the QONNX graph for one image, and the profile's logit."""
    source = reference.graph.input[0].name
    context = execute_onnx(reference, {source: image.astype(np.float32)}, return_full_exec_context=True)
    integers = profile.input.integers(image)
    (answer,) = execute_onnx(core, {core.graph.input[0].name: integers}).values()
    return context, profile.logit(answer)


def first_difference(core: ModelWrapper, profile: Profile, wanted: Mapping[str, np.ndarray]) -> str | None:
    """The first node of the profile that makes something else of equal values, or None."""
    source = core.graph.input[0].name
    context = core.make_empty_exec_context()
    context[source] = profile.input.integers(wanted[source])
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
    return _differing_end(core, profile, context, wanted)


def _differing_end(core: ModelWrapper, profile: Profile, context, wanted) -> str | None:
    """The head's name where its integers do not make the logit."""
    integers = context[core.graph.output[0].name]
    logit = float(wanted[profile.logit_name].item())
    if abs(profile.logit(integers) - logit) <= TOLERANCE * max(1.0, abs(logit)):
        return None
    return f"{core.graph.node[-1].name} (the host's output)"


def _expected(name: str, profile: Profile, wanted: Mapping[str, np.ndarray]) -> np.ndarray | None:
    """What the QONNX graph has under a name of the profile, in the profile's order of channels."""
    moved = profile.sorted.get(name)
    if moved is not None and moved.name in wanted:
        return np.take(wanted[moved.name], moved.order, axis=moved.axis)
    return wanted.get(name)


def _close(found: np.ndarray, expected: np.ndarray) -> bool:
    size = max(float(np.abs(expected).max(initial=0.0)), 1e-12)
    return bool((np.abs(found - expected) <= TOLERANCE * size).all())
