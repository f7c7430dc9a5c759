"""The expected share of flips: equal to the counted one of many images, from few."""

import numpy as np
import pytest

from brevitas_defakeq.evaluation.expected_flips import expected_flips, images_needed, wilson
from brevitas_defakeq.evaluation.metrics import auc
from brevitas_defakeq.utils.errors import UserError


def population(n, seed, noise):
    """Logits of a detector with two clusters, and those of one with errors of ``noise(logits)``."""
    generator = np.random.default_rng(seed)
    logits = np.concatenate([generator.normal(-3, 2, n // 2), generator.normal(3, 2, n - n // 2)])
    return logits, logits + noise(logits) * generator.normal(size=n)


NOISES = {
    "constant": lambda logits: 0.3, "grows with the logit": lambda logits: 0.1 + 0.15 * np.abs(logits)
}  # fmt: skip


@pytest.mark.parametrize("noise", NOISES.values(), ids=NOISES)
def test_few_images_give_the_share_of_many(noise):
    reference, other = population(200_000, 0, noise)
    counted = np.mean((reference > 0) != (other > 0))
    found = [expected_flips(*population(256, seed, noise)) for seed in range(1, 41)]
    shares = np.array([each.share for each in found])
    assert abs(shares.mean() - counted) < 0.2 * counted + 0.0005
    inside = [each.interval[0] <= counted <= each.interval[1] for each in found]
    assert np.mean(inside) >= 0.9


def test_its_noise_is_below_that_of_counting():
    noise = NOISES["constant"]
    draws = [population(256, seed, noise) for seed in range(60)]
    counted = [np.mean((reference > 0) != (other > 0)) for reference, other in draws]
    assert np.std([expected_flips(*draw).share for draw in draws]) < 0.75 * np.std(counted)


def test_errors_far_from_the_threshold_do_not_count():
    """Large logits have large errors and small ones none; any error with any logit would flip 12 %."""
    logits = np.concatenate([np.linspace(-1, 1, 200), np.linspace(20, 30, 200)])
    errors = np.where(logits > 10, -5.0, 0.0)
    assert expected_flips(logits, logits + errors).share < 0.005


def test_a_gain_alone_flips_nothing_and_an_offset_what_lies_within_it():
    logits = np.linspace(-10, 10, 401)
    assert expected_flips(logits, 3 * logits).share == 0
    assert expected_flips(logits, logits + 1.01).share == pytest.approx(21 / 401)


def test_the_threshold_is_the_float_detectors():
    reference, other = population(2000, 0, NOISES["constant"])
    assert expected_flips(reference + 7, other + 7, 7.0).share == expected_flips(reference, other).share


def test_equal_scores_have_no_flips_and_an_interval_that_shrinks_with_the_images():
    few, many = (expected_flips(np.arange(n) - n / 2, np.arange(n) - n / 2) for n in (100, 10_000))
    assert few.share == many.share == 0 and many.interval[1] < few.interval[1] < 0.05


def test_of_very_many_images_an_even_sample_is_taken():
    reference, other = population(200_000, 0, NOISES["constant"])
    found = expected_flips(reference, other)
    assert found.n <= 20_000
    assert found.share == pytest.approx(np.mean((reference > 0) != (other > 0)), rel=0.1)


def test_without_images_there_is_nothing_to_expect():
    with pytest.raises(UserError, match="0 of 0"):
        expected_flips([], [])


@pytest.mark.parametrize(("share", "limit"), [(0.0, 0.005), (0.002, 0.005), (0.009, 0.01)])
def test_images_needed_are_just_enough(share, limit):
    count = images_needed(share, limit)
    assert wilson(share, 2 * count)[1] <= limit < wilson(share, 2 * (count - 1))[1]


def test_no_number_of_images_lowers_a_share_below_itself():
    assert images_needed(0.01, 0.01) is None


@pytest.mark.slow
def test_on_drawn_faces_expected_and_counted_agree(tmp_path):
    """The bundled detector at 3 bits: 256 faces expect what 4,000 others count."""
    from brevitas_defakeq import DefakeQConfig, FinalPassConfig, ReconstructionConfig, quantize
    from brevitas_defakeq.demo import drawn_calibration, drawn_test
    from brevitas_defakeq.detectors.resolve import resolve
    from brevitas_defakeq.evaluation.predict import observe_all
    from brevitas_defakeq.run_inputs import require_preprocessing

    detector = resolve("demo")
    preprocessing = require_preprocessing(detector)
    images, labels = drawn_calibration(preprocessing, 64)
    config = DefakeQConfig(
        samples=64, reconstruction=ReconstructionConfig(rounding="nearest"), final=FinalPassConfig(steps=0)
    )
    result = quantize(detector, images, config, labels=labels)
    test = drawn_test(preprocessing, in_domain=4256, cross_domain=2)
    models = {"float": detector.model.eval(), "quantized": result.quantized}
    seen = observe_all(models, result.observer, test.batches())
    reference, other = (seen[name].scores for name in models)
    assert auc([sample.label for sample in test.samples], reference) > 0.9
    found = expected_flips(reference[:256], other[:256])
    counted = np.mean((reference[256:] > 0) != (other[256:] > 0))
    assert found.interval[0] <= counted <= found.interval[1]
