"""Images as the detector's input tensors: one, a batch, a stream of batches."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import partial

import torch
from PIL import Image

from brevitas_defakeq.data.ordered_results import ordered_results
from brevitas_defakeq.imaging.image_files import Read, read_sample
from brevitas_defakeq.imaging.preprocessing import Preprocessing, preprocess_array
from brevitas_defakeq.imaging.sample import Sample
from brevitas_defakeq.utils.errors import UserError


def preprocess(image: Image.Image, preprocessing: Preprocessing) -> torch.Tensor:
    """`preprocess_array` as a tensor: float32 [3, H, W]."""
    return torch.from_numpy(preprocess_array(image, preprocessing))


def load_batch(
    samples: Sequence[Sample], preprocessing: Preprocessing, read: Read = read_sample
) -> torch.Tensor:
    """The samples' images in order, float32 [N, 3, H, W]."""
    if not samples:
        return torch.empty(0, 3, *preprocessing.input_size)
    return torch.stack([preprocess(read(sample), preprocessing) for sample in samples])


def iterate_batches(
    samples: Sequence[Sample],
    preprocessing: Preprocessing,
    batch_size: int,
    *,
    workers: int = 2,
    read: Read = read_sample,
) -> Iterator[torch.Tensor]:
    """The samples' images in order, float32 [batch_size, 3, H, W]; the last batch may be smaller.

    Args:
        samples: what to read.
        preprocessing: how an image becomes the detector's input.
        batch_size: from 1.
        workers: threads that read ahead, by at most `workers` + 1 batches, so memory stays bounded; 0 reads
            in the calling thread.
        read: gives a sample's image.

    Raises:
        UserError: an image cannot be read, or a number is out of range.
    """
    if batch_size < 1 or workers < 0:
        raise UserError(f"batch_size={batch_size}, workers={workers}: give at least 1 and at least 0")
    chunks = (samples[start : start + batch_size] for start in range(0, len(samples), batch_size))
    load = partial(load_batch, preprocessing=preprocessing, read=read)
    if not workers:
        yield from map(load, chunks)
        return
    with ThreadPoolExecutor(workers) as pool:
        yield from ordered_results(pool, load, chunks, ahead=workers)
