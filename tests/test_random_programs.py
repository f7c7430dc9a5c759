"""Networks made up at random of what people write in a forward: right, or refused in one line."""

import pytest
import random_programs
import torch
from hypothesis import HealthCheck, event, given, settings
from hypothesis import strategies as st

from brevitas_defakeq import export_onnx, load, quantize
from brevitas_defakeq.imaging.preprocessing import Preprocessing
from brevitas_defakeq.utils.errors import UserError

PROGRAMS = st.lists(st.sampled_from(list(random_programs.STEPS)), min_size=1, max_size=5)
SEEDS = st.integers(0, 10_000)
HOW = Preprocessing((random_programs.SIDE,) * 2, mean=0.0, std=1.0)
#: Nothing else can be said of one: each program writes to a folder and takes a second or two.
CHECKS = [HealthCheck.function_scoped_fixture, HealthCheck.too_slow]


def check(steps: list[str], seed: int, normalizes: bool, images: torch.Tensor, quick_config, folder) -> str:
    """ "right", or the reason of a refusal; anything else fails."""

    def build():
        return random_programs.build(steps, seed, normalizes=normalizes)

    model, handed = build(), images.clone()
    with torch.no_grad():
        wanted = model(images.clone())
    settings = {  # ranges are found without the held-out images, which may then be clipped
        "average_bits": 8, "candidate_bits": (8,), "held_out": 0.03, "reconstruction__iterations": 2,
        "final__steps": 2,
    }  # fmt: skip
    try:
        result = quantize(model, handed, quick_config(**settings), preprocessing=HOW)
        precise = quantize(model, handed, quick_config(activation_bits=16, **settings), preprocessing=HOW)
        result.save(folder / "run")
        again = load(folder / "run", detector=build())
        card = export_onnx(again, folder, verify=images)
    except UserError as error:
        assert "\n" not in str(error)
        return str(error)
    assert torch.equal(handed, images), "the images were changed"
    with torch.no_grad():
        assert torch.equal(model(images.clone()), wanted), "the model was changed"
        logit = result.observer.logit(wanted)
        errors = [
            float((result.observer.logit(made.quantized(images.clone())) - logit).square().mean().sqrt())
            for made in (precise, result)
        ]
        torch.testing.assert_close(
            again.quantized(images.clone()), result.quantized(images.clone()), rtol=1e-3, atol=1e-4
        )
    # At 16 bits only the rounding of weights is left; what 8 bits add depends on the ranges. A logit far from
    # 0 that hardly moves is off by a share of itself.
    size = float(logit.std() + 0.1 * logit.mean().abs())
    assert errors[0] < 0.1 * size and errors[1] < 0.7 * size, (errors[0] / size, errors[1] / size)
    assert card.provenance["agreement"]["difference"] < 0.05
    return "right"


@settings(max_examples=2, derandomize=True, deadline=None, suppress_health_check=CHECKS)
@given(steps=PROGRAMS, seed=SEEDS, normalizes=st.booleans())
def test_right_or_refused(steps, seed, normalizes, images, quick_config, tmp_path):
    event(check(steps, seed, normalizes, images, quick_config, tmp_path))


@pytest.mark.slow
@pytest.mark.timeout(3 * 3600)
@settings(max_examples=500, deadline=None, suppress_health_check=CHECKS)
@given(steps=PROGRAMS, seed=SEEDS, normalizes=st.booleans())
def test_many_are_right_or_refused(steps, seed, normalizes, images, quick_config, tmp_path):
    event(check(steps, seed, normalizes, images, quick_config, tmp_path))
