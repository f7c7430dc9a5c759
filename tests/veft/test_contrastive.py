"""Eq. 9 by hand and against a loop over images."""

import math

import pytest
import torch
from torch.nn import functional as F

from brevitas_defakeq.veft.contrastive import combined_positive, contrastive_loss, other_class, pooled


def features(seed, count=5):
    return torch.randn(count, 7, generator=torch.Generator().manual_seed(seed))


def by_loop(anchor, positive, negatives, temperature, allowed):
    total = 0.0
    for i in range(len(anchor)):
        pull = math.exp(F.cosine_similarity(anchor[i], positive[i], dim=0).item() / temperature)
        usable = [k for k in range(len(anchor)) if k != i and (allowed is None or allowed[i][k])]
        usable = usable or [k for k in range(len(anchor)) if k != i]
        push = sum(
            math.exp(F.cosine_similarity(anchor[i], negatives[k], dim=0).item() / temperature) for k in usable
        )
        total -= math.log(pull / (pull + push))
    return total / len(anchor)


@pytest.mark.parametrize("temperature", [0.07, 0.5, 2.0])
@pytest.mark.parametrize("labels", [None, [0, 1, 1, 0, 1], [1, 1, 1, 1, 0], [0, 0, 0, 0, 0]])
def test_against_the_formula(labels, temperature):
    anchor, positive, negatives = features(0), features(1), features(2)
    allowed = None if labels is None else other_class(torch.tensor(labels))
    loss = contrastive_loss(anchor, positive, negatives, temperature=temperature, allowed=allowed)
    expected = by_loop(anchor, positive, negatives, temperature, allowed)
    assert loss.item() == pytest.approx(expected, rel=1e-4)


def test_by_hand():
    anchor = torch.tensor([[1.0, 0.0], [0.0, 2.0]])
    positive = torch.tensor([[3.0, 0.0], [1.0, 0.0]])  # cosines 1 and 0
    negatives = torch.tensor([[0.0, 1.0], [-1.0, 0.0]])  # image 0 sees -1, image 1 sees 1
    loss = contrastive_loss(anchor, positive, negatives, temperature=0.5)
    first = -math.log(math.exp(2) / (math.exp(2) + math.exp(-2)))
    second = -math.log(1 / (1 + math.exp(2)))
    assert loss.item() == pytest.approx((first + second) / 2, rel=1e-5)


def test_an_image_is_never_its_own_negative():
    anchor, positive, negatives = features(0), features(1), features(2)
    loss = contrastive_loss(anchor[:1], positive[:1], negatives[:1], temperature=0.5)
    assert loss.item() == 0.0, "one image has no negatives at all"
    same = torch.tensor([True]).expand(5, 5)
    everyone = contrastive_loss(anchor, positive, negatives, temperature=0.5, allowed=same)
    assert everyone.item() == pytest.approx(
        contrastive_loss(anchor, positive, negatives, temperature=0.5).item()
    )


def test_the_gradient_pulls_the_positive_to_its_anchor():
    anchor, negatives = features(0), features(2)
    positive = features(1).requires_grad_()
    before = F.cosine_similarity(anchor, positive).detach()
    contrastive_loss(anchor, positive, negatives, temperature=0.5).backward()
    after = F.cosine_similarity(anchor, positive - 0.1 * positive.grad)
    assert (after > before).all()


def test_the_positive_moves_from_m_q_to_m_qv():
    quantized, mixed = features(0), features(1)
    assert torch.equal(combined_positive(quantized, mixed, 0.0), quantized)
    assert torch.equal(combined_positive(quantized, mixed, 1.0), mixed)
    torch.testing.assert_close(combined_positive(quantized, mixed, 0.25), 0.25 * mixed + 0.75 * quantized)


def test_other_class():
    assert other_class(None) is None
    expected = [[False, True, False], [True, False, True], [False, True, False]]
    assert other_class(torch.tensor([0, 1, 0])).tolist() == expected


@pytest.mark.parametrize(
    ("shape", "dim", "axes"),
    [((2, 5, 3, 4), 1, (2, 3)), ((2, 6, 5), -1, (1,)), ((2, 5), -1, ()), ((2, 3, 4, 5), -1, (1, 2))],
)
def test_pooled(shape, dim, axes):
    output = torch.randn(shape)
    torch.testing.assert_close(pooled(output, dim), output.mean(axes) if axes else output)
