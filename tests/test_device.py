"""``--device``: refused where there is none; on a graphics card the same result within a thousandth."""

import pytest
import torch

from brevitas_defakeq import UserError, quantize
from brevitas_defakeq.run_inputs import found_device


def test_devices_that_are_not_there(workplace):
    with pytest.raises(UserError, match="give cpu or cuda"):
        found_device("abacus")
    with pytest.raises(UserError, match="cpu or cuda"):
        found_device("meta")
    if not torch.cuda.is_available():
        outcome = workplace.quantize("--device", "cuda")
        assert outcome.status == 2 and "no CUDA device" in outcome.one_line()


@pytest.mark.gpu
@pytest.mark.parametrize("recipe", ["best", "paper"])
@pytest.mark.parametrize("sensitivity", ["haq", "taylor", "measured", "fisher"])
def test_a_graphics_card_gives_the_same(recipe, sensitivity, tiny, images, labels, quick_config):
    """Scores within a thousandth of their spread."""
    config = quick_config(recipe=recipe, haq__sensitivity=sensitivity)
    results = [
        quantize(tiny.model(seed=5), images, config, labels=labels, device=device)
        for device in ("cpu", "cuda")
    ]
    with torch.no_grad():
        scores = [result.quantized(images).flatten() for result in results]
    assert results[0].bits == results[1].bits
    assert (scores[0] - scores[1]).abs().max() < 1e-3 * scores[0].std()
