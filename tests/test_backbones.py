"""Every architecture that the project names goes through ``quantize`` whole, with random weights."""

import pytest
import torch

from brevitas_defakeq import load, quantize
from brevitas_defakeq.detectors import resolve
from brevitas_defakeq.quant.fused import fused_quantizers

#: What the paper uses, then convolutional detectors that people bring.
NAMES = ["deit_tiny", "deit_small", "deit_base", "vit_small", "vit_base", "swin_small", "swin_base"]
NAMES += ["resnet50", "efficientnet_b4", "legacy_xception"]


@pytest.mark.slow
@pytest.mark.timeout(1800)
@pytest.mark.parametrize("name", NAMES)
def test_quantizes_and_loads(name, quick_config, tmp_path):
    torch.manual_seed(0)
    detector = resolve(name)
    images = torch.randn(10, 3, *detector.preprocessing.input_size)
    config = quick_config(samples=10, reconstruction__iterations=2, final__steps=2, final__batch_size=4)
    result = quantize(detector, images, config, out=tmp_path / "run")
    sizes = {layer.name: layer.num_params for layer in result.plan.layers}
    average = sum(result.bits[layer] * size for layer, size in sizes.items()) / sum(sizes.values())
    assert 2.5 < average <= 3.0
    assert sum(sizes.values()) > 0.9 * sum(p.numel() for p in detector.model.parameters())
    assert result.report["size_bytes"]["quantized"] < 0.12 * result.report["size_bytes"]["float"]
    again = load(tmp_path / "run", resolve(name).model)
    with (
        torch.no_grad(),
        fused_quantizers(result.quantized, frozen=True),
        fused_quantizers(again.quantized, frozen=True),
    ):
        scores = result.quantized(images[:4])
        assert torch.isfinite(scores).all()
        torch.testing.assert_close(again.quantized(images[:4]), scores, rtol=0, atol=0)
