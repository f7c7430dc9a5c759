"""Xception as the field uses it: timm's ``legacy_xception`` under the names of published checkpoints."""

from brevitas_defakeq.detectors.entry import State


def with_4d_pointwise(state: State) -> State:
    """Pointwise weights as convolutions have them: old files store them as matrices."""
    return {
        name: tensor[:, :, None, None] if name.endswith("pointwise.weight") and tensor.ndim == 2 else tensor
        for name, tensor in state.items()
    }
