"""Attention with more or fewer leading dimensions than torch's exporter writes."""

import pytest
import torch
from torch import nn
from torch.nn import functional as F

from brevitas_defakeq import export_onnx, quantize
from brevitas_defakeq.export.attention_rank import FourDimensionalAttention
from brevitas_defakeq.imaging.preprocessing import Preprocessing


@pytest.mark.parametrize("leading", [(3,), (2, 3), (2, 3, 4), (2, 1, 3, 2)])
@pytest.mark.parametrize("masked", [False, True])
def test_the_same_values(leading, masked):
    torch.manual_seed(0)
    query, key, value = (torch.randn(*leading, length, 8) for length in (5, 6, 6))
    mask = torch.randn(5, 6) if masked else None
    wanted = F.scaled_dot_product_attention(query, key, value, attn_mask=mask, scale=0.3)
    with FourDimensionalAttention():
        found = F.scaled_dot_product_attention(query, key, value, attn_mask=mask, scale=0.3)
    torch.testing.assert_close(found, wanted)


class WindowedAttention(nn.Module):
    """Attention inside windows of 4 x 4 tokens, the windows a dimension of their own (as in Twins)."""

    def __init__(self) -> None:
        super().__init__()
        self.embed, self.qkv, self.head = nn.Conv2d(3, 16, 2, 2), nn.Linear(16, 48), nn.Linear(16, 1)

    def forward(self, image):
        tokens = self.embed(image).unfold(2, 4, 4).unfold(3, 4, 4)  # [N, C, 2, 2, 4, 4]
        tokens = tokens.flatten(4).flatten(2, 3).permute(0, 2, 3, 1)  # [N, windows, tokens, C]
        qkv = self.qkv(tokens).unflatten(3, (3, 2, 8)).permute(3, 0, 1, 4, 2, 5)
        found = F.scaled_dot_product_attention(*qkv.unbind(0))  # [N, windows, heads, tokens, 8]
        return self.head(found.mean((1, 3)).flatten(1))


def test_windows_are_exported(images, quick_config, tmp_path):
    torch.manual_seed(0)
    result = quantize(
        WindowedAttention().eval(),
        images,
        quick_config(),
        preprocessing=Preprocessing((16, 16), mean=0.0, std=1.0),
    )
    card = export_onnx(result, tmp_path, verify=images)
    assert card.provenance["agreement"]["difference"] < 0.02
