"""Quantize a module of your own: ``python examples/quantize_module.py``, half a minute."""

from dataclasses import replace
from pathlib import Path

from torch import Tensor, nn

from brevitas_defakeq import DefakeQConfig, load, quantize
from brevitas_defakeq.demo import drawn_calibration
from brevitas_defakeq.imaging.preprocessing import Preprocessing


class SmallDetector(nn.Module):
    """Images [N, 3, 64, 64] to one logit [N, 1], above 0 for fake. Yours is trained; this one is not."""

    def __init__(self) -> None:
        super().__init__()
        self.features = nn.Sequential(
            nn.Conv2d(3, 16, 3, stride=2, padding=1), nn.BatchNorm2d(16), nn.ReLU(),
            nn.Conv2d(16, 32, 3, stride=2, padding=1), nn.BatchNorm2d(32), nn.ReLU(),
        )  # fmt: skip
        self.head = nn.Linear(32, 1)

    def forward(self, images: Tensor) -> Tensor:
        return self.head(self.features(images).mean((2, 3)))


def main(out: Path, *, count: int = 64, iterations: int = 100) -> None:
    """Write a run folder to ``out``, load it again and compare."""
    detector = SmallDetector().eval()
    images, _ = drawn_calibration(Preprocessing((64, 64), mean=0.5, std=0.5), count)  # [N, 3, 64, 64]
    config = DefakeQConfig(average_bits=3.0, samples=count)
    config = replace(config, reconstruction=replace(config.reconstruction, iterations=iterations))
    result = quantize(detector, images, config, out=out)
    for name, bits in result.bits.items():
        print(f"{name}: {bits:g} bits")
    again = load(out, detector)
    print("loaded logits are equal:", bool((again.quantized(images) == result.quantized(images)).all()))


if __name__ == "__main__":
    main(Path("example-module"))
