"""The steps from a FINN profile to folded hardware layers, in order; each is a function of a graph.

Nothing is imported before a step is wanted: FINN takes its time.
"""

from importlib import import_module

#: Steps that know no device.
TO_HARDWARE = ("tidy", "convert", "streamline", "lower", "hardware")
#: Steps for a board.
TO_DEVICE = ("partition", "specialize", "fold", "decompose")


def run_step(name: str, model, *arguments):
    """The graph behind the step ``name``, whose module and function have that name."""
    return getattr(import_module(f"hw.steps.{name}"), name)(model, *arguments)


def to_hardware(model):
    """FINN's hardware layers of a profile (qonnx ModelWrapper), for no device yet; within `quiet_finn`."""
    for name in TO_HARDWARE:
        model = run_step(name, model)
    return model
