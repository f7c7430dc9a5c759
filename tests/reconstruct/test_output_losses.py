"""The losses that weigh a block's error by what it does to the verdict, on a block that is worked by hand."""

import math
from typing import get_args

import pytest
import torch
from torch import nn

from brevitas_defakeq.config import ReconstructionConfig, ReconstructionLoss
from brevitas_defakeq.reconstruct.block_task import BlockTask
from brevitas_defakeq.reconstruct.capture import TensorStore, capture
from brevitas_defakeq.reconstruct.output_losses import OUTPUT_LOSSES, output_loss
from brevitas_defakeq.reconstruct.rest_of_network import substituted

#: z = 3 y_1 + y_2
SLOPE = torch.tensor([3.0, 1.0])
INPUTS = torch.tensor([[0.4, -0.2], [1.0, 0.5], [-0.6, 0.8], [0.2, 1.2]])


class Toy(nn.Module):
    """A block of two outputs, and a rest that makes one logit of them: linear, or curved."""

    def __init__(self, weight, curved=False):
        super().__init__()
        self.block = nn.Linear(2, 2, bias=False)
        self.block.weight = nn.Parameter(torch.tensor(weight), requires_grad=False)
        self.curved = curved

    def forward(self, x):
        outputs = self.block(x)
        return torch.sin(outputs) @ SLOPE if self.curved else outputs @ SLOPE


def toy_task(weight=((1.1, 0.0), (0.0, 1.2)), *, curved=False, images=4, quantized_inputs=INPUTS):
    """M_f's block is the identity, M_q's block has ``weight``."""
    reference, quantized = Toy(((1.0, 0.0), (0.0, 1.0)), curved), Toy(weight, curved)
    inputs, shifted = INPUTS[:images], quantized_inputs[:images]
    options = {"calls": 1, "store": TensorStore()}

    def observe(output, chosen):
        with substituted(reference.block, output, len(chosen), 0):
            return reference(inputs[chosen]), output

    return BlockTask(
        name="block", quantized=quantized.block, reference=reference.block, layers={"block": quantized.block},
        reference_layers={"block": reference.block},
        quantized_data=capture(quantized, quantized.block, [shifted], outputs=False, **options),
        reference_data=capture(reference, reference.block, [inputs], outputs=True, **options),
        train=torch.arange(images), held_out=torch.arange(1), labels=None,
        generator=torch.Generator().manual_seed(0), observe=observe, store=TensorStore(),
    )  # fmt: skip


def loss_of(kind, task, **settings):
    return output_loss(task, ReconstructionConfig(loss=kind, **settings))


def probability(logit, temperature=4.0):
    return 1 / (1 + math.exp(-logit / temperature))


def change(task, images, scale=1.0):
    """A known error of each output, and the loss's arguments."""
    target = task.target_rows(images)
    error = scale * torch.tensor([[0.3, -0.1], [0.2, 0.4], [-0.5, 0.1], [0.1, 0.2]])[: len(images)]
    return error, (target + error, target, images)


def test_every_name_has_a_class():
    assert set(OUTPUT_LOSSES) == set(get_args(ReconstructionLoss))
    assert ReconstructionConfig().loss == "mse"


def test_squared_error_by_hand():
    task = toy_task()
    error, arguments = change(task, task.train)
    wanted = float(error.square().mean() / INPUTS.var())
    assert float(loss_of("mse", task)(*arguments)) == pytest.approx(wanted)


def test_diagonal_fisher_by_hand():
    """F_ij = p (1 - p) slope_j^2 / 16; the weights' mean over images and elements is 1."""
    task = toy_task()
    error, arguments = change(task, task.train)
    weights = []
    for row in INPUTS.tolist():
        p = probability(3 * row[0] + row[1])
        weights.append([p * (1 - p) / 16 * 9, p * (1 - p) / 16 * 1])
    mean = sum(map(sum, weights)) / 8
    total = sum(
        weight / mean * change**2
        for one, moved in zip(weights, error.tolist(), strict=True)
        for weight, change in zip(one, moved, strict=True)
    )
    loss = loss_of("fisher", task)
    assert float(loss(*arguments)) == pytest.approx(total / 8 / float(INPUTS.var()), rel=1e-5)
    part = torch.tensor([2, 0])
    found = loss(task.target_rows(part) + error[part], task.target_rows(part), part)
    share = sum(weights[i][j] / mean * float(error[i, j]) ** 2 for i in (2, 0) for j in (0, 1))
    assert float(found) == pytest.approx(share / 4 / float(INPUTS.var()), rel=1e-5)


def exact_fisher(image, curved):
    """Fisher information of one image's verdict at the block's output: the Hessian of its KL divergence."""

    def divergence(output):
        wanted = (torch.sin(INPUTS[image]) if curved else INPUTS[image]) @ SLOPE / 4
        found = (torch.sin(output) if curved else output) @ SLOPE / 4
        p, q = torch.sigmoid(wanted), torch.sigmoid(found)
        return p * (p / q).log() + (1 - p) * ((1 - p) / (1 - q)).log()

    return torch.autograd.functional.hessian(divergence, INPUTS[image])


@pytest.mark.parametrize("curved", [False, True])
def test_diagonal_fisher_is_the_diagonal_of_the_hessian(curved):
    task = toy_task(curved=curved)
    error, arguments = change(task, task.train)
    diagonal = torch.stack([exact_fisher(image, curved).diagonal() for image in range(4)])
    wanted = (diagonal / diagonal.mean() * error.square()).mean() / INPUTS.var()
    assert float(loss_of("fisher", task)(*arguments)) == pytest.approx(float(wanted), rel=1e-3)


@pytest.mark.parametrize("curved", [False, True])
def test_perturbation_is_the_row_sums_of_the_hessian(curved):
    """H e for e = (1, 1), in magnitude, its mean over the images; linear: 3 and 1 over their mean 2."""
    task = toy_task(curved=curved)
    error, arguments = change(task, task.train)
    rows = torch.stack([exact_fisher(image, curved).sum(1).abs() for image in range(4)]).mean(0)
    weights = rows / rows.mean()
    if not curved:
        assert weights.tolist() == pytest.approx([1.5, 0.5], rel=1e-4)
    wanted = (weights * error.square()).mean() / INPUTS.var()
    assert float(loss_of("perturbation", task)(*arguments)) == pytest.approx(float(wanted), rel=5e-3)


def test_the_low_rank_fisher_equals_the_full_one():
    """One image, whose Fisher information p (1 - p)/16 (3, 1)(3, 1)^T has rank 1; two gradients are taken."""
    task = toy_task(weight=((1.1, 0.0), (0.1, 1.0)), images=1)
    full = exact_fisher(0, curved=False)
    p = probability(3 * 0.4 - 0.2)
    assert torch.allclose(full, p * (1 - p) / 16 * torch.tensor([[9.0, 3.0], [3.0, 1.0]]), atol=1e-6)
    loss = loss_of("fisher-low-rank", task, iterations=10)  # a gradient every second step
    target, moves = task.target_rows(task.train), torch.tensor([[0.1, 0.05], [0.02, 0.2], [0.3, 0.0]])
    for step, weight in enumerate(((1.1, 0.0), (0.05, 0.9))):
        task.quantized.weight.data[0] = torch.tensor(weight)
        loss(target + moves[:1], target, task.train)
        loss(target + moves[:1], target, task.train)
        assert len(loss.gradients) == step + 1
        found = torch.stack([loss._terms(move[None])[0] for move in moves])
        wanted = torch.stack([move @ full @ move for move in moves])
        torch.testing.assert_close(found / found[0], wanted / wanted[0], rtol=1e-3, atol=0)


def test_either_half_of_the_low_rank_loss_starts_at_half_the_squared_error():
    task = toy_task()
    error, arguments = change(task, task.train)
    loss, squared = loss_of("fisher-low-rank", task), loss_of("mse", task)
    start = float(squared(*arguments))
    assert float(loss(*arguments)) == pytest.approx(start, rel=1e-5)
    _, twice = change(task, task.train, 2.0)
    assert float(loss(*twice)) == pytest.approx(4 * start, rel=1e-5)
    only_first = error * torch.tensor([1.0, 0.0])
    low_rank = (only_first.abs() @ SLOPE).square().sum() / (error.abs() @ SLOPE).square().sum()
    diagonal = (only_first.square() @ SLOPE).sum() / (error.square() @ SLOPE).sum()
    target = task.target_rows(task.train)
    found = float(loss(target + only_first, target, task.train))
    assert found == pytest.approx(start * float(low_rank + diagonal) / 2, rel=1e-3)


@pytest.mark.parametrize("block_input", ["mixed", "quantized"])
def test_prediction_difference_by_hand(block_input):
    """The KL term is that of the block behind its quantized inputs, whatever the others are."""
    inputs = INPUTS + 0.3
    task = toy_task(quantized_inputs=inputs)
    loss = loss_of("prediction-difference", task, block_input=block_input)
    images = torch.tensor([1, 3])
    output, target = task.run(inputs[images]), task.target_rows(images)
    given = output if block_input == "quantized" else 1.05 * target
    divergences = []
    for row, shifted in zip(INPUTS[images].tolist(), inputs[images].tolist(), strict=True):
        p = probability(3 * row[0] + row[1])
        q = probability(3 * 1.1 * shifted[0] + 1.2 * shifted[1])
        divergences.append(p * math.log(p / q) + (1 - p) * math.log((1 - p) / (1 - q)))
    wanted = float((given - target).square().mean() / INPUTS.var()) + 10 * sum(divergences) / 2
    assert float(loss(given, target, images)) == pytest.approx(wanted, rel=1e-4)
    assert sum(divergences) > 1e-3, "a softmax over the one logit would have given 0"


@pytest.mark.parametrize("kind", get_args(ReconstructionLoss))
def test_learning_under_every_loss_lowers_the_error_and_repeats(begun, kind):
    results = []
    for _ in range(2):
        settings = {"reconstruction__matching": "none", "reconstruction__iterations": 50}
        job, model = begun(2, **settings, reconstruction__loss=kind)
        work = job.reconstruction(model)
        for index in range(2):
            errors = work.block_(index)
            assert errors["after"] < 0.9 * errors["before"]
        results.append([tensor.clone() for tensor in model.parameters()])
    assert all(torch.equal(*pair) for pair in zip(*results, strict=True))
    network = 2 * OUTPUT_LOSSES[kind].network_images(work.config, len(job.train))
    blocks = 50 * 8 * 3 * work.share(job.plan.blocks[:2])  # steps, images of each, forward and backward
    assert job.meter.by_stage["reconstruct"] == pytest.approx(blocks + network)
