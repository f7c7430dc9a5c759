"""Where the error of the logit comes from: shares of each layer's weights and activations."""

import pytest
import torch

from brevitas_defakeq.artifact import quantized_copy
from brevitas_defakeq.calibration_set import from_tensors
from brevitas_defakeq.detectors.resolve import Detector
from brevitas_defakeq.evaluation.error_sources import error_sources
from brevitas_defakeq.quant.activation_quantizer import activation_proxies
from brevitas_defakeq.quantization_request import prepare_request
from brevitas_defakeq.resume import Checkpoint


@pytest.fixture
def job(tiny, images, labels, quick_config):
    config = quick_config(average_bits=6.0, samples=32)
    request = prepare_request(
        Detector(tiny.model(), "tiny", None),
        from_tensors(images, labels, 32),
        config,
        device=torch.device("cpu"),
    )
    return request.job(Checkpoint(None, {}))


@pytest.fixture
def model(job):
    return job.round_to_nearest(6.0)


def sources(job, model):
    return error_sources(job.reference, model, job.quantized_layers(model), job.images, job.observer)


def logits(job, model):
    with torch.no_grad():
        return job.observer(model, job.images)[0].double()


def test_shares_add_up_and_every_quantizer_has_one(job, model):
    found = sources(job, model)
    assert set(found.weights) == set(job.sizes)
    assert set(found.activations) == set(activation_proxies(model))
    assert found.added_up == pytest.approx(1.0, abs=0.05)
    wanted, error = logits(job, job.reference), logits(job, model) - logits(job, job.reference)
    assert found.error == pytest.approx(float(error.square().mean().sqrt() / wanted.std()), rel=1e-4)


def test_shares_are_those_of_switching_one_quantizer_off(job, model):
    found, everything = sources(job, model), logits(job, model)
    error = everything - logits(job, job.reference)
    for name, proxy in activation_proxies(model).items():
        proxy.disable_quant = True
        part = everything - logits(job, model)
        proxy.disable_quant = False
        share = float((part * error).mean() / error.square().mean())
        assert found.activations[name] == pytest.approx(share, abs=0.1)


def test_a_quantizer_alone_is_the_whole_error(job, model):
    names = list(activation_proxies(model))
    for name, proxy in activation_proxies(model).items():
        proxy.disable_quant = name != names[0]
    for layer in job.quantized_layers(model).values():
        layer.weight_quant.disable_quant = True
    found = sources(job, model)
    assert found.activations[names[0]] == pytest.approx(1.0, abs=0.1)
    assert all(abs(share) < 1e-3 for share in found.weights.values())


def test_a_model_without_error_has_no_sources(job):
    model = quantized_copy(job.reference, job.plan, job.config)
    for proxy in activation_proxies(model).values():
        proxy.disable_quant = True
    for layer in job.quantized_layers(model).values():
        layer.weight_quant.disable_quant = True
    found = sources(job, model)
    assert found.error < 1e-5 and all(abs(share) < 1e-2 for share in found.weights.values())
