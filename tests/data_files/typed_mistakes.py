"""Mistakes that a type checker reports; each line with one names its error code."""

from torch import Tensor, nn

from brevitas_defakeq import DefakeQConfig, load, quantize
from brevitas_defakeq import evalaute as evaluate  # mistake: attr-defined


def run(model: nn.Module, images: Tensor) -> None:
    config = DefakeQConfig(averge_bits=3)  # mistake: call-arg
    result = quantize(model, images, config, output_folder="run")  # mistake: call-arg
    print(result.quantised)  # mistake: attr-defined
    print(load(3), evaluate)  # mistake: arg-type
