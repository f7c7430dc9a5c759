"""How tests of saliency read a detector, and a quick way to quantize one."""

from dataclasses import replace

import pytest
from torch import Tensor, nn

from brevitas_defakeq import DefakeQConfig, QuantizedDetector, quantize
from brevitas_defakeq.detectors.observer import Observer
from brevitas_defakeq.detectors.output import OutputSpec


@pytest.fixture(scope="session")
def observer():
    """Reads one logit; saliency needs no feature."""
    return Observer(OutputSpec(), "", "input")


def _rounded(model: nn.Module, images: Tensor, bits: int) -> QuantizedDetector:
    config = DefakeQConfig(samples=len(images), average_bits=float(bits), candidate_bits=(bits,))
    return quantize(
        model,
        images,
        replace(
            config,
            veft=replace(config.veft, enabled=False),
            reconstruction=replace(config.reconstruction, matching="none", rounding="nearest"),
            final=replace(config.final, steps=0),
        ),
    )


@pytest.fixture(scope="session")
def rounded():
    """``rounded(model, images, bits)``: a run that rounds to nearest and learns nothing."""
    return _rounded
