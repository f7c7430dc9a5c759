"""LiteRT's quantizer, on what its converter makes of the torch module: int8, weights of 8 and 4 bits.

Its default for static int8 is a moving average of each image's least and largest value, which for the one
logit of an image is the mean logit; ``int8_extremes`` takes the tool's other rule.
"""

from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.peers.exchange import INPUT, Given, Made, Peer, serve


def quantized(given: Given, recipe: str, weights: str, activations: str, *, extremes: bool = False) -> Made:
    """A recipe of the tool by its name, calibrated where it asks for it.

    Args:
        extremes: ranges from the least to the largest value of all images, not moving averages of each one's.
    """
    import litert_torch
    import torch
    from litert_quantizer import calibrator, quantizer, recipe_manager
    from litert_quantizer import recipe as recipes
    from litert_quantizer.utils import qsv_utils

    original, file = given.out / "float.tflite", given.out / "model.tflite"
    example = torch.from_numpy(given.calibration()[:1])
    litert_torch.convert(given.module(), (example,)).export(str(original))
    wanted = getattr(recipes, recipe)()
    work = quantizer.Quantizer(str(original), wanted)
    statistics = None
    if work.need_calibration:
        update: dict[str, Any] = {"qsv_update_func": qsv_utils.min_max_update} if extremes else {}
        seen = calibrator.Calibrator(str(original), num_threads=1, **update)
        manager = recipe_manager.RecipeManager()
        manager.load_quantization_recipe(wanted)
        seen.calibrate({"serving_default": [{"args_0": feed[INPUT]} for feed in given.feeds()]}, manager)
        statistics = seen.get_model_qsvs()
    work.quantize(statistics).export_model(str(file))
    return Made(["model.tflite"], weights, activations, "LiteRT", predicted(file, given.test()))


def predicted(file: Path, images: np.ndarray) -> np.ndarray:
    """Logits [N]; a file whose own input and output are integers gets and gives them at its scales."""
    from ai_edge_litert.interpreter import Interpreter

    interpreter = Interpreter(str(file), num_threads=1)
    runner: Any = interpreter.get_signature_runner("serving_default")
    source = runner.get_input_details()["args_0"]
    [(name, target)] = runner.get_output_details().items()
    return np.array([
        from_integer(runner(args_0=to_integer(image[None], source))[name], target).item() for image in images
    ])  # fmt: skip


def to_integer(values: np.ndarray, tensor: dict[str, Any]) -> np.ndarray:
    """Values as a LiteRT tensor with these details holds them."""
    scale, zero = tensor["quantization"]
    if not scale:
        return values
    limits = np.iinfo(tensor["dtype"])
    return np.clip(np.round(values / scale) + zero, limits.min, limits.max).astype(tensor["dtype"])


def from_integer(values: np.ndarray, tensor: dict[str, Any]) -> np.ndarray:
    """What `to_integer` made, as float."""
    scale, zero = tensor["quantization"]
    return scale * (values.astype(np.float32) - zero) if scale else values


def int8(given: Given) -> Made:
    return quantized(given, "static_wi8_ai8", "8 per channel", "8")


def int8_extremes(given: Given) -> Made:
    return quantized(given, "static_wi8_ai8", "8 per channel", "8, least to largest value", extremes=True)


def dynamic_int8(given: Given) -> Made:
    return quantized(given, "dynamic_wi8_afp32", "8 per channel", "8, range of each image")


def dynamic_int4(given: Given) -> Made:
    return quantized(given, "dynamic_wi4_afp32", "4 per channel", "8, range of each image")


PEER = Peer(
    ("litert-quantizer", "litert-torch"),
    {
        "int8": int8, "int8_extremes": int8_extremes, "dynamic_int8": dynamic_int8,
        "dynamic_int4": dynamic_int4,
    },
)  # fmt: skip

if __name__ == "__main__":
    serve("litert", PEER)
