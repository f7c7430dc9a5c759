"""The rate term: code lengths by hand, fewer bits for more error, and nothing at 0."""

from dataclasses import replace

import pytest
import torch

from brevitas_defakeq import UserError
from brevitas_defakeq.config import ReconstructionConfig
from brevitas_defakeq.quant.coded_weight import CodedWeight, read_codes, write_codes_
from brevitas_defakeq.reconstruct.rate_term import RateTerm, bits_of_layers, code_lengths


def test_lengths_are_those_of_an_ideal_coder():
    found = code_lengths(torch.tensor([0] * 16 + [2] * 8 + [3] * 8), levels=4)
    expected = -(torch.tensor([16.5, 0.5, 8.5, 8.5]) / 34).log2()
    torch.testing.assert_close(found, expected)


@pytest.fixture
def layer(begun):
    """A layer of the tiny detector at 2 bits."""
    job, model = begun(2)
    return job.quantized_layers(model)["stem.0"]


def test_the_rate_of_hard_codes_is_their_length(layer):
    """With V far on either side the codes are whole, and the expected length is the length."""
    coded = CodedWeight(layer, learn_rounding=True)
    with torch.no_grad():
        coded.rounding.copy_(torch.where(coded.rounding > 0, 20.0, -20.0))
    codes, _, zero_point = read_codes(layer)
    values = (coded.codes() - zero_point).remainder(4).long()
    lengths = code_lengths(values, 4)
    assert RateTerm({"layer": coded}, 0.5)(0).item() == pytest.approx(0.5 * lengths[values].sum().item())
    assert bits_of_layers({"layer": layer}) == pytest.approx(
        float(-sum(n * torch.log2(n / codes.numel()) for n in values.unique(return_counts=True)[1])), rel=0.05
    )


def test_the_gradient_points_to_the_shorter_code(layer):
    coded = CodedWeight(layer, learn_rounding=True)
    term = RateTerm({"layer": coded}, 1.0)
    term(0).backward()
    own = term._layers[0]
    free = (coded.rounding.grad != 0) & (own.longer != 0)
    assert free.any()
    assert torch.equal(coded.rounding.grad[free].sign(), own.longer[free].sign())


def test_codes_at_the_edge_have_no_choice(layer):
    """A code that is clamped is the same on both sides, and costs nothing to round."""
    codes, scale, zero_point = read_codes(layer)
    write_codes_(layer, torch.full_like(codes, 3.0), scale, zero_point)
    coded = CodedWeight(layer, learn_rounding=True)
    term = RateTerm({"layer": coded}, 1.0)
    term(0)
    clamped = coded.base >= 3
    assert clamped.any() and not term._layers[0].longer[clamped].any()


@pytest.mark.parametrize("bits", [1.6, 3])
def test_a_higher_rate_takes_fewer_bits(begun, bits):
    found, errors = [], []
    for rate in (0.0, 0.1, 1.0):
        job, model = begun(bits, reconstruction__iterations=40, reconstruction__rate=rate)
        work = job.reconstruction(model)
        errors.append([work.block_(index) for index in range(len(work.units))][1]["after"])
        found.append(bits_of_layers(job.quantized_layers(model)))
    assert found[0] > found[1] > found[2], found
    assert errors[0] < errors[2], "bits were saved for nothing"


def test_what_it_goes_with():
    assert ReconstructionConfig().rate == 0
    for broken in (-1.0, float("nan"), float("inf")):
        with pytest.raises(UserError, match="rate=.*finite"):
            ReconstructionConfig(rate=broken)
    with pytest.raises(UserError, match="goes with rounding"):
        replace(ReconstructionConfig(), rate=0.1, rounding="gptq")
