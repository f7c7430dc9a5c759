"""LayerNorms re-parameterized: ranges by hand, the same function, the codes of one quantizer a channel."""

import pytest
import timm
import torch
from small_networks import Net
from torch import nn

from brevitas_defakeq.nn.module_tree import copy_module
from brevitas_defakeq.prepare import equalize_norms
from brevitas_defakeq.prepare.equalize_norms import equalize_norms_
from brevitas_defakeq.prepare.plan import make_plan
from brevitas_defakeq.quant.range_search import search_rows


def random_norms_(model):
    """Gains and biases as trained ones: some channels are many times as wide as others, and off centre."""
    torch.manual_seed(3)
    for module in model.modules():
        if isinstance(module, nn.LayerNorm):
            nn.init.uniform_(module.weight, 0.2, 1.0)
            module.weight.data[:2] *= 20
            nn.init.normal_(module.bias, std=2.0)
    return model.eval()


def drawn(*shape):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(1))


def equalized(model, images, levels=16, results=None):
    """The plan, the prepared model, a copy of that with its norms equalized, and what was found."""
    plan = make_plan(model, images[:1])
    made, layers = copy_module(model), [layer.name for layer in plan.layers]
    found = equalize_norms_(
        made, layers, plan.head, images.split(4), levels, results or (lambda model, x: (model(x),))
    )
    return made, found


def test_ranges_by_hand():
    """Two channels on grids of 16 values with their means: 0..15 and 100..130; s = 1 and 2, mean 1.5."""
    grid = torch.tensor([*range(16), 12, 12]).float()
    sample = torch.stack([grid, 100 + 2 * grid], dim=1)
    ratio, middle = equalize_norms._channel_ranges(sample, 16)
    torch.testing.assert_close(ratio, torch.tensor([2 / 3, 4 / 3], dtype=torch.float64), atol=1e-6, rtol=0)
    torch.testing.assert_close(middle, torch.tensor([7.5, 115.0], dtype=torch.float64), atol=1e-5, rtol=0)


def test_a_channel_that_never_changes():
    sample = torch.stack([drawn(50), torch.full((50,), 3.0)], dim=1)
    ratio, middle = equalize_norms._channel_ranges(sample, 16)
    assert ratio[1] == 1e-3 and middle[1] == pytest.approx(3)


NETWORKS = {
    "deit": lambda: timm.create_model(
        "deit_tiny_patch16_224", img_size=32, depth=2, embed_dim=48, num_heads=3, num_classes=1
    ),
    "no qkv bias": lambda: timm.create_model(
        "vit_tiny_patch16_224", img_size=32, depth=2, embed_dim=48, num_heads=3, num_classes=1, qkv_bias=False
    ),
    "q, k and v": lambda: timm.create_model(
        "cait_xxs24_224", img_size=32, depth=1, embed_dim=48, num_classes=1
    ),
    "torch's attention": lambda: Net(
        lambda m, x: m.head(m.encoder(x.flatten(2)).mean(1)),
        encoder=nn.TransformerEncoder(
            nn.TransformerEncoderLayer(1024, 4, 32, norm_first=True, batch_first=True), 2
        ),
        head=nn.Linear(1024, 1),
    ),
    "windows": lambda: timm.create_model(
        "swin_tiny_patch4_window7_224", img_size=32, depths=(2, 1), num_heads=(2, 4), embed_dim=16,
        window_size=4, num_classes=1,
    ),
}  # fmt: skip


@pytest.mark.parametrize(("network", "norms"), [*zip(NETWORKS, (4, 4, 6, 4, 7), strict=True)])
def test_the_function_stays(network, norms):
    torch.manual_seed(0)
    model, images = random_norms_(NETWORKS[network]()), drawn(8, 3, 32, 32)
    with torch.no_grad():
        wanted = model(images)
        made, found = equalized(model, images)
        assert len(found.layers) == norms, found
        torch.testing.assert_close(made(images), wanted, atol=1e-5, rtol=1e-5)
    state = made.state_dict()
    for norm, readers in found.layers.items():
        for name in (norm, *readers):
            assert not torch.equal(state[f"{name}.weight"], model.state_dict().get(f"{name}.weight"))


def one_norm():
    torch.manual_seed(0)
    parts = {"stem": nn.Linear(6, 6), "norm": nn.LayerNorm(6), "fc": nn.Linear(6, 5), "head": nn.Linear(5, 1)}
    return random_norms_(Net(lambda m, x: m.head(m.fc(m.norm(m.stem(x.flatten(2)))).relu()).mean(1), **parts))


def test_one_quantizer_for_all_channels_gives_the_codes_of_one_for_each():
    """With ``s = mean(s_c)`` and the zero point in the middle; and a fraction of the plain one's error."""
    model, images = one_norm(), drawn(64, 3, 3, 2)
    with torch.no_grad():
        made, _ = equalized(model, images)
        before, after = (
            net.norm(net.stem(images.flatten(2))).double().flatten(0, 1) for net in (model, made)
        )
        sample = equalize_norms._channel_samples(model, ["norm"], images.split(4))["norm"].double()
        centre = sample.mean(0, keepdim=True)
        scale, zero_point = search_rows((sample - centre).t(), 16, refits=0)
    scale, zero_point = scale.t(), zero_point.t()  # [1, C]
    apart = ((before - centre) / scale + zero_point).round().clamp(0, 15)
    together = (after / scale.mean() + 7.5).round().clamp(0, 15)
    assert (apart == together).double().mean() > 0.98, "all but those between two codes"
    spread = before.amax(0) - before.amin(0)
    evened = after.amax(0) - after.amin(0)
    assert spread.max() > 8 * spread.min() and evened.max() < 1.7 * evened.min()
    low, step = before.min(), (before.max() - before.min()) / 15
    plain = ((before - low) / step).round() * step + low  # one range, not equalized
    error = ((apart - zero_point) * scale + centre - before).square().mean(0)
    assert error[2:].mean() < 0.1 * (plain - before).square().mean(0)[2:].mean(), "of the narrow channels"


def test_what_changes_the_results_is_undone():
    """Here the feature is the norm's own output."""
    model, images = one_norm(), drawn(8, 3, 3, 2)
    made, found = equalized(
        model, images, results=lambda model, x: (model(x), model.norm(model.stem(x.flatten(2))))
    )
    assert found.layers == {} and found.left_alone == {"norm": "the network does not return the same"}
    assert all(torch.equal(value, model.state_dict()[name]) for name, value in made.state_dict().items())


def test_tied_weights_are_left_alone():
    model, images = one_norm(), drawn(8, 3, 3, 2)
    model.also = nn.Linear(6, 5)
    model.also.weight = model.fc.weight

    def flow(m, x):
        x = x.flatten(2)
        return m.head((m.fc(m.norm(m.stem(x))) + m.also(x)).relu()).mean(1)

    model.flow = flow
    with torch.no_grad():
        wanted = model(images)
        made, _ = equalized(model, images)
        torch.testing.assert_close(made(images), wanted, atol=1e-5, rtol=1e-5)


def test_none_is_said(caplog):
    model = Net(lambda m, x: m.head(x.flatten(1)), head=nn.Linear(18, 1)).eval()
    equalized(model, drawn(8, 3, 3, 2))
    assert "no LayerNorm that only quantized linear layers read" in caplog.text


def test_others_are_said(caplog):
    caplog.set_level("INFO")
    model = one_norm()
    model.flow = lambda m, x: m.head(m.fc(m.norm(x.flatten(2)) * 2)).mean(1)
    equalized(model, drawn(8, 3, 3, 2))
    assert "LayerNorm norm is not equalized: mul reads it" in caplog.text
