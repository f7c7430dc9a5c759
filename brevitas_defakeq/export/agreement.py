"""Compare an exported file with the quantized model, with and without the runtime's optimizations."""

from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
import onnx
import onnxruntime
import torch
from torch import Tensor, nn

from brevitas_defakeq.detectors.observer import Observer
from brevitas_defakeq.export.pixel_input import pixels_of
from brevitas_defakeq.nn.module_tree import copy_module
from brevitas_defakeq.quant.fused import fused_quantizers
from brevitas_defakeq.runtime.card import CardInput, CardOutput
from brevitas_defakeq.runtime.onnx_file import open_session
from brevitas_defakeq.runtime.scores import fake_logit
from brevitas_defakeq.utils.errors import UserError, one_line

#: A file in its runtime: a batch of images as the file takes them -> its first output.
Run = Callable[[np.ndarray], np.ndarray]
_IMAGES_AT_ONCE = 8
#: Largest root mean square difference of the scores over their spread: rounding ties fall differently.
_LARGEST_DIFFERENCE = 0.05
#: Largest share of other verdicts, for the same reason.
_LARGEST_FLIPS = 0.1


@dataclass(frozen=True)
class ModelAgreement:
    """A file against the quantized model on some images.

    Attributes:
        images: how many.
        verdicts: share of equal verdicts, optimized file against model.
        difference: root mean square of the difference, over the spread of the model's scores.
        largest: largest difference, over the same; plain: the same, with all optimizations off, if run.
        unrest: how far the model's own scores change, as ``difference``, when it computes in float64: values
            half-way between two codes round to the other one, and later layers amplify that.
        own_flips: share of its verdicts that changes so.
    """

    images: int
    verdicts: float
    difference: float
    largest: float
    plain: float | None
    unrest: float
    own_flips: float

    def to_dict(self) -> dict[str, Any]:
        return asdict(self)

    def require(self) -> None:
        """Raises UserError if the file disagrees with the model."""
        flips = 1 - self.verdicts
        if not (
            self.difference <= max(_LARGEST_DIFFERENCE, 3 * self.unrest)
            and flips <= max(_LARGEST_FLIPS, 3 * self.own_flips)
        ):
            raise UserError(
                f"the exported file disagrees with the model: {100 * self.verdicts:.1f} % equal verdicts on "
                f"{self.images} images, scores off by {100 * self.difference:.1f} % of their spread; nothing "
                "was written (--no-verify writes it all the same)"
            )


def ort_run(session: onnxruntime.InferenceSession) -> Run:
    """A file in ONNX Runtime: its one input -> its first output; image by image where it takes only one."""
    name, one = session.get_inputs()[0].name, session.get_inputs()[0].shape[0] == 1

    def run(batch: np.ndarray) -> np.ndarray:
        parts = np.split(batch, len(batch)) if one else [batch]
        try:
            made = [session.run(None, {name: part})[0] for part in parts]
        except Exception as error:  # onnxruntime's errors share no other base
            raise UserError(f"onnxruntime cannot run the exported file: {one_line(error)}") from None
        return np.concatenate(
            [output.reshape(1, -1) if one and output.ndim < 2 else output for output in made]
        )

    return run


def optimized(file: bytes) -> tuple[onnxruntime.InferenceSession, Counter[str]]:
    """The file in ONNX Runtime, and how often each operator is in the graph that the runtime executes."""
    with TemporaryDirectory() as folder:
        path = Path(folder) / "optimized.onnx"
        session = open_session(file, optimized=path)
        return session, Counter(node.op_type for node in onnx.load(path).graph.node)


@torch.no_grad()
def compare_with_model(
    files: Sequence[Run], model: nn.Module, observer: Observer, images: Tensor, threshold: float,
    input_output: tuple[CardInput, CardOutput],
) -> ModelAgreement:  # fmt: skip
    """Run a file and the model on preprocessed images [N, 3, H, W].

    Args:
        files: the file as it is deployed, then optionally without the runtime's optimizations.
        threshold: on the logit.
        input_output: what the file takes and returns.
    """
    card_input, card_output = input_output
    of_model = CardOutput(kind="probability" if card_output.kind == "probability" else "logit", fake_index=1)
    scores: list[list[np.ndarray]] = [[] for _ in range(2 + len(files))]
    precise = copy_module(model).double()
    with fused_quantizers(model, frozen=True), fused_quantizers(precise, frozen=True):
        for batch in images.split(_IMAGES_AT_ONCE):
            raw = [observer(model, batch)[0], observer(precise, batch.double())[0].float()]
            if card_output.kind == "probability":
                raw = [logits.sigmoid() for logits in raw]
            outputs = [(logits.numpy(), of_model) for logits in raw]
            outputs += [(run(_as_taken(batch, card_input)), card_output) for run in files]
            for kept, (output, meaning) in zip(scores, outputs, strict=True):
                kept.append(fake_logit(output, len(batch), meaning))
    wanted, in_double, found, *plain = (np.concatenate(kept) for kept in scores)
    spread = max(float(wanted.std()), 1e-6)
    return ModelAgreement(
        images=len(wanted),
        verdicts=float(np.mean((found > threshold) == (wanted > threshold))),
        difference=float(np.sqrt(np.mean((found - wanted) ** 2)) / spread),
        largest=float(np.abs(found - wanted).max() / spread),
        plain=float(np.abs(plain[0] - wanted).max() / spread) if plain else None,
        unrest=float(np.sqrt(np.mean((in_double - wanted) ** 2)) / spread),
        own_flips=float(np.mean((in_double > threshold) != (wanted > threshold))),
    )


def _as_taken(batch: Tensor, card_input: CardInput) -> np.ndarray:
    """Preprocessed images as the file takes them."""
    if card_input.dtype == "uint8":
        return pixels_of(batch, card_input.preprocessing)
    placed = batch if card_input.layout == "NCHW" else batch.permute(0, 2, 3, 1)
    return placed.contiguous().numpy().astype(card_input.dtype)
