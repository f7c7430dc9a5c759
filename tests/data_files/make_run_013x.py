"""Writes ``run_013x``: a run folder and what its detector answers, for loading under other versions.

Run it in this folder, with brevitas 0.13.0: ``python make_run_013x.py``
"""

import json
from dataclasses import replace
from pathlib import Path

import torch

from brevitas_defakeq import DefakeQConfig, load, quantize
from brevitas_defakeq.detectors import resolve

FOLDER = Path("run_013x")


def questions(count: int = 4, size: int = 16) -> torch.Tensor:
    """Fixed images [count, 3, size, size] that no random generator makes."""
    return 1.5 * torch.sin(torch.arange(count * 3 * size * size) * 0.37).view(count, 3, size, size)


def main() -> None:
    config = DefakeQConfig(average_bits=2.5, candidate_bits=(1.6, 2, 3, 4, 6, 8), samples=24)
    config = replace(config, reconstruction=replace(config.reconstruction, iterations=20))
    calibration = torch.sin(torch.arange(24 * 768) * 0.7391 + torch.arange(24 * 768) ** 2 * 1e-4)
    quantize(resolve("tiny_detector:build"), calibration.view(24, 3, 16, 16), config).save(FOLDER)
    run = load(FOLDER)
    with torch.no_grad():
        answers = {form: getattr(run, form)(questions())[:, 0].tolist() for form in ("quantized", "mixed")}
    (FOLDER / "answers.json").write_text(json.dumps(answers, indent=2) + "\n")


if __name__ == "__main__":
    main()
