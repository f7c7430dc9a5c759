"""A run of Algorithm 1 stopped before its reconstruction: the tiny detector at one uniform width."""

import pytest

from brevitas_defakeq.artifact import quantized_copy
from brevitas_defakeq.detectors.resolve import Detector
from brevitas_defakeq.float_reference import prepare_float
from brevitas_defakeq.pipeline import Job
from brevitas_defakeq.resume import Checkpoint


@pytest.fixture
def begun(tiny, images, labels, quick_config):
    """``begun(bits, **settings)``: the job, and M_q with calibrated activations and ranges at ``bits``.

    Of the tiny detector on 32 images unless others are given.
    """

    def make(bits=2, detector=None, images=images, labels=labels, **changes):
        config = quick_config(candidate_bits=(bits,), average_bits=bits, samples=len(images), **changes)
        reference, plan, observer = prepare_float(
            Detector(detector or tiny.model(), "tiny", None), images[:1]
        )
        job = Job(
            reference=reference, plan=plan, images=images, labels=labels, observer=observer, config=config,
            checkpoint=Checkpoint(None, {}),
        )  # fmt: skip
        model = quantized_copy(reference, plan, config)
        job.calibrate_(model)
        job.set_bits_(model, {layer.name: bits for layer in plan.layers})
        return job, model

    return make
