"""A model file and its card, loaded and checked for consistency."""

import os
from pathlib import Path

import numpy as np

from brevitas_defakeq.runtime.card import Card, CardInput, card_beside
from brevitas_defakeq.runtime.onnx_file import onnxruntime, open_session, version_numbers
from brevitas_defakeq.runtime.scores import fake_logit
from brevitas_defakeq.utils.errors import UserError, one_line

_TENSOR_TYPES = {"float32": "tensor(float)", "float16": "tensor(float16)", "uint8": "tensor(uint8)"}


class ExportedDetector:
    """An exported detector, ready to score.

    Args:
        model: a ``model.onnx`` or ``model.onnx.gz``, with its ``model_card.json`` beside it.
        threads: threads within an operator, from 1; None lets onnxruntime choose.

    Attributes:
        path: the model file.
        card: its card.

    Raises:
        UserError: model or card is missing or damaged, the two do not fit each other, or the installed
            onnxruntime is older than the card requires.
    """

    def __init__(self, model: str | os.PathLike, *, threads: int | None = None) -> None:
        self.path = Path(model)
        if not self.path.is_file():
            raise UserError(f"{self.path} does not exist; give a model.onnx that `defakeq export` wrote")
        self.card = Card.read(card_beside(self.path))
        _check_runtime(self.path, self.card.runtime)
        self._session = open_session(self.path, threads)
        self._name, self._shape = self._checked_input()

    def logits(self, batch: np.ndarray) -> np.ndarray:
        """The fake logits of a batch, float64 [N].

        ``batch`` has the card's dtype and layout, [N, 3, H, W] or [N, H, W, 3], as from `model_input`. Raises
        UserError for any other, and where the model cannot be run or gives NaN.
        """
        self._check_batch(batch)
        one_by_one = self._shape[0] == 1
        parts = [batch[index : index + 1] for index in range(len(batch))] if one_by_one else [batch]
        of_parts = [fake_logit(self._run(part), len(part), self.card.output) for part in parts if len(part)]
        logits = np.concatenate([np.empty(0), *of_parts])
        if np.isnan(logits).any():
            raise UserError(
                f"{self.path} gives no number for {np.isnan(logits).sum()} image(s); export again"
            )
        return logits

    def _run(self, batch: np.ndarray) -> np.ndarray:
        try:
            return np.asarray(self._session.run(None, {self._name: batch})[0])
        except Exception as error:  # onnxruntime's errors share no other base
            version = onnxruntime().__version__
            raise UserError(
                f"onnxruntime {version} cannot run {self.path}: {one_line(error)}; upgrade it or export again"
            ) from None

    def _checked_input(self) -> tuple[str, tuple[int | None, ...]]:
        """Name and shape of the only input (None: any size), checked against the card."""
        inputs = self._session.get_inputs()
        expected = self.card.input
        if len(inputs) != 1:
            raise UserError(f"{self.path} has {len(inputs)} inputs instead of one image; export again")
        shape = tuple(side if isinstance(side, int) else None for side in inputs[0].shape)
        sides = _image_shape(expected)
        fits = (
            inputs[0].type == _TENSOR_TYPES[expected.dtype]
            and len(shape) == 4
            and shape[0] in (None, 1)
            and all(side in (None, wanted) for side, wanted in zip(shape[1:], sides, strict=True))
        )
        if not fits:
            raise UserError(
                f"{self.path} takes {inputs[0].type} of shape {inputs[0].shape}, its card says "
                f"{expected.dtype} of shape {['N', *sides]}; model and card are not of one export"
            )
        return inputs[0].name, shape

    def _check_batch(self, batch: np.ndarray) -> None:
        expected = self.card.input
        channels = expected.layout.index("C")
        fits = (
            batch.dtype == expected.dtype
            and batch.ndim == 4
            and batch.shape[channels] == 3
            and all(side in (None, own) for side, own in zip(self._shape[1:], batch.shape[1:], strict=True))
        )
        if not fits:
            wanted = ["N", *(side or "any" for side in self._shape[1:])]
            raise UserError(
                f"a batch of {batch.dtype} {list(batch.shape)} does not fit {self.path}, which takes "
                f"{expected.dtype} {wanted}; make it with model_input"
            )


def _image_shape(expected: CardInput) -> tuple[int, int, int]:
    """One image's shape in the card's layout."""
    height, width = expected.size
    return (3, height, width) if expected.layout == "NCHW" else (height, width, 3)


def _check_runtime(path: Path, oldest: str) -> None:
    """Refuse an onnxruntime that is older than the card requires."""
    installed = onnxruntime().__version__
    if version_numbers(installed) < version_numbers(oldest):
        raise UserError(
            f"{path} needs onnxruntime {oldest} or newer, {installed} is installed; upgrade it, or export "
            f"with --runtime {'.'.join(installed.split('.')[:2])}"
        )
