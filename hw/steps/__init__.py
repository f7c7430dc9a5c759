"""The steps from a FINN profile to folded hardware layers; each is a function of a graph.

Step modules are imported on first use: importing FINN takes seconds.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from qonnx.core.modelwrapper import ModelWrapper

#: Step name (in folders, progress files and reports) -> module in this package and the function in it.
STEP_FUNCTIONS = {
    "tidy": "tidy_profile",
    "convert": "convert_to_finn",
    "streamline": "streamline_scales",
    "lower": "lower_convolutions",
    "hardware": "map_to_hardware",
    "partition": "partition_dataflow",
    "specialize": "specialize_layers",
    "fold": "fold_layers",
    "decompose": "decompose_transposes",
}
#: Steps that are the same for every device, then steps for one board, in the order they run.
TO_HARDWARE = ("tidy", "convert", "streamline", "lower", "hardware")
TO_DEVICE = ("partition", "specialize", "fold", "decompose")


def run_step(name: str, model: "ModelWrapper", *arguments: Any) -> "ModelWrapper":
    """The graph after the step ``name``.

    Args:
        name: a key of ``STEP_FUNCTIONS``.
        arguments: partition: a folder for FINN's files; specialize, decompose: the board; fold: the board and
            frames a second (None: as fast as the board allows).
    """
    function = STEP_FUNCTIONS[name]
    return getattr(import_module(f"hw.steps.{function}"), function)(model, *arguments)


def to_hardware(model: "ModelWrapper") -> "ModelWrapper":
    """A profile as FINN's hardware layers, not yet for any device; call within `quiet_finn`."""
    for name in TO_HARDWARE:
        model = run_step(name, model)
    return model
