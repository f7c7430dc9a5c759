"""Comparison of a profile with its QONNX graph, value by value, both executed by qonnx."""

from collections.abc import Mapping
from dataclasses import asdict, dataclass

import numpy as np
from onnx import ModelProto
from qonnx.core.modelwrapper import ModelWrapper
from qonnx.core.onnx_exec import execute_node, execute_onnx

from brevitas_defakeq.export.finn.finn_profile import FinnProfile
from brevitas_defakeq.utils.errors import UserError

#: Largest difference of a value, relative to the largest magnitude of such a value: float32 rounding.
PROFILE_TOLERANCE = 1e-5


@dataclass(frozen=True)
class ProfileAgreement:
    """Logits of a profile with the host's arithmetic, compared with those of its QONNX graph.

    Attributes:
        images: number of images.
        largest: largest difference of a logit, relative to the range of the logits.
        ties: images whose logit differs by more than 1e-5 although every node agrees within 1e-5 on equal
            inputs: a sum next to a rounding boundary, which float32 adds in another order.
    """

    images: int
    largest: float
    ties: int

    def to_dict(self) -> dict:
        return asdict(self)


def verify_profile(qonnx: ModelProto, profile: FinnProfile, images: np.ndarray) -> ProfileAgreement:
    """Run both on normalized images float32 [N, 3, H, W].

    Raises:
        UserError: they differ; names the first node that differs.
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
    """The logit of an image [1, 3, H, W] by the profile and the host's arithmetic."""
    (answer,) = execute_onnx(core, {core.graph.input[0].name: profile.input.integers(image)}).values()
    return profile.logit(answer)


def first_differing_node(
    reference: ModelWrapper, core: ModelWrapper, profile: FinnProfile, image: np.ndarray, size: float
) -> str | None:
    """The first node of the profile whose result differs on equal inputs, or None.

    Args:
        image: float32 [1, 3, H, W].
        size: the range of the logits.
    """
    inputs = {reference.graph.input[0].name: image.astype(np.float32)}
    wanted = execute_onnx(reference, inputs, return_full_exec_context=True)
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
    """The QONNX graph's value of a name of the profile, with channels in the profile's order."""
    permuted = profile.permuted.get(name)
    if permuted is not None and permuted.original in wanted:
        return np.take(wanted[permuted.original], permuted.permutation, axis=permuted.axis)
    return wanted.get(name)


def _close(found: np.ndarray, expected: np.ndarray) -> bool:
    size = max(float(np.abs(expected).max(initial=0.0)), 1e-12)
    return bool((np.abs(found - expected) <= PROFILE_TOLERANCE * size).all())
