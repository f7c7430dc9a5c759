"""The plan of a small model, checked on the way: what it computes, and that the user's stays as it was."""

import torch

from brevitas_defakeq.float_reference import copy_module
from brevitas_defakeq.prepare.calibrate import calibrate_, quantization_off
from brevitas_defakeq.prepare.insert_quantizers import QuantScheme, insert_quantizers_
from brevitas_defakeq.prepare.plan import make_plan
from brevitas_defakeq.prepare.trace import tensors_in
from brevitas_defakeq.quant.activation_quantizer import activation_proxies

IMAGES = torch.randn(2, 3, 9, 9, generator=torch.Generator().manual_seed(0))


def plan_of(model):
    """The plan and the prepared copy; the user's model is unchanged and outputs stay, quantized or not."""
    torch.manual_seed(1)
    for module in model.modules():
        if isinstance(getattr(module, "running_var", None), torch.Tensor):
            module.running_mean.normal_(0, 0.3)
            module.running_var.uniform_(0.5, 2)
    model.eval()
    state = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    types = [(name, type(module)) for name, module in model.named_modules()]
    expected = list(tensors_in(model(IMAGES)))
    made = copy_module(model)
    plan = make_plan(made, IMAGES)
    for ours, theirs in zip(tensors_in(made(IMAGES)), expected, strict=True):
        torch.testing.assert_close(ours, theirs, atol=1e-5, rtol=1e-5)
    quantized = copy_module(made)
    insert_quantizers_(quantized, plan, QuantScheme((4, 8), 8))
    quantized.eval()
    calibrate_(quantized, activation_proxies(quantized), [IMAGES], count=1)
    with quantization_off(quantized):
        for ours, theirs in zip(tensors_in(quantized(IMAGES)), expected, strict=True):
            torch.testing.assert_close(ours, theirs, atol=1e-5, rtol=1e-5)
    assert [(name, type(module)) for name, module in model.named_modules()] == types
    for ours, theirs in zip(tensors_in(model(IMAGES)), expected, strict=True):
        assert torch.equal(ours, theirs), "the user's model still works"
    after = model.state_dict()
    assert all(torch.equal(after[name], tensor) for name, tensor in state.items())
    inside = [layer for block in plan.blocks for layer in block.layers]
    assert sorted(inside) == sorted(layer.name for layer in plan.layers)
    return plan, made
