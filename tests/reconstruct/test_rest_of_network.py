"""What the float network makes of a block's output."""

import math

import pytest
import torch
from torch import nn

from brevitas_defakeq.reconstruct.rest_of_network import output_gradient, substituted, two_class_divergence


def test_the_float_output_gives_the_float_verdict_behind_every_block(begun):
    job, model = begun(3)
    work = job.reconstruction(model)
    images = job.train[:5]
    with torch.no_grad():
        wanted = job.reference(job.images[images]).flatten()
        for index, block in enumerate(job.plan.blocks):
            task = work._task(block, index)
            target = task.target_rows(images)
            torch.testing.assert_close(task.logits(target, images), wanted, msg=block.name)
            assert not torch.allclose(task.logits(0.5 * target, images), wanted), block.name
    assert not any(module._forward_hooks for module in job.reference.modules())


class Repeating(nn.Module):
    """A layer that runs on two parts of each image and then, in another shape, on their sum."""

    def __init__(self):
        super().__init__()
        self.again = nn.Linear(3, 3, bias=False)

    def forward(self, x):  # [N, 2, 3]
        first, second = self.again(x[:, 0]), self.again(x[:, 1])
        return self.again((first + 2 * second)[:, None])


def test_every_call_gets_its_own_rows_and_other_shapes_run_as_they_are():
    model, images = Repeating(), torch.randn(4, 2, 3)
    rows = torch.randn(8, 3, requires_grad=True)  # image by image, its two calls beside each other
    with substituted(model.again, rows, 4, 0):
        found = model(images)
    pairs = rows.detach().view(4, 2, 3)
    torch.testing.assert_close(found, model.again((pairs[:, 0] + 2 * pairs[:, 1])[:, None]))
    found.sum().backward()
    share = model.again.weight.detach().sum(0)
    torch.testing.assert_close(rows.grad.view(4, 2, 3), torch.stack([share, 2 * share]).expand(4, 2, 3))


def test_divergence_by_hand():
    """z = 2 and -1 at T = 4: P(fake) = sigmoid(.5) and sigmoid(-.25)."""
    p, q = 1 / (1 + math.exp(-0.5)), 1 / (1 + math.exp(0.25))
    wanted = p * math.log(p / q) + (1 - p) * math.log((1 - p) / (1 - q))
    found = two_class_divergence(torch.tensor([2.0, 1.0]), torch.tensor([-1.0, 1.0]))
    assert found.tolist() == pytest.approx([wanted, 0.0], rel=1e-5, abs=1e-7)
    logits = torch.tensor([[[2.0], [0.0]], [[-1.0], [0.0]]]).squeeze(-1) / 4  # the two classes written out
    both = torch.nn.functional.kl_div(
        logits[1].log_softmax(0), logits[0].log_softmax(0), log_target=True, reduction="sum"
    )
    assert float(both) == pytest.approx(wanted, rel=1e-5)


def test_each_image_has_a_gradient_of_its_own():
    output = torch.tensor([[1.0, 2.0], [3.0, -1.0]])
    found = output_gradient(output, lambda rows: rows.square().sum(1))
    assert torch.equal(found, 2 * output)
    assert torch.equal(output_gradient(output, lambda _: torch.ones(2, requires_grad=True)), 0 * output)
