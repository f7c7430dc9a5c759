"""The model that a method makes of a detector, with its size."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import torch
from torch import nn

from brevitas_defakeq.api import quantize
from brevitas_defakeq.artifact import QuantizedDetector, float_bytes, load
from brevitas_defakeq.calibration_set import calibration_set
from brevitas_defakeq.detectors.observer import Observer
from brevitas_defakeq.detectors.resolve import Detector, resolve
from brevitas_defakeq.float_reference import as_planned, prepare_float
from brevitas_defakeq.prepare.plan import Plan
from brevitas_defakeq.progress import ProgressCallback
from brevitas_defakeq.quantization_request import prepare_request
from brevitas_defakeq.resume import Checkpoint
from brevitas_defakeq.run_inputs import found_device, require_preprocessing
from brevitas_defakeq.storage.weights_index import weights_file
from brevitas_defakeq.storage.weights_transfer import WeightsWriter, transfer
from brevitas_defakeq.table.table_spec import DetectorRow, Method, TableSpec
from brevitas_defakeq.utils.errors import UserError


@dataclass(frozen=True)
class MethodModel:
    """A model, its decision threshold, and what the tables show of it beside its metrics."""

    model: nn.Module
    threshold: float
    size_bytes: int
    average_bits: float | None


@dataclass
class MethodModels:
    """One detector of a table, and what the methods make of it."""

    spec: TableSpec
    row: DetectorRow
    device: str
    on_progress: ProgressCallback

    @cached_property
    def detector(self) -> Detector:
        return resolve(self.row.name, weights=self.row.weights, **self.row.options)

    @cached_property
    def _prepared(self) -> tuple[Plan, Observer]:
        example = torch.zeros(1, 3, *require_preprocessing(self.detector).input_size)
        return prepare_float(self.detector, example)[1:]

    @property
    def observer(self) -> Observer:
        return self._prepared[1]

    @cached_property
    def float_bytes(self) -> int:
        return float_bytes(self.detector.model)

    def made(self, method: Method, run: Path) -> MethodModel:
        """The model; ``run`` is the method's run folder, made if it does not exist."""
        if method.method == "float":
            model = as_planned(self.detector.model, self._prepared[0])
            return MethodModel(model, 0.0, self.float_bytes, None)
        if method.method == "round_to_nearest":
            return self._nearest(method)
        result = self._run(method, run)
        report, variant = result.report, method.form
        return MethodModel(
            getattr(result, variant), report["threshold"][variant], report["size_bytes"][variant],
            report["average_bits"],
        )  # fmt: skip

    def _run(self, method: Method, folder: Path) -> QuantizedDetector:
        """From its folder if it is finished, else made there, from where it stopped."""
        config = self.spec.config(method)
        if not (folder / "config.json").exists():
            calibration = self.spec.calibration_data()
            return quantize(
                self.detector,
                calibration,
                config,
                out=folder,
                device=self.device,
                on_progress=self.on_progress,
            )
        result = load(folder, self.detector.model)
        if result.config != config:
            raise UserError(f"{folder} holds a run with other settings; remove it, or choose another --out")
        return result

    def _nearest(self, method: Method) -> MethodModel:
        """One width everywhere, searched ranges, nothing learned; scales and biases as a file holds them."""
        config, width = self.spec.config(method), method.bits
        assert width is not None  # ``Method`` refuses it
        images = calibration_set(self.spec.calibration_data(), None, self.detector, config, "refuse")
        request = prepare_request(
            self.detector, images, config, device=found_device(self.device), on_progress=self.on_progress
        )
        model = request.job(Checkpoint(None, {})).round_to_nearest(width).cpu()
        bits, writer = {layer.name: width for layer in request.plan.layers}, WeightsWriter()
        transfer(model, request.plan, bits, writer, mixed_bits=None, integer_biases=config.target != "any")
        return MethodModel(model, 0.0, len(weights_file(model, writer.tensors(), request.plan, bits)), width)
