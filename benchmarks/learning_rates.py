"""Two learning rates of every published method that learns its rounding, on faces that no table reports.

    python -m benchmarks.learning_rates [--threads 1]

Our harness gives all methods the same few steps, so a rate from a paper with 20,000 of them may be too small.
The rate of a preset is the better of two over both detectors; ``results/learning_rates.json`` has the errors.
"""

import argparse
import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch

from benchmarks.presets import PEERS
from benchmarks.suite.faces import faces_to_choose_with
from benchmarks.suite.material import material
from benchmarks.suite.run import quantized
from benchmarks.suite.tasks import WHOLE, Task
from brevitas_defakeq.config import DefakeQConfig
from brevitas_defakeq.evaluation.predict import observe_all
from brevitas_defakeq.utils.files import write_json

RESULT = Path(__file__).parent / "results" / "learning_rates.json"
BITS = 3.0
#: Adam's rate on V, or in the pass over the whole network on the codes.
RATES = {"learned": (0.1, 0.03), "joint": (0.03, 0.01)}


def rates_of(config: DefakeQConfig) -> tuple[float, ...]:
    """The rates that are tried; none where nothing is learned."""
    if config.final.rounding_lr:
        return RATES["joint"]
    return RATES["learned"] if config.reconstruction.rounding == "learned" else ()


def rate_of(config: DefakeQConfig) -> float:
    """The rate that a configuration has."""
    return config.final.rounding_lr or config.reconstruction.rounding_lr


def with_rate(config: DefakeQConfig, rate: float) -> DefakeQConfig:
    """The configuration at another rate."""
    if config.final.rounding_lr:
        return replace(config, final=replace(config.final, rounding_lr=rate))
    return replace(config, reconstruction=replace(config.reconstruction, rounding_lr=rate))


def error(task: Task, rate: float) -> float:
    """Mean squared error of the logit over its variance, on faces kept for choices."""
    given = material(task.vehicle, samples=task.samples, seed=task.seed, size=task.test, data=None)
    preset = PEERS[task.method]
    tried = replace(preset, change=lambda config: with_rate(preset.change(config), rate))
    result = quantized(task, tried, given).result
    models = {"float": given.detector.model.eval(), "quantized": result.quantized}
    seen = observe_all(models, result.observer, faces_to_choose_with().batches())
    reference, found = (seen[name].scores for name in models)
    return float(np.mean((found - reference) ** 2) / reference.var())


def best_rates(errors: dict[str, dict[str, float]]) -> dict[str, float]:
    """Method -> the rate of the least product of errors over the detectors.

    Args:
        errors: "VEHICLE METHOD" -> rate -> error.
    """
    products: dict[str, dict[str, float]] = {}
    for key, by_rate in errors.items():
        totals = products.setdefault(key.split(" ", 1)[1], {})
        for rate, value in by_rate.items():
            totals[rate] = totals.get(rate, 1.0) * value
    return {method: float(min(totals, key=totals.__getitem__)) for method, totals in products.items()}


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--threads", type=int, default=1)
    torch.set_num_threads(parser.parse_args().threads)
    found = json.loads(RESULT.read_text()) if RESULT.exists() else {}
    for method, preset in PEERS.items():
        for vehicle in WHOLE:
            by_rate = found.setdefault(f"{vehicle} {method}", {})
            for rate in rates_of(preset.config(average_bits=BITS)):
                if str(rate) not in by_rate:
                    by_rate[str(rate)] = error(Task(vehicle, method, BITS), rate)
                    write_json(RESULT, {key: value for key, value in found.items() if value})
            print(vehicle, method, by_rate, flush=True)


if __name__ == "__main__":
    main()
