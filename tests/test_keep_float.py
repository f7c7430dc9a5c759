"""A detector behind fixed high-pass filters: kept in float, through the run, its folder and the exports."""

import json

import front_end
import pytest
import torch

from brevitas_defakeq import export_onnx, export_qonnx, load, quantize
from brevitas_defakeq.export.finn.export_finn import check_finn, export_finn
from brevitas_defakeq.export.integer_modules import integer_export_modules
from brevitas_defakeq.export.litert import LITERT
from brevitas_defakeq.imaging.preprocessing import Preprocessing
from brevitas_defakeq.prepare.kept_float import KEPT_FLOAT
from brevitas_defakeq.utils.errors import UserError

IMAGES, OTHERS = front_end.noisy_images(48), front_end.noisy_images(64, seed=1)
PREPROCESSING = Preprocessing((front_end.SIZE,) * 2, mean=front_end.MEAN, std=front_end.STD)


@pytest.fixture(scope="module")
def run_of(quick_config):
    """``run_of(target, *names)``: 8-bit weights and activations, the modules of these names in float."""

    def made(target, *names):
        config = quick_config(
            samples=48, average_bits=7, target=target, keep_float=names, reconstruction__iterations=2,
            final__steps=0,
        )  # fmt: skip
        return quantize(front_end.model(), IMAGES, config, preprocessing=PREPROCESSING)

    return made


@pytest.fixture(scope="module")
def kept(run_of):
    return run_of("any", "srm")


def error(result) -> float:
    """Root mean square error of the logit in units of its spread, on other images."""
    with torch.no_grad():
        wanted = front_end.model()(OTHERS)
        return float((result.quantized(OTHERS) - wanted).square().mean().sqrt() / wanted.std())


def test_eight_bit_pixels_blur_what_the_filters_look_for(kept, run_of):
    """Normalized pixels on one grid for all colours are off by part of a level; noise is a level or two."""
    quantized, in_float = error(run_of("any")), error(kept)
    assert quantized > 0.03, quantized
    assert in_float < quantized / 4, (in_float, quantized)


def test_the_filters_are_the_users_own(kept):
    for model in (kept.quantized, kept.mixed):
        assert torch.equal(model.srm.filters.weight, front_end.model().srm.filters.weight)
        assert type(model.srm.filters) is torch.nn.Conv2d
    assert kept.report["left_float"] == {"srm": KEPT_FLOAT, "srm.filters": KEPT_FLOAT}
    assert list(kept.bits) == ["signs", "mix", "head"]


def test_the_budget_counts_quantized_layers_alone(kept):
    sizes = {layer.name: layer.num_params for layer in kept.plan.layers}
    average = sum(kept.bits[name] * size for name, size in sizes.items()) / sum(sizes.values())
    assert kept.report["average_bits"] == pytest.approx(average) and "srm.filters" not in sizes


def test_the_run_folder(kept, tmp_path):
    kept.save(tmp_path / "run")
    settings = json.loads((tmp_path / "run" / "config.json").read_text())
    assert settings["config"]["keep_float"] == ["srm"]
    again = load(tmp_path / "run", front_end.model())
    assert torch.equal(again.quantized(OTHERS), kept.quantized(OTHERS))
    del settings["config"]["keep_float"]  # a run from before
    (tmp_path / "run" / "config.json").write_text(json.dumps(settings))
    assert load(tmp_path / "run", front_end.model()).config.keep_float == ()


def test_onnx_holds_it_in_float(kept, tmp_path):
    card = export_onnx(kept, tmp_path, verify=OTHERS)
    assert card.provenance["agreement"]["difference"] < 1e-4


def test_phones_hold_it_in_float(run_of):
    """The modules that ExecuTorch, LiteRT and Core ML convert compute what the model computes."""
    result = run_of("mobile", "srm")
    network, _ = integer_export_modules(result, result.quantized, LITERT.layers)
    with torch.no_grad():
        found = torch.cat([network(image[None]) for image in OTHERS[:4]]).flatten()
        torch.testing.assert_close(
            found, result.observer.logit(result.quantized(OTHERS[:4])), atol=0.02, rtol=0
        )


def test_finn_refuses_it_by_name(kept, tmp_path):
    with pytest.raises(UserError, match="srm: it is kept float by --keep-float: FINN multiplies integers"):
        export_finn(kept, tmp_path)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.fpga
def test_the_check_of_finn_lists_it(kept):
    assert [finding.layer for finding in check_finn(kept)][:2] == ["srm", "srm.filters"]


@pytest.mark.fpga
def test_qonnx_holds_it_in_float(kept, tmp_path):
    card = export_qonnx(kept, tmp_path, verify=OTHERS[:8])
    assert card.provenance["agreement"]["difference"] < 1e-4
