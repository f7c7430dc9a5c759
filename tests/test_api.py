"""``quantize`` on tensors: what comes back, what it keeps of its promises, every recipe and ablation."""

import copy
import json
import struct

import numpy as np
import pytest
import safetensors.torch
import torch
from scipy.stats import spearmanr
from sklearn.metrics import roc_auc_score
from torch import nn

from brevitas_defakeq import UserError, quantize
from brevitas_defakeq.artifact import QuantizedDetector
from brevitas_defakeq.calibration_set import from_tensors
from brevitas_defakeq.config import without_haq, without_veft
from brevitas_defakeq.data.labelled_set import LabelledSet
from brevitas_defakeq.imaging.preprocessing import Preprocessing

LAYERS = {
    "stem.0": 216, "stem.3": 1152, "block.attn.qkv": 768, "block.attn.proj": 256, "block.mlp.fc1": 512,
    "block.mlp.fc2": 512, "head": 16,
}  # fmt: skip
WEIGHTS = sum(LAYERS.values())


@pytest.fixture(scope="module")
def test_set(drawn):
    return drawn(40, seed=9)


@pytest.fixture(scope="module")
def result(tiny, images, labels, quick_config, test_set):
    """The standard run: 3 bits, 8-bit activations, test data."""
    test = LabelledSet.from_tensors(*test_set, datasets=["first"] * 20 + ["second"] * 20)
    return quantize(tiny.model(), images, quick_config(), labels=labels, test=test)


@pytest.fixture(scope="module")
def run(tiny, images, labels, quick_config):
    """``run(average_bits=2, ...)``: a quick run with labels; equal settings run once."""
    done = {}

    def get(**changes):
        config = quick_config(**changes)
        key = json.dumps(config.to_dict())
        if key not in done:
            done[key] = quantize(tiny.model(), images, config, labels=labels)
        return done[key]

    return get


def weights_of(model, name):
    """What a quantized layer multiplies with, [C_out, rest]."""
    layer = model.get_submodule(name)
    weight = layer.quant_weight()
    return getattr(weight, "value", weight).detach().flatten(1)


def average_bits(bits):
    return sum(bits[name] * count for name, count in LAYERS.items()) / WEIGHTS


def levels(bits):
    return 3 if bits == 1.6 else 2 ** int(bits)


def check(result, budget):
    """What holds for every run: the budget, the number of levels, finite metrics."""
    assert set(result.bits) == set(LAYERS)
    assert average_bits(result.bits) <= budget + 1e-9
    assert result.report["average_bits"] == pytest.approx(average_bits(result.bits))
    for name, bits in result.bits.items():
        for row in weights_of(result.quantized, name):
            assert len(row.unique()) <= levels(bits), f"{name} at {bits} bits"
    json.dumps(result.report, allow_nan=False)
    assert all(tensor.isfinite().all() for tensor in result.quantized.state_dict().values())


@torch.no_grad()
def error(model, reference, images):
    """Mean squared difference of the logits, relative to their variance."""
    wanted = reference(images)
    return float((model(images) - wanted).square().mean() / wanted.var())


# ------------------------------------------------------------------------------------------ what comes back


def test_fields(result, quick_config):
    assert isinstance(result, QuantizedDetector)
    assert result.config == quick_config()
    assert result.bits == result.report["bits"]
    assert set(result.bits.values()) <= set(quick_config().candidate_bits)
    assert result.preprocessing is None and result.spec["kind"] == "module"
    check(result, 3.0)


def test_plain_modules_with_the_float_signature(result, tiny, images):
    for model in (result.quantized, result.mixed):
        assert type(model) is tiny.TinyDetector and not model.training
        assert [name for name, _ in model.named_children()] == ["stem", "block", "norm", "head"]
        assert not any(parameter.requires_grad for parameter in model.parameters())
        assert model(images[:3]).shape == (3, 1)
        assert torch.equal(model(images[:3]), model(images[:3]))


def test_the_users_module_stays_as_it_was(tiny, images, quick_config):
    """Values, modes, hooks and memory; nor does a run draw from the caller's random generators."""
    model = tiny.model().train()
    model.spare = nn.Linear(4, 4)
    model.stem[1].eval()
    model.head.requires_grad_(False)
    before = copy.deepcopy(model)
    torch.manual_seed(5)
    np.random.seed(5)
    drawn = torch.get_rng_state(), np.random.get_state()[1].copy()
    heard = []
    config = quick_config(reconstruction__iterations=1, final__steps=2)
    result = quantize(model, images, config, on_progress=lambda *words: heard.append(words))

    assert all(map(torch.equal, model.state_dict().values(), before.state_dict().values()))
    assert [m.training for m in model.modules()] == [m.training for m in before.modules()]
    assert [p.requires_grad for p in model.parameters()] == [p.requires_grad for p in before.parameters()]
    assert [type(m) for m in model.modules()] == [type(m) for m in before.modules()]
    assert not any(m._forward_hooks or m._forward_pre_hooks for m in model.modules())
    assert "forward" not in vars(model.block)
    own = {parameter.data_ptr() for parameter in model.parameters()}
    made = [*result.quantized.parameters(), *result.mixed.parameters()]
    assert not own & {parameter.data_ptr() for parameter in made}, "memory is shared with the user's module"
    assert torch.equal(torch.get_rng_state(), drawn[0])
    assert np.array_equal(np.random.get_state()[1], drawn[1])

    assert "never reached" in result.report["left_float"]["spare"]
    assert type(result.quantized.spare) is nn.Linear
    stages = list(dict.fromkeys(stage for stage, _, _ in heard))
    assert stages == ["calibrate", "allocate", "reconstruct", "tune", "freeze", "evaluate"]
    assert all(0 <= done <= total and total >= 1 for _, done, total in heard)
    assert ("tune", 2, 2) in heard


@pytest.mark.parametrize("head", ["two", "dict", "tuple"])
def test_other_heads(tiny, images, quick_config, head):
    model = tiny.model(head)
    settings = quick_config(
        average_bits=8,
        candidate_bits=(8,),
        activation_bits=None,
        final__steps=0,
        reconstruction__iterations=0,
    )
    result = quantize(model, images, settings)
    raw, wanted = result.quantized(images), model(images)
    assert type(raw) is type(wanted)
    if head == "dict":
        assert raw.keys() == wanted.keys()
    logit = {
        "two": lambda z: z[:, 1] - z[:, 0],
        "dict": lambda z: z["cls"][:, 0],
        "tuple": lambda z: z[0][:, 0],
    }
    found, expected = logit[head](raw), logit[head](wanted)
    assert torch.equal(result.observer.logit(raw), found)
    assert np.corrcoef(found.detach(), expected.detach())[0, 1] > 0.99


# ------------------------------------------------------------------------------------------ report


def test_report_has_every_key(result):
    """The keys of the run folder that people script against."""
    report = result.report
    assert {
        "format_version", "detector", "recipe", "budget", "average_bits", "activation_bits", "bits",
        "left_float", "size_bytes", "packed_bytes", "seconds", "forward_passes", "metrics", "preprocessing",
        "threshold", "calibration", "provenance", "error_sources",
    } <= set(report)  # fmt: skip
    assert report["recipe"] == "best" and report["budget"] == 3.0 and report["activation_bits"] == 8
    assert set(report["size_bytes"]) == {"float", "quantized", "mixed"}
    assert {"float", "quantized"} <= set(report["threshold"])
    assert set(report["metrics"]) == {"float", "round_to_nearest", "quantized", "mixed"}
    for metrics in report["metrics"].values():
        assert {"auc", "auc_interval", "fidelity"} <= set(metrics)
        assert set(metrics["fidelity"]) == {
            "rank_correlation", "verdict_agreement", "feature_snr_db", "flips", "expected_flips",
            "largest_probability_change",
        }  # fmt: skip
    assert {"calibrate", "allocate", "reconstruct", "tune"} <= set(report["seconds"])
    assert report["forward_passes"] > 0
    assert len(report["calibration"]["hash"]) == 64 and report["calibration"]["count"] == 32
    assert report["provenance"]["seed"] == 0
    assert report["provenance"]["threads"] == torch.get_num_threads()
    assert set(report["provenance"]["versions"]) >= {"brevitas", "torch", "brevitas-defakeq"}


def test_metrics_are_those_of_scikit_learn_and_scipy(result, tiny, test_set):
    test_images, labels = test_set
    reference = tiny.model()
    models = {"float": reference, "quantized": result.quantized, "mixed": result.mixed}
    scores, features = {}, {}
    for variant, model in models.items():
        model.head.register_forward_pre_hook(
            lambda _, inputs, variant=variant: features.update({variant: inputs[0]})
        )
        with torch.no_grad():
            scores[variant] = model(test_images)[:, 0].double().numpy()
        model.head._forward_pre_hooks.clear()
    for variant, metrics in result.report["metrics"].items():
        if variant not in models:
            continue
        assert metrics["auc"] == pytest.approx(roc_auc_score(labels, scores[variant]), abs=1e-3)
        assert metrics["n"] == 40 and set(metrics["per_dataset"]) == {"first", "second"}
        verdicts = scores[variant] > result.report["threshold"][variant]
        assert metrics["accuracy"] == pytest.approx(np.mean(verdicts == labels.numpy()))
        fidelity = metrics["fidelity"]
        assert fidelity["verdict_agreement"] == pytest.approx(np.mean(verdicts == (scores["float"] > 0)))
        assert fidelity["flips"]["count"] == np.sum((scores[variant] > 0) != (scores["float"] > 0))
        assert fidelity["flips"]["n"] == 40 and fidelity["flips"]["threshold"] == 0.0
        expected = spearmanr(scores["float"], scores[variant]).statistic
        assert fidelity["rank_correlation"] == pytest.approx(expected, abs=0.01)
    noise = (features["quantized"] - features["float"]).square().sum()
    snr = 10 * np.log10(float(features["float"].square().sum() / noise))
    assert result.report["metrics"]["quantized"]["fidelity"]["feature_snr_db"] == pytest.approx(snr, abs=0.2)


def test_threshold_keeps_the_false_positive_rate(result, tiny, images, labels):
    """Scores as the run saw them, compared as doubles: the threshold may lie right below one."""

    def called_fake(model, threshold):
        with torch.no_grad():
            scores = torch.cat([model(part)[:, 0] for part in images.split(16)])
        return int((scores[labels == 0].double() > threshold).sum())

    wanted = called_fake(tiny.model(), 0.0)
    for variant in ("quantized", "mixed"):
        assert called_fake(getattr(result, variant), result.report["threshold"][variant]) == wanted


def test_without_test_data_fidelity_alone(run):
    result = run(average_bits=2.5, final__steps=0, haq__pinned={"stem.3": 3})
    assert result.bits["stem.3"] == 3 != run().bits["stem.3"], "a pinned layer keeps its width"
    metrics = result.report["metrics"]
    assert set(metrics) == {"float", "round_to_nearest", "round_to_nearest_above", "quantized", "mixed"}
    assert all(set(found) == {"fidelity"} for found in metrics.values())
    assert metrics["float"]["fidelity"]["verdict_agreement"] == 1.0
    check(result, 2.5)


def test_size_is_what_lies_on_disk(result, tiny, tmp_path):
    result.save(tmp_path / "run")
    sizes = result.report["size_bytes"]
    assert sizes["quantized"] == (tmp_path / "run" / "weights.safetensors").stat().st_size
    assert sizes["mixed"] == (tmp_path / "run" / "mixed.safetensors").stat().st_size
    state = {n: t for n, t in tiny.model().state_dict().items() if "num_batches" not in n}
    safetensors.torch.save_file(state, tmp_path / "float.safetensors")
    assert sizes["float"] == (tmp_path / "float.safetensors").stat().st_size
    codes = sum(-(-count * int(result.bits[name]) // 8) for name, count in LAYERS.items())
    packed = result.report["packed_bytes"]["quantized"]
    assert codes < packed < codes + 950, "codes, then half scales, biases and norms"
    header = 8 + struct.unpack("<Q", (tmp_path / "run" / "weights.safetensors").read_bytes()[:8])[0]
    assert header < 1200, "the kinds alone; the index is deflated, too"
    assert sizes["quantized"] - header < packed + 100 + 30 * len(result.plan.layers), "the index, deflated"


# ------------------------------------------------------------------------------------------ calibration


def test_batches_are_the_same_as_one_tensor(images, labels):
    whole, parts = from_tensors(images, labels, 24), from_tensors(iter(images.split(10)), labels, 24)
    assert torch.equal(whole.images, images[:24]) and torch.equal(parts.images, images[:24])
    assert torch.equal(parts.labels, labels[:24]) and whole.hash == parts.hash
    assert whole.hash != from_tensors(images, labels, 23).hash


def test_a_folder_needs_preprocessing(tiny, finished, quick_config):
    faces = finished.folder / "faces"
    config = quick_config(samples=16, reconstruction__iterations=1, final__steps=1)
    with pytest.raises(UserError, match="preprocessing="):
        quantize(tiny.model(), faces, config)
    how = Preprocessing(16, mean=0.5, std=0.25)
    result = quantize(tiny.model(), faces, config, preprocessing=how)
    assert result.preprocessing == how and result.report["preprocessing"] == how.to_dict()
    assert len(result.report["calibration"]["files"]) == 16


# -------------------------------------------------------------------------------- recipes, ablations

ABLATIONS = {
    "no HAQ": (without_haq, {"reconstruction__block_input": "float"}),
    "no VEFT": (without_veft, {"recipe": "paper"}),
    "joint widths": (None, {"reconstruction__joint": True, "veft__enabled": True}),
    "nearest": (None, {"reconstruction__rounding": "nearest"}),
    "fixed masks": (None, {"veft__enabled": True, "veft__masks": "fixed", "veft__contrastive_weight": 0.0}),
    "negatives of M_q": (
        None,
        {
            "veft__enabled": True, "veft__negatives": "quantized", "veft__alignment": "detector",
            "mixed_channel_bits": 32,
        },
    ),
    "contrastive last pass": (None, {"final__loss": "contrastive"}),
}  # fmt: skip


@pytest.mark.parametrize("name", ABLATIONS)
def test_ablations_run(tiny, images, labels, quick_config, name):
    ablation, changes = ABLATIONS[name]
    config = quick_config(**{"reconstruction__iterations": 2, "final__steps": 2, **changes})
    config = ablation(config) if ablation else config
    result = quantize(tiny.model(), images, config, labels=labels)
    check(result, 3.0)
    assert result.config == config
    if not config.haq.enabled:
        assert set(result.bits.values()) == {3}


@pytest.mark.parametrize("recipe", ["best", "paper"])
def test_recipes(run, recipe):
    result = run(recipe=recipe)
    check(result, 3.0)
    assert result.report["recipe"] == recipe
    assert result.config.veft.enabled is (recipe == "paper")
    pairs = [(weights_of(result.mixed, name), weights_of(result.quantized, name)) for name in LAYERS]
    assert sum((a != b).any(dim=1).sum() for a, b in pairs) > 0, "M_q^v has no channel restored"


@pytest.mark.parametrize("sensitivity", ["taylor", "measured", "fisher", "random"])
def test_sensitivities(run, sensitivity):
    result = run(
        haq__sensitivity=sensitivity, haq__sensitivity_images=8, final__steps=0, reconstruction__iterations=0
    )
    check(result, 3.0)
    assert len(set(result.bits.values())) > 1, "every layer got the same width"


EIGHT = {"average_bits": 8, "candidate_bits": (8,), "final__steps": 0, "reconstruction__iterations": 0}


def test_activation_bits(run, tiny, images):
    errors = {}
    for bits in (None, 8, 4):
        result = run(**EIGHT, activation_bits=bits)
        assert result.report["activation_bits"] == bits
        layer, observed = result.quantized.block.mlp.fc2, []
        handle = layer.input_quant.register_forward_hook(
            lambda _, __, output, observed=observed: observed.append(output)
        )
        errors[bits] = error(result.quantized, tiny.model(), images)
        handle.remove()
        if bits is None:
            assert not layer.input_quant.is_quant_enabled
        else:
            assert len(getattr(observed[0], "value", observed[0]).unique()) <= 2**bits
    assert errors[None] < errors[8] < errors[4], errors


def test_integer_targets_are_symmetric(run):
    result = run(target="fpga", final__steps=2)
    check(result, 3.0)
    assert not any(kind.startswith("zero_points") for kind in result.packed["quantized"])
    for name, bits in result.bits.items():
        for row in weights_of(result.quantized, name):
            steps = row / row.abs().max().clamp_min(1e-12)
            half = 2 ** (int(bits) - 1) - 1
            grid = [(steps * top - (steps * top).round()).abs().max() for top in range(1, half + 1)]
            assert min(grid) < 1e-3, f"{name} is not a multiple of one step on both sides of zero"


def test_below_two_bits(run):
    result = run(candidate_bits=(1.6, 2, 3, 4, 6, 8), average_bits=1.8)
    check(result, 1.8)
    assert 1.6 in result.bits.values()
    sizes = [-(-count // 5) for name, count in LAYERS.items() if result.bits[name] == 1.6]
    assert len(result.packed["quantized"]["codes.1.6"]) == sum(sizes), "five codes to a byte"


def test_an_average_above_every_candidate_is_no_failure(run):
    result = run(average_bits=12.5, final__steps=0, reconstruction__iterations=0)
    assert set(result.bits.values()) == {8}
    assert "round_to_nearest_above" not in result.report["metrics"]


# ------------------------------------------------------------------------------------------ quality


def test_eight_bits_are_nearly_float(run, tiny, drawn):
    fresh = drawn(64, seed=3)[0]
    result = run(**EIGHT, activation_bits=8)
    assert error(result.quantized, tiny.model(), fresh) < 0.02
    fidelity = result.report["metrics"]["quantized"]["fidelity"]
    assert fidelity["feature_snr_db"] > 25 and fidelity["rank_correlation"] > 0.95
    result = run(**EIGHT, activation_bits=None)
    assert error(result.quantized, tiny.model(), fresh) < 0.002, "8-bit weights alone cost nearly nothing"


def test_matching_and_reconstruction_lower_the_output_error(run, tiny, drawn):
    """Uniform 3 bits, float activations, judged on images that calibration has not used."""
    fresh = drawn(128, seed=4)[0]
    uniform = {"average_bits": 3, "candidate_bits": (3,), "activation_bits": None}
    fixed = {**uniform, "reconstruction__rounding": "nearest", "final__steps": 0}
    runs = {
        "plain": run(**fixed, reconstruction__matching="none"),
        "matched": run(**fixed),
        "whole": run(**uniform, reconstruction__iterations=60, final__steps=40),
    }
    errors = {name: error(result.quantized, tiny.model(), fresh) for name, result in runs.items()}
    assert errors["matched"] < 0.9 * errors["plain"], errors
    assert errors["whole"] < 0.85 * errors["plain"], errors


# ------------------------------------------------------------------------------------------ repeating


def same(first, second):
    return all(
        first[variant].keys() == second[variant].keys()
        and all(torch.equal(first[variant][kind], second[variant][kind]) for kind in first[variant])
        for variant in ("quantized", "mixed")
    )


def test_the_same_seed_gives_the_same_bytes(run, result, tiny, images, labels, quick_config):
    """``result`` and ``run`` differ in the test data alone."""
    torch.manual_seed(99)
    again = run()
    assert result.bits == again.bits and same(result.packed, again.packed)
    config = quick_config(recipe="paper")
    assert same(run(recipe="paper").packed, quantize(tiny.model(), images, config, labels=labels).packed)
    assert not same(again.packed, run(seed=1).packed)


# ------------------------------------------------------------------------------------------ what is refused


def refused(match, *arguments, **options):
    with pytest.raises(UserError, match=match) as caught:
        quantize(*arguments, **options)
    assert "\n" not in str(caught.value)


def test_bad_tensors(tiny, images, labels, quick_config):
    model, config = tiny.model(), quick_config()
    refused("N >= 8", model, images[:7], config)
    refused("give \\[N, 3, H, W\\]", model, images[:, 0], config)
    broken = images.clone()
    broken[3, 0, 0, 0] = float("nan")
    refused("not finite", model, broken, config)
    refused("cannot be run on a batch of shape 2x1x16x16", model, images[:, :1], config)
    refused("labels", model, images, config, labels=labels[:9])
    refused("labels", model, images, config, labels=labels + 1)


def test_bad_modules(tiny, images, quick_config):
    config = quick_config()
    model = tiny.model()
    model.norm.bias.data[2] = float("inf")
    refused("norm.bias holds such values", model, images, config)
    refused("nothing to quantize", nn.Sequential(nn.ReLU(), nn.Flatten()), images, config)
    refused("no module 'neck'", tiny.model(), images, config, feature="neck")
    clinging = tiny.model()
    clinging.extra = (number for number in range(3))  # a generator cannot be copied
    refused("cannot be copied", clinging, images, config)
    pinned = quick_config(haq__pinned={"heat": 8})
    refused("'heat' is not quantized here; did you mean head", tiny.model(), images, pinned)
    for enabled in (True, False):
        pinned = quick_config(haq__pinned={"head": 1.6}, haq__enabled=enabled)
        refused("pinned head: 1.6 bits is not among the candidates 2, 3", tiny.model(), images, pinned)
