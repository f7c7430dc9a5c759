"""From the graph's first output to the logit of "fake": `OutputSpec.fake_logit` with numpy."""

import numpy as np

from brevitas_defakeq.runtime.card import CardOutput
from brevitas_defakeq.utils.errors import UserError


def fake_logit(raw: np.ndarray, count: int, output: CardOutput) -> np.ndarray:
    """The fake logit of each image, float64 [N], above 0 where fake is the likelier verdict.

    One score z is the logit itself, two give z[fake] - z[real], more z[fake] - logsumexp(others) or, with
    ``real_index``, logsumexp(others) - z[real]; a probability p gives log(p / (1 - p)).

    Args:
        raw: the graph's output.
        count: number of images, N.
        output: how to read it, from the card.

    Raises:
        UserError: ``raw`` has another shape or type than the card says.

    >>> fake_logit(np.float32([[1, 3]]), 1, CardOutput(kind="softmax", fake_index=1))
    array([2.])
    """
    scores = _score_matrix(raw, count, output)
    index, fake = output.named_class
    single = scores.shape[1] == 1
    if single:
        index, fake = 0, fake == (index == 1)  # of one score, class 1 is the one that it speaks for
    logit = scores[:, index]
    if output.kind == "probability":
        edge = np.finfo(raw.dtype).eps
        share = logit.clip(edge, 1 - edge)
        logit = np.log(share) - np.log1p(-share)
    elif not single:
        logit = logit - np.logaddexp.reduce(np.delete(scores, index, axis=1), axis=1)
    return logit if fake else -logit


def _score_matrix(raw: np.ndarray, count: int, output: CardOutput) -> np.ndarray:
    """Scores as float64 [N, C]; UserError for a shape or type that contradicts the card."""
    raw = raw[None] if count == 1 and raw.ndim == 1 else raw  # files for one image may drop its axis
    fits = np.issubdtype(raw.dtype, np.floating) and raw.size and raw.size % count == 0
    width = raw.size // count
    fits = fits and raw.shape[:1] in ((count,), ()) and max(raw.shape[1:], default=1) == width
    single = {"logit": width == 1, "softmax": width > 1, "probability": True}
    index, fake = output.named_class
    if not fits or not single[output.kind] or index >= max(width, 2):
        raise UserError(
            f"the model gives {raw.dtype} of shape {list(raw.shape)} for {count} image(s), which is no "
            f"output of kind {output.kind!r} with {'fake' if fake else 'real'}_index {index}; export again"
        )
    return raw.reshape(count, width).astype(np.float64)
