"""Train the detectors that the benchmarks quantize beside the bundled one, on the same drawn faces.

    python -m benchmarks.train_vehicles resnet mobilenet vit

Three families: residual blocks of plain convolutions, inverted residuals with squeeze-excitation and
hard-swish, and a plain vision transformer. Each starts from random weights and is saved in half precision,
which is what the benchmark takes for float. The transformer does not find the grain that forgeries change
from verdicts alone: it also learns the maps of the trained ResNet, so that one is trained first. The same
seed, machine and thread count give the same weights.
"""

import argparse
import json
import time
from functools import partial
from pathlib import Path

import numpy as np
import torch
from safetensors.torch import save_file
from torch import nn
from torch.nn.functional import avg_pool2d, batch_norm, binary_cross_entropy_with_logits, mse_loss

from benchmarks.train_demo import (
    draw_set,
    start_blind_to_flat_colour_,
    train,
    training_seed,
    validate,
    write_whole,
)
from benchmarks.vehicles import VEHICLES, detector, weights_of
from brevitas_defakeq.data.procedural import FAMILIES, HELD_OUT_FAMILIES

RESULT = Path(__file__).parent / "results" / "train_vehicles.json"
#: epochs and learning rate of each; chosen on the validation images, which no benchmark reports.
SCHEDULES = {"resnet": (6, 3e-3), "mobilenet": (16, 3e-3), "vit": (14, 1.5e-3)}


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("vehicles", nargs="+", choices=VEHICLES)
    parser.add_argument("--images", type=int, default=14_000, help="drawn training images")
    parser.add_argument("--validation-images", type=int, default=2_000, help="per set of families")
    parser.add_argument("--batch", type=int, default=32)
    parser.add_argument("--weight-decay", type=float, default=0.05)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--threads", type=int, default=2, help="torch threads, and processes that draw")
    return parser.parse_args()


class TaughtByMaps(nn.Module):
    """A plain vision transformer whose blocks also predict the maps of a trained ResNet.

    The second block predicts those of the ResNet's second stage, which has as many places as there are
    tokens, and the last block those of the third, from the mean of four tokens each.

    Args:
        student: of 8 x 8 patches.
        teacher: a ResNet of timm.
    """

    def __init__(self, student: nn.Module, teacher: nn.Module) -> None:
        super().__init__()
        self.student = student
        widths = [teacher.feature_info[stage]["num_chs"] for stage in (2, 3)]
        self.predict = nn.ModuleList(nn.Conv2d(student.embed_dim, width, 1) for width in widths)
        self._teacher = (teacher.eval(),)  # no child: it is not trained

    def loss(self, inputs: torch.Tensor, labels: torch.Tensor) -> torch.Tensor:
        """Cross-entropy of the verdict and squared error of the maps, each channel of variance 1."""
        with torch.no_grad():
            maps = self._teacher[0].forward_intermediates(inputs, indices=[2, 3], intermediates_only=True)
            maps = [batch_norm(each, None, None, training=True) for each in maps]
        tokens, (middle, last) = self.student.forward_intermediates(inputs, indices=[1, 3])
        verdict = binary_cross_entropy_with_logits(self.student.forward_head(tokens)[:, 0], labels)
        sources = middle, avg_pool2d(last, 2)
        errors = [
            mse_loss(predict(source), wanted)
            for predict, source, wanted in zip(self.predict, sources, maps, strict=True)
        ]
        return verdict + sum(errors)


def train_vehicle(name: str, images: np.ndarray, labels: np.ndarray, options: argparse.Namespace) -> dict:
    """Train, save and validate one; what the JSON file says of it."""
    torch.manual_seed(options.seed)
    started = time.perf_counter()
    model = VEHICLES[name]().to(memory_format=torch.channels_last)
    start_blind_to_flat_colour_(model)
    epochs, learning_rate = SCHEDULES[name]
    how = {"epochs": epochs, "learning_rate": learning_rate, "options": options}
    if name == "vit":
        taught = TaughtByMaps(model, detector("resnet").model)
        losses = train(taught, images, labels, **how, loss_of=TaughtByMaps.loss)
    else:
        losses = train(model, images, labels, **how)
    model.eval()
    halves = {key: value.half().contiguous() if value.is_floating_point() else value
              for key, value in model.state_dict().items()}  # fmt: skip
    write_whole(weights_of(name), partial(save_file, halves))
    model.load_state_dict({key: value.float() if value.is_floating_point() else value
                           for key, value in halves.items()})  # fmt: skip
    known = {
        "count": options.validation_images, "seed": training_seed(options) + 1, "workers": options.threads
    }  # fmt: skip
    return {
        "parameters": sum(parameter.numel() for parameter in model.parameters()),
        "epochs": epochs,
        "learning_rate": learning_rate,
        "losses": [round(loss, 4) for loss in losses],
        "seconds": round(time.perf_counter() - started),
        "in_domain": validate(model, families=FAMILIES, **known),
        "held_out": validate(model, families=HELD_OUT_FAMILIES, **known),
    }


def main() -> None:
    options = arguments()
    torch.set_num_threads(options.threads)
    torch.use_deterministic_algorithms(True)
    images, labels, _ = draw_set(
        options.images, seed=training_seed(options), families=FAMILIES, workers=options.threads
    )
    print(f"drew {len(images)} images", flush=True)
    for name in options.vehicles:
        print(name, flush=True)
        row = train_vehicle(name, images, labels, options)
        row["configuration"] = {key: value for key, value in vars(options).items() if key != "vehicles"}
        found = json.loads(RESULT.read_text()) if RESULT.exists() else {}
        content = json.dumps(found | {name: row}, indent=2) + "\n"
        write_whole(RESULT, lambda path, content=content: path.write_text(content))
        print(json.dumps(row), flush=True)


if __name__ == "__main__":
    main()
