"""What the suites run, the most wanted first."""

import re
from collections.abc import Iterator
from dataclasses import dataclass

from benchmarks.presets import ALLOCATIONS, MAIN, OURS, PEERS, PRESETS
from benchmarks.suite.faces import FULL, QUICK, TestSize

#: Name in tables -> in ``benchmarks.compression``.
COMPRESSION = {
    "structured pruning": "structured_pruning", "truncated SVD": "truncated_svd",
    "sign with rank 1": "sign_rank_one",
}  # fmt: skip


@dataclass(frozen=True)
class Task:
    """One detector by one method at one budget.

    Attributes:
        vehicle: a name that ``vehicles.detector`` knows.
        method: of ``PRESETS`` or ``COMPRESSION``.
        bits: average of the weights; of ``COMPRESSION``, those whose bytes it takes.
        test: how many test images.
    """

    vehicle: str
    method: str
    bits: float
    activation_bits: int = 8
    seed: int = 0
    samples: int = 256
    test: TestSize = FULL

    @property
    def name(self) -> str:
        """Of its JSON file."""
        method = re.sub(r"[^a-z0-9.]+", "_", self.method.lower())
        size = "" if self.test == FULL else f"-t{self.test.in_domain}"
        images = "" if self.samples == 256 else f"-n{self.samples}"
        return f"{self.vehicle}-{method}-w{self.bits:g}a{self.activation_bits}-s{self.seed}{images}{size}"


WHOLE, REST = ("resnet", "vit"), ("demo", "mobilenet")
_FEW = ("best", "BRECQ", "FIMA-Q", "nearest")
_ALL = (*PEERS, "paper", "best")
_QUICK = ("best", "paper", "nearest", "GPTQ", "AdaRound", "BRECQ", "QDrop", "FIMA-Q", "truncated SVD")
_BUDGETS = (3.0, 2.5, 2.0, 4.0)
#: Where parts of a method are told apart.
PARTS_BITS = 2.25
#: Calibration images, at the bits of the second.
SAMPLES, SAMPLES_BITS = (64, 128, 512, 1024), 2.5


def quick() -> Iterator[Task]:
    """The main table on two vehicles at 3 bits, tested on fewer images."""
    yield from (Task(vehicle, method, 3.0, test=QUICK) for method in _QUICK for vehicle in WHOLE)


def full() -> Iterator[Task]:
    """Two vehicles whole, four methods on the others; parts and settings, seeds, 4-bit activations."""
    yield from (Task(vehicle, method, 3.0) for method in _FEW for vehicle in (*WHOLE, *REST))
    yield from (Task(vehicle, method, PARTS_BITS) for method in OURS for vehicle in WHOLE)
    yield from (Task(vehicle, method, 3.0) for method in ("paper, no HAQ", *ALLOCATIONS) for vehicle in WHOLE)
    for bits in _BUDGETS:
        yield from (Task(vehicle, method, bits) for method in (*_ALL, *COMPRESSION) for vehicle in WHOLE)
    for bits in _BUDGETS:
        yield from (Task(vehicle, method, bits, activation_bits=4) for method in _ALL for vehicle in WHOLE)
    for seed in (1, 2):
        yield from (Task(vehicle, method, 3.0, seed=seed) for method in (*_FEW, "paper") for vehicle in WHOLE)
    for samples in SAMPLES:
        yield from (Task(vehicle, "best", SAMPLES_BITS, samples=samples) for vehicle in WHOLE)


def real() -> Iterator[Task]:
    """The trained detectors on photographs."""
    trained = ("mobilenetv2_035", "hybrid")
    for bits in (3.0, PARTS_BITS):
        methods = (*_FEW, *MAIN) if bits == 3.0 else MAIN
        yield from (Task(vehicle, method, bits) for method in methods for vehicle in trained)
    yield from (Task("classnseg", method, 3.0) for method in _FEW)
    yield from (Task(vehicle, "best", bits) for bits in (4.0, 2.5, 2.0) for vehicle in trained)
    for bits in (2.0, 1.9):
        yield from (Task(vehicle, "best, three levels too", bits) for vehicle in trained)
    for seed in (1, 2):
        yield from (
            Task(vehicle, "best", bits, seed=seed) for bits in (3.0, PARTS_BITS) for vehicle in trained
        )
    yield from (Task("clip", method, 4.0, samples=64) for method in ("best", "best, uniform widths", "BRECQ"))


SUITES = {"quick": quick, "full": full, "real": real}


def tasks(suite: str) -> list[Task]:
    """Each once, in order."""
    found = list(dict.fromkeys(SUITES[suite]()))
    assert all(task.method in PRESETS | COMPRESSION for task in found)
    return found
