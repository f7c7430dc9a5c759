"""Whether an exported file says what the quantized model says, with the runtime's optimizations and not."""

from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from tempfile import TemporaryDirectory

import numpy as np
import onnx
import onnxruntime
import torch
from torch import Tensor, nn

from brevitas_defakeq.evaluate.observe import Observer
from brevitas_defakeq.export.pixel_input import pixels_of
from brevitas_defakeq.float_reference import copy_module
from brevitas_defakeq.quant.fused import fused_quantizers
from brevitas_defakeq.runtime.card import CardInput, CardOutput
from brevitas_defakeq.runtime.scores import fake_logit
from brevitas_defakeq.utils.errors import UserError

#: What stands for a file in its runtime: one input array -> its answer.
Run = Callable[[np.ndarray], np.ndarray]
_BATCH = 8
#: Largest share of the spread of the scores that a score may be off: rounding ties fall differently.
_TOLERANCE = 0.05


@dataclass(frozen=True)
class Agreement:
    """A file against the quantized model on some images.

    Attributes:
        images: how many.
        verdicts: share of equal verdicts, optimized file against model.
        difference: root mean square of the difference, over the spread of the model's scores.
        largest: largest difference, over the same; plain: the same, with all optimizations off, if run.
        unrest: how far the model's own scores move, as ``difference``, when it computes in float64: values
            that lie between two codes fall to the other side, and what follows amplifies that.
    """

    images: int
    verdicts: float
    difference: float
    largest: float
    plain: float | None
    unrest: float

    def to_dict(self) -> dict:
        return asdict(self)


def ort_run(file: bytes, *, optimize: bool) -> Run:
    """The file in ONNX Runtime: input -> first output."""
    runner = session(file, optimize=optimize)
    name = runner.get_inputs()[0].name
    return lambda feed: runner.run(None, {name: feed})[0]


def session(file: bytes, *, optimize: bool = True, write: str = "") -> onnxruntime.InferenceSession:
    """The file in ONNX Runtime on the processor; ``write`` names a file for the optimized graph."""
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 3
    if write:
        options.optimized_model_filepath = write
    if not optimize:
        options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL
    return onnxruntime.InferenceSession(file, options, providers=["CPUExecutionProvider"])


def fused_operators(file: bytes) -> Counter:
    """How often each operator stands in the graph that the runtime really runs."""
    with TemporaryDirectory() as folder:
        path = f"{folder}/optimized.onnx"
        session(file, write=path)
        return Counter(node.op_type for node in onnx.load(path).graph.node)


@torch.no_grad()
def agreement(
    files: Sequence[Run], model: nn.Module, observer: Observer, images: Tensor, threshold: float,
    ends: tuple[CardInput, CardOutput],
) -> Agreement:  # fmt: skip
    """Run a file and the model on preprocessed images [N, 3, H, W].

    Args:
        files: the file as it is deployed, then perhaps without the runtime's optimizations.
        ends: what the file takes and gives.
    """
    takes, gives = ends
    scores: list[list[np.ndarray]] = [[] for _ in range(2 + len(files))]
    precise = copy_module(model).double()
    with fused_quantizers(model, frozen=True), fused_quantizers(precise, frozen=True):
        for batch in images.split(_BATCH):
            raw = [observer(model, batch)[0], observer(precise, batch.double())[0].float()]
            if gives.kind == "probability":
                raw = [logits.sigmoid() for logits in raw]
            pixels = takes.dtype == "uint8"
            feed = pixels_of(batch, takes.preprocessing) if pixels else batch.contiguous().numpy()
            answers = [logits.numpy() for logits in raw]
            answers += [run(feed) for run in files]
            for place, answer in enumerate(answers):
                scores[place].append(fake_logit(answer, len(batch), gives))
    wanted, moved, found, *without = (np.concatenate(parts) for parts in scores)
    spread = max(float(wanted.std()), 1e-6)
    return Agreement(
        images=len(wanted),
        verdicts=float(np.mean((found > threshold) == (wanted > threshold))),
        difference=float(np.sqrt(np.mean((found - wanted) ** 2)) / spread),
        largest=float(np.abs(found - wanted).max() / spread),
        plain=float(np.abs(without[0] - wanted).max() / spread) if without else None,
        unrest=float(np.sqrt(np.mean((moved - wanted) ** 2)) / spread),
    )


def require_agreement(found: Agreement) -> None:
    """Raises UserError where the file is not the model."""
    if not found.difference <= max(_TOLERANCE, 3 * found.unrest) or found.verdicts < 0.9:
        raise UserError(
            f"the exported file disagrees with the model: {100 * found.verdicts:.1f} % equal verdicts on "
            f"{found.images} images, scores off by {100 * found.difference:.1f} % of their spread; nothing "
            "was written (--no-verify writes it all the same)"
        )
