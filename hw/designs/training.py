"""Float detectors trained on drawn faces: a few minutes on one core, reproducible."""

from collections.abc import Callable

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn.functional import binary_cross_entropy_with_logits

from brevitas_defakeq.data.procedural import DrawnFace, draw_many
from brevitas_defakeq.detectors.demo_detector import DEMO_TRAINING_SEED
from brevitas_defakeq.progress import ProgressCallback, silent
from hw.designs.networks import PREPROCESSING, SIZE

#: Seeds of the drawn faces; training uses the package's training seed.
TRAINING_SEED, CALIBRATION_SEED, TEST_SEED = DEMO_TRAINING_SEED, 11, 22
TRAINING_IMAGES, EPOCHS, BATCH, LEARNING_RATE = 8000, 8, 32, 3e-3


def faces(count: int, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Drawn faces uint8 [N, 64, 64, 3] and their labels int [N], 1 for forged."""
    drawn: list[DrawnFace] = draw_many(count, seed=seed, size=SIZE)
    return np.stack([face.image for face in drawn]), np.array([face.label for face in drawn])


def prepared(images: np.ndarray) -> Tensor:
    """The networks' input float32 [N, 3, 64, 64] of images uint8 [N, 64, 64, 3]."""
    scaled = (torch.from_numpy(images).float() / 255 - PREPROCESSING["mean"]) / PREPROCESSING["std"]
    return scaled.permute(0, 3, 1, 2).contiguous()


def trained(build: Callable[[], nn.Module], *, on_progress: ProgressCallback = silent) -> nn.Module:
    """A network from ``build``, trained on drawn faces, in evaluation mode."""
    torch.set_num_threads(1)
    torch.manual_seed(0)
    torch.use_deterministic_algorithms(True)
    images, labels = faces(TRAINING_IMAGES, TRAINING_SEED)
    network = build().to(memory_format=torch.channels_last)
    _remove_filter_means_(network)
    steps = EPOCHS * (len(images) // BATCH)
    optimizer = torch.optim.AdamW(network.parameters(), lr=LEARNING_RATE, weight_decay=0.05)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, LEARNING_RATE, total_steps=steps, pct_start=0.1)
    generator = np.random.default_rng(0)
    network.train()
    for epoch in range(EPOCHS):
        for chosen in generator.permutation(len(images)).reshape(-1, BATCH):
            batch, mirror = images[chosen], generator.uniform(size=BATCH) < 0.5
            batch = np.where(mirror[:, None, None, None], batch[:, :, ::-1], batch)
            logits = network(prepared(batch))[:, 0]
            loss = binary_cross_entropy_with_logits(logits, torch.from_numpy(labels[chosen]).float())
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            schedule.step()
        on_progress("train", epoch + 1, EPOCHS)
    return network.eval()


def _remove_filter_means_(network: nn.Module) -> None:
    """Subtract the mean of each filter of the first convolution: forgeries differ in texture, not color."""
    first = next(module for module in network.modules() if isinstance(module, nn.Conv2d)).weight
    with torch.no_grad():
        first -= first.mean(dim=(2, 3), keepdim=True)
