"""A plain ViT for the benchmarks on real faces, trained here because none was at hand.

    python -m benchmarks.plain_vit DATA --out weights.safetensors

Four blocks of width 192 on 16-pixel patches of 112 x 112 images, trained from scratch on ``train.csv``. Its
AUC is modest; the benchmark asks how near the quantized one stays to it.
"""

import argparse
import json
from pathlib import Path

import numpy as np
import torch
from safetensors.torch import save_file
from timm.models.vision_transformer import VisionTransformer

from brevitas_defakeq.data.image_batches import load_batch
from brevitas_defakeq.data.sources import read_source
from brevitas_defakeq.evaluation.metrics import auc
from brevitas_defakeq.imaging.preprocessing import Preprocessing

PREPROCESSING = Preprocessing((112, 112), "bilinear", (0.5, 0.5, 0.5), (0.5, 0.5, 0.5))


def plain_vit() -> VisionTransformer:
    """The architecture, with random weights."""
    return VisionTransformer(
        img_size=112, patch_size=16, embed_dim=192, depth=4, num_heads=3, num_classes=1
    ).eval()


def train(model: VisionTransformer, images: torch.Tensor, labels: torch.Tensor, epochs: int) -> None:
    """AdamW with warm-up and cosine decay; images mirrored and shifted by up to 8 pixels at random."""
    batch = 64
    steps = epochs * (len(images) // batch)
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-3, weight_decay=0.05)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, 1e-3, total_steps=steps, pct_start=0.1)
    model.train()
    for step in range(steps):
        chosen = torch.randint(len(images), (batch,))
        shift = torch.randint(-8, 9, (2,)).tolist()
        inputs = images[chosen].roll(shift, dims=(2, 3))
        inputs = torch.where(torch.rand(batch, 1, 1, 1) < 0.5, inputs, inputs.flip(3))
        loss = torch.nn.functional.binary_cross_entropy_with_logits(model(inputs)[:, 0], labels[chosen])
        optimizer.zero_grad(set_to_none=True)
        loss.backward()
        optimizer.step()
        schedule.step()
        if step % 100 == 0:
            print(f"step {step} of {steps}: loss {loss.item():.3f}", flush=True)
    model.eval()


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("data", type=Path)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--epochs", type=int, default=20)
    parser.add_argument("--threads", type=int, default=2)
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    torch.manual_seed(0)

    def read(name: str) -> tuple[torch.Tensor, torch.Tensor]:
        samples = read_source(options.data / "faces256" / name)
        return load_batch(samples, PREPROCESSING), torch.tensor([float(s.label) for s in samples])

    model = plain_vit()
    train(model, *read("train.csv"), options.epochs)
    images, labels = read("test.csv")
    with torch.inference_mode():
        scores = torch.cat([model(part)[:, 0] for part in images.split(64)]).numpy()
    save_file(model.state_dict(), options.out)
    print(json.dumps({"test_auc": float(auc(labels.numpy().astype(np.int64), scores))}))


if __name__ == "__main__":
    main()
