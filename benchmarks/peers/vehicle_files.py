"""Writes what the tools' scripts read: the float detectors, calibration and test images."""

import contextlib
import copy
import io
import warnings
from pathlib import Path

import numpy as np
import torch
from timm.layers import BatchNormAct2d
from torch import nn

from benchmarks.peers.exchange import IMAGES, INPUT, OUTPUT
from benchmarks.suite.material import Material
from brevitas_defakeq.prepare.layer_subclasses import examine_subclasses, plain_layer
from brevitas_defakeq.prepare.trace import trace
from brevitas_defakeq.runtime.onnx_file import open_session
from brevitas_defakeq.utils.errors import UserError
from brevitas_defakeq.utils.files import written_whole

#: An operator set that every tool reads.
OPSET = 17
#: How far the float file's logits may be from the module's.
_TOLERANCE = 1e-3


def write_vehicle(given: Material, folder: Path) -> None:
    """``float.onnx``, ``float.pt`` and the ``images`` in ``folder``.

    The tools read ``calibration.npy`` and ``test.npy`` of ``images``, the harness alone ``labels.npy`` and
    ``parts.npz``.

    Raises:
        UserError: the float file does not give the module's logits, [N, 1].
    """
    calibration = given.calibration.images
    model = with_torchs_layers(given.detector.model, calibration[:1])
    with written_whole(folder) as partial:
        images = partial / IMAGES
        images.mkdir(parents=True)
        torch.save(model, partial / "float.pt")
        _write_float(model, partial / "float.onnx", calibration[:1])
        _require_same_logits(given.detector.model, partial / "float.onnx", calibration[:8])
        np.save(images / "calibration.npy", calibration.numpy())
        np.save(images / "test.npy", np.concatenate([batch.numpy() for batch in given.test.batches()]))
        np.save(images / "labels.npy", given.labels)
        np.savez(images / "parts.npz", **given.parts)


def with_torchs_layers(model: nn.Module, example: torch.Tensor) -> nn.Module:
    """A copy with torch's own convolutions and normalizations, which the tools know by their class.

    timm's ``Conv2dSame`` becomes a padding and a convolution, its ``BatchNormAct2d`` a normalization and an
    activation.

    Args:
        example: an image [1, 3, H, W] of the size that the paddings are for.
    """
    model = copy.deepcopy(model).eval()
    for name, module in list(model.named_modules()):
        if isinstance(module, BatchNormAct2d):
            norm = nn.BatchNorm2d(module.num_features, eps=module.eps).eval()
            norm.load_state_dict(module.state_dict())
            model.set_submodule(name, nn.Sequential(norm, module.drop, module.act))
    for name, sides in examine_subclasses(model, trace(model, example)).paddings.items():
        convolution = plain_layer(model.get_submodule(name))
        model.set_submodule(name, nn.Sequential(nn.ZeroPad2d(sides), convolution))
    return model


def _write_float(model: nn.Module, path: Path, example: torch.Tensor) -> None:
    """The module as float32 ONNX for one image, normalization folded into the convolutions."""
    with warnings.catch_warnings(), contextlib.redirect_stdout(io.StringIO()):
        warnings.simplefilter("ignore")
        torch.onnx.export(
            model.eval(), (example,), path, dynamo=False, opset_version=OPSET, input_names=[INPUT],
            output_names=[OUTPUT],
        )  # fmt: skip


def _require_same_logits(model: nn.Module, path: Path, images: torch.Tensor) -> None:
    with torch.no_grad():
        wanted = model(images).numpy()
    session = open_session(path, threads=1)
    found = np.concatenate([session.run(None, {INPUT: image})[0] for image in images.numpy()[:, None]])
    if found.shape != (len(images), 1) or np.abs(found - wanted).max() > _TOLERANCE:
        raise UserError(f"{path}: the float file does not give the module's logits, [N, 1]")
