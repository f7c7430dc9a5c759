"""Writes what the tools' scripts read: the float detectors, calibration and test images."""

import contextlib
import io
import warnings
from pathlib import Path

import numpy as np
import torch
from torch import nn

from benchmarks.peers.exchange import IMAGES, INPUT, OUTPUT
from brevitas_defakeq.data.labelled_set import LabelledSet
from brevitas_defakeq.runtime.onnx_file import open_session
from brevitas_defakeq.utils.errors import UserError
from brevitas_defakeq.utils.files import written_whole

#: An operator set that every tool reads.
OPSET = 17
#: How far the float file's logits may be from the module's.
_TOLERANCE = 1e-3


def write_images(folder: Path, calibration: torch.Tensor, test: LabelledSet) -> None:
    """``images`` in ``folder``: ``calibration.npy`` and ``test.npy``, and what only the harness reads:
    ``labels.npy`` and ``datasets.npy``. Nothing is done where they stand.

    Args:
        calibration: preprocessed images [N, 3, H, W].
    """
    if (folder / IMAGES).exists():
        return
    with written_whole(folder / IMAGES) as partial:
        partial.mkdir(parents=True)
        np.save(partial / "calibration.npy", calibration.numpy())
        np.save(partial / "test.npy", np.concatenate([batch.numpy() for batch in test.batches()]))
        np.save(partial / "labels.npy", [sample.label for sample in test.samples])
        np.save(partial / "datasets.npy", [sample.dataset for sample in test.samples])


def write_detector(model: nn.Module, folder: Path, example: torch.Tensor) -> None:
    """``float.onnx`` and ``float.pt`` in ``folder``; nothing is done where it stands.

    Args:
        model: images [N, 3, H, W] to fake logits [N, 1].
        example: images [N, 3, H, W] on which file and module have to agree.

    Raises:
        UserError: they do not agree.
    """
    if folder.exists():
        return
    with written_whole(folder) as partial:
        partial.mkdir(parents=True)
        torch.save(model.eval(), partial / "float.pt")
        _write_float(model, partial / "float.onnx", example[:1])
        _require_same_logits(model, partial / "float.onnx", example)


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
