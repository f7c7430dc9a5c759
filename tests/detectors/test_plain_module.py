"""Wrapped, half and double modules as they are quantized, and TorchScript refused."""

import pytest
import torch
from torch import nn

from brevitas_defakeq.detectors.plain_module import plain_module
from brevitas_defakeq.utils.errors import UserError


def plain() -> nn.Module:
    return nn.Sequential(nn.Conv2d(3, 4, 3), nn.Flatten(), nn.Linear(16, 1))


def test_a_plain_module_is_taken_as_it_is():
    model = plain()
    assert plain_module(model) is model


@pytest.mark.parametrize("wrap", [torch.compile, nn.DataParallel])
def test_wrappers_are_taken_off(wrap):
    model = plain()
    assert plain_module(wrap(model)) is model
    outer = nn.Sequential(wrap(model), nn.ReLU())
    assert list(plain_module(outer).state_dict()) == [f"0.{name}" for name in model.state_dict()]
    assert outer[0] is not model


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float64])
def test_other_dtypes_become_float32_in_a_copy(dtype, caplog):
    model = plain().to(dtype)
    found = plain_module(model)
    assert {tensor.dtype for tensor in found.parameters()} == {torch.float32}
    assert {tensor.dtype for tensor in model.parameters()} == {dtype}
    assert str(dtype).removeprefix("torch.") in caplog.text and len(caplog.records) == 1


@pytest.mark.parametrize("nested", [False, True])
def test_torchscript_is_refused(nested):
    script = torch.jit.trace(plain(), torch.zeros(1, 3, 4, 4))
    with pytest.raises(UserError, match=r"^(0|the detector) is TorchScript, .* give the nn.Module"):
        plain_module(nn.Sequential(script) if nested else script)


def test_anything_else_is_refused():
    with pytest.raises(UserError, match="of type str; give an nn.Module"):
        plain_module("resnet18")
