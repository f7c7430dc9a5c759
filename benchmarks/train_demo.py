"""Train the shipped demo detector from scratch: ``python -m benchmarks.train_demo --out FILE``.

The same seed, machine and thread count give the same weights. Everything is drawn ahead of time into one
array, so training itself is a single process: first the convolutions under a small head, since grain has to
be found before there is anything to attend to, then everything. The detector learns drawn faces, not
photographs.
"""

import argparse
import hashlib
import io
import json
import multiprocessing
import os
import platform
import time
from functools import partial
from pathlib import Path

import numpy as np
import PIL
import timm
import torch
from PIL import Image
from safetensors.torch import save_file
from sklearn.metrics import roc_auc_score
from torch import nn
from torch.nn.functional import binary_cross_entropy_with_logits

from brevitas_defakeq.data.procedural import FAMILIES, HELD_OUT_FAMILIES, draw
from brevitas_defakeq.detectors.demo_detector import DEMO_PREPROCESSING, DEMO_TRAINING_SEED, build_demo

RESULT = Path(__file__).parent / "results" / "train_demo.json"
#: Options that say where to write, not how to train.
FILES = ("out", "result")


def arguments():
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--out", type=Path, required=True, help="safetensors file to write")
    parser.add_argument("--result", type=Path, default=RESULT, help="JSON file to write")
    parser.add_argument("--images", type=int, default=14_000, help="drawn training images")
    parser.add_argument("--validation-images", type=int, default=2_000, help="per set of families")
    parser.add_argument("--stem-epochs", type=int, default=5, help="stage 1: the convolutions alone")
    parser.add_argument("--stem-learning-rate", type=float, default=3e-3)
    parser.add_argument("--epochs", type=int, default=3, help="stage 2: everything")
    parser.add_argument("--batch", type=int, default=16)
    parser.add_argument("--learning-rate", type=float, default=1e-3)
    parser.add_argument("--weight-decay", type=float, default=0.05)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--threads", type=int, default=2, help="torch threads, and processes that draw")
    return parser.parse_args()


def draw_set(count, *, seed, families, workers):
    """Draw ``count`` faces: images uint8 ``[N, 128, 128, 3]``, labels ``[N]``, family names ``[N]``."""
    images = np.empty((count, *DEMO_PREPROCESSING.input_size, 3), dtype=np.uint8)
    labels, names = np.empty(count, dtype=np.float32), []
    with multiprocessing.Pool(workers) as pool:
        faces = pool.imap(partial(draw, seed=seed, families=families), range(count), chunksize=32)
        for index, face in enumerate(faces):
            images[index], labels[index] = face.image, face.label
            names.append(face.family)
    return images, labels, np.array(names)


def augmented(images, *, generator):
    """A batch ``[B, H, W, 3]``, half mirrored, a tenth compressed again, brightness and contrast changed."""
    batch = []
    for image in images:
        if generator.uniform() < 0.1:
            file = io.BytesIO()
            Image.fromarray(image).save(file, "JPEG", quality=int(generator.integers(75, 96)))
            image = np.asarray(Image.open(file))
        batch.append(image[:, ::-1] if generator.uniform() < 0.5 else image)
    values = np.stack(batch).astype(np.float32)
    contrast = generator.uniform(0.9, 1.1, (len(batch), 1, 1, 1)).astype(np.float32)
    brightness = generator.uniform(-12, 12, (len(batch), 1, 1, 1)).astype(np.float32)
    return np.clip((values - 128) * contrast + 128 + brightness, 0, 255)


def normalised(values):
    """Grey levels 0..255 ``[N, H, W, 3]`` to the network's input ``[N, 3, H, W]``, channels last."""
    tensor = torch.from_numpy(np.ascontiguousarray(values)).float() / 255
    mean, std = torch.tensor(DEMO_PREPROCESSING.mean), torch.tensor(DEMO_PREPROCESSING.std)
    return ((tensor - mean) / std).permute(0, 3, 1, 2)


@torch.no_grad()
def scores(model, images):
    """Logits ``[N]`` of uint8 images ``[N, H, W, 3]``."""
    model.eval()
    parts = np.array_split(images, max(len(images) // 128, 1))
    return torch.cat([model(normalised(part))[:, 0] for part in parts]).numpy()


def start_blind_to_flat_colour_(model):
    """Take the mean out of each 3 x 3 filter of the first convolution: training starts from edges and grain.

    Forgeries differ in the grain, which the brightness of an image would outweigh for the first epochs.
    """
    first = next(module.weight for module in model.modules() if isinstance(module, nn.Conv2d))
    with torch.no_grad():
        first -= first.mean(dim=(2, 3), keepdim=True)


class StemWithHead(nn.Module):
    """The stem under a small convolutional head, for the first stage of training; the head is thrown away.

    Images ``[N, 3, 128, 128]`` to logits ``[N, 1]``: the mean over the 8 x 8 places around the face's middle.
    """

    def __init__(self, stem):
        super().__init__()
        self.stem = stem
        width = stem.feature_info.channels()[-1]
        self.head = nn.Sequential(
            nn.Conv2d(width, 64, 2, stride=2), nn.BatchNorm2d(64), nn.ReLU(), nn.Conv2d(64, 1, 1)
        )
        place = torch.linspace(-0.875, 0.875, 8)
        inside = ((place / 0.42) ** 2 + ((place[:, None] - 0.15) / 0.48) ** 2 < 1).float()
        self.register_buffer("inside", inside / inside.sum())

    def forward(self, images):
        return (self.head(self.stem(images)[-1]) * self.inside).sum(dim=(2, 3))


def warm_cosine(steps):
    """Share of the learning rate at a step: up during the first twentieth, then half a cosine down to 0."""
    warm_up = max(steps // 20, 1)
    return lambda step: min((step + 1) / warm_up, 0.5 * (1 + np.cos(np.pi * min(step / steps, 1))))


def verdict_loss(model, inputs, labels):
    """Binary cross-entropy of the logit."""
    return binary_cross_entropy_with_logits(model(inputs)[:, 0], labels)


def train(model, images, labels, *, epochs, learning_rate, options, loss_of=verdict_loss):
    """AdamW with warm-up and cosine on ``loss_of``; returns the mean loss of each epoch."""
    generator = np.random.default_rng([options.seed, epochs])
    optimizer = torch.optim.AdamW(model.parameters(), lr=learning_rate, weight_decay=options.weight_decay)
    per_epoch = len(images) // options.batch
    schedule = torch.optim.lr_scheduler.LambdaLR(optimizer, warm_cosine(per_epoch * epochs))
    losses = []
    for epoch in range(epochs):
        started, total = time.perf_counter(), 0.0
        model.train()
        order = generator.permutation(len(images))[: per_epoch * options.batch]
        for chosen in order.reshape(per_epoch, -1):
            inputs = normalised(augmented(images[chosen], generator=generator))
            loss = loss_of(model, inputs, torch.from_numpy(labels[chosen]))
            optimizer.zero_grad()
            loss.backward()
            torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
            optimizer.step()
            schedule.step()
            total += loss.item()
        losses.append(total / per_epoch)
        print(f"epoch {epoch + 1}: loss {losses[-1]:.4f}, {time.perf_counter() - started:.0f} s", flush=True)
    return losses


def validate(model, *, count, seed, families, workers):
    """AUC over all ``families`` and over each against all real images."""
    images, labels, names = draw_set(count, seed=seed, families=families, workers=workers)
    logits = scores(model, images)
    accuracy = ((logits > 0) == (labels > 0.5)).mean()
    result = {"auc": roc_auc_score(labels, logits), "accuracy": accuracy}
    for family in families:
        chosen = (names == "real") | (names == family)
        result[family] = roc_auc_score(labels[chosen], logits[chosen])
    return {name: round(float(value), 4) for name, value in result.items()}


def write_whole(path, write):
    """Let ``write`` fill a file beside ``path``, then rename it: never half a file."""
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(path.name + ".part")
    write(temporary)
    os.replace(temporary, path)


def report(model, losses, options, *, training_sha256, seconds):
    """What the JSON file says: configuration, data, metrics and versions."""
    validation_seed = training_seed(options) + 1
    known = {"count": options.validation_images, "seed": validation_seed, "workers": options.threads}
    return {
        "configuration": {
            name: value for name, value in vars(options).items() if name not in ("out", "result")
        },
        "training_seed": training_seed(options),
        "validation_seed": validation_seed,
        "training_sha256": training_sha256,
        "parameters": sum(parameter.numel() for parameter in model.parameters()),
        "size_bytes": options.out.stat().st_size,
        "weights_sha256": hashlib.sha256(options.out.read_bytes()).hexdigest(),
        "losses": {stage: [round(loss, 4) for loss in values] for stage, values in losses.items()},
        "seconds": seconds,
        "in_domain": validate(model, families=FAMILIES, **known),
        "held_out": validate(model, families=HELD_OUT_FAMILIES, **known),
        "versions": {
            "python": platform.python_version(),
            "torch": torch.__version__,
            "timm": timm.__version__,
            "numpy": np.__version__,
            "pillow": PIL.__version__,
        },
    }


def training_seed(options):
    """The drawn seed of the training images; the next one is validation's."""
    return DEMO_TRAINING_SEED + 2 * options.seed


def main():
    """Draw, train, write, validate."""
    options = arguments()
    torch.set_num_threads(options.threads)
    torch.manual_seed(options.seed)
    torch.use_deterministic_algorithms(True)
    started = time.perf_counter()
    images, labels, _ = draw_set(
        options.images, seed=training_seed(options), families=FAMILIES, workers=options.threads
    )
    drawn = time.perf_counter()
    print(f"drew {len(images)} images in {drawn - started:.0f} s", flush=True)
    model = build_demo().to(memory_format=torch.channels_last)
    start_blind_to_flat_colour_(model)
    data = {"images": images, "labels": labels, "options": options}
    stem = StemWithHead(model.patch_embed.backbone).to(memory_format=torch.channels_last)
    losses = {
        "stem": train(stem, epochs=options.stem_epochs, learning_rate=options.stem_learning_rate, **data),
        "all": train(model, epochs=options.epochs, learning_rate=options.learning_rate, **data),
    }
    seconds = {"draw": round(drawn - started), "train": round(time.perf_counter() - drawn)}
    weights = {name: tensor.contiguous() for name, tensor in model.state_dict().items()}
    write_whole(options.out, lambda path: save_file(weights, path))
    training_sha256 = hashlib.sha256(images).hexdigest()
    result = report(model, losses, options, training_sha256=training_sha256, seconds=seconds)
    write_whole(options.result, lambda path: path.write_text(json.dumps(result, indent=2) + "\n"))
    print(json.dumps({"in_domain": result["in_domain"], "held_out": result["held_out"]}))


if __name__ == "__main__":
    main()
