"""What blocks read and return on the calibration images, in memory and on disk."""

import errno
import os
from collections import deque

import pytest
import torch
from torch import nn

from brevitas_defakeq.reconstruct.capture import TensorStore, capture
from brevitas_defakeq.utils.errors import UserError


class Repeating(nn.Module):
    """One layer called three times, the last one again."""

    def __init__(self):
        super().__init__()
        self.first, self.again, self.head = nn.Linear(6, 6), nn.Linear(6, 6), nn.Linear(6, 1)

    def forward(self, x):
        x = self.first(x.flatten(1))
        for _ in range(3):
            x = self.again(x).relu()
        return self.head(x)


@pytest.fixture
def inputs():
    return torch.randn(10, 2, 3, generator=torch.Generator().manual_seed(0))


@pytest.mark.parametrize("limit", [0, 1 << 20])
def test_inputs_and_outputs_of_a_block(inputs, limit):
    model = Repeating()
    with torch.no_grad():
        wanted = model.first(inputs.flatten(1))
    found = capture(model, model.first, inputs.split(4), calls=1, outputs=True, store=TensorStore(limit))
    assert torch.equal(found.inputs[:, 0], inputs.flatten(1))
    torch.testing.assert_close(found.outputs[:, 0], wanted)
    rows = found.rows(found.inputs, torch.tensor([7, 2]))
    assert torch.equal(rows, inputs.flatten(1)[[7, 2]])
    assert not found.outputs.requires_grad


def test_a_full_disk_is_reported(monkeypatch):
    def full(*_):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(os, "posix_fallocate", full)
    with pytest.raises(UserError, match="no space for 4 MiB.*TMPDIR"):
        TensorStore(0).empty((1024, 1024))


def test_several_calls_lie_beside_each_other(inputs):
    model = Repeating()
    with torch.no_grad():
        steps = [model.first(inputs.flatten(1))]
        for _ in range(3):
            steps.append(model.again(steps[-1]).relu())
        products = [model.again(step) for step in steps[:3]]
    found = capture(model, model.again, inputs.split(3), calls=3, outputs=True, store=TensorStore())
    assert found.inputs.shape == (10, 3, 6)
    for call in range(3):
        torch.testing.assert_close(found.inputs[:, call], steps[call])
        torch.testing.assert_close(found.outputs[:, call], products[call])
    assert found.rows(found.inputs, torch.tensor([1, 4])).shape == (6, 6)


@pytest.mark.parametrize("outputs", [True, False])
def test_the_rest_of_the_network_does_not_run(inputs, outputs):
    model, called = Repeating(), deque()  # what hooks keep in lists is put back
    model.head.register_forward_hook(lambda *_: called.append("head"))
    model.first.register_forward_hook(lambda *_: called.append("first"))
    capture(model, model.first, inputs.split(5), calls=1, outputs=outputs, store=TensorStore())
    assert list(called) == (["first", "first"] if outputs else [])
    assert not model.first._forward_pre_hooks and len(model.first._forward_hooks) == 1


def test_hooks_are_gone_after_an_interruption(inputs):
    model = Repeating()

    def stop(*_):
        raise KeyboardInterrupt

    handle = model.first.register_forward_hook(stop)
    with pytest.raises(KeyboardInterrupt):
        capture(model, model.again, [inputs], calls=3, outputs=True, store=TensorStore())
    handle.remove()
    assert not model.again._forward_hooks and not model.again._forward_pre_hooks


def test_the_store_counts_what_lies_in_memory():
    store = TensorStore(1000)
    first = store.empty((10, 10))
    assert store.used_bytes == 400
    on_disk = store.empty((20, 10))
    assert store.used_bytes == 400
    on_disk.copy_(torch.arange(200.0).view(20, 10))
    first.zero_()
    assert torch.equal(on_disk[7], torch.arange(70.0, 80.0)) and on_disk.dtype == torch.float32
    store.release()
    assert store.used_bytes == 0
    assert store.empty((4,), torch.int64).dtype == torch.int64


def test_options_and_layout_are_kept():
    class Inner(nn.Conv2d):
        def forward(self, x, gain, *, shift):
            return super().forward(x) * gain + shift

    class Outer(nn.Module):
        def __init__(self):
            super().__init__()
            self.inner = Inner(3, 4, 3)

        def forward(self, x):
            return self.inner(x, 2.0, shift=1.0)

    model, images = Outer(), torch.randn(6, 3, 8, 8).contiguous(memory_format=torch.channels_last)
    found = capture(model, model.inner, images.split(3), calls=1, outputs=True, store=TensorStore())
    assert found.rest == (2.0,) and found.options == {"shift": 1.0}
    rows = found.rows(found.inputs, torch.arange(6))
    assert torch.equal(rows, images) and rows.is_contiguous(memory_format=torch.channels_last)
    torch.testing.assert_close(
        model.inner(rows, *found.rest, **found.options), found.outputs.flatten(0, 1), atol=1e-5, rtol=1e-5
    )


class Overwriting(nn.Module):
    """A block that changes its input, between layers."""

    def __init__(self):
        super().__init__()
        self.first, self.block, self.head = nn.Linear(6, 6), nn.Linear(6, 6), nn.Linear(6, 1)
        plain = self.block.forward
        self.block.forward = lambda x: plain(x.mul_(2))

    def forward(self, x):
        x = self.block(self.first(x.flatten(1)))
        return self.head(x.add_(1))


def test_what_a_block_or_its_reader_overwrites_is_kept_as_it_was(inputs):
    model = Overwriting()
    with torch.no_grad():
        wanted = model.first(inputs.flatten(1))
    found = capture(model, model.block, inputs.split(4), calls=1, outputs=True, store=TensorStore())
    torch.testing.assert_close(found.inputs[:, 0], wanted)
    rows = found.rows(found.inputs, torch.arange(10))
    for _ in range(2):
        torch.testing.assert_close(found.run(model.block, rows), found.outputs[:, 0])
    assert found.overwrites and torch.equal(rows, found.inputs[:, 0])


def test_images_may_be_in_another_dimension(inputs):
    class Outer(nn.Module):
        def __init__(self):
            super().__init__()
            self.inner = nn.Linear(3, 4)

        def forward(self, x):
            return self.inner(x.transpose(0, 1))

    model = Outer()
    found = capture(
        model, model.inner, inputs.split(5), calls=1, outputs=True, store=TensorStore(), image_dim=1
    )
    rows = found.rows(found.inputs, torch.arange(10))
    assert torch.equal(rows, inputs)
    torch.testing.assert_close(found.run(model.inner, rows), found.outputs.flatten(0, 1))
