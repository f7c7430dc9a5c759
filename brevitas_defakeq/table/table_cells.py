"""Finished cells on disk: one JSON and one score file each, so that no work is done twice."""

from __future__ import annotations

import hashlib
import json
import re
from dataclasses import asdict, dataclass, replace
from pathlib import Path

from brevitas_defakeq.table.table_spec import DetectorRow, Method, TableSpec
from brevitas_defakeq.utils.errors import UserError
from brevitas_defakeq.utils.files import read_json, write_json


@dataclass(frozen=True)
class Cell:
    """One detector by one method on one data set; ``folder`` is the table's."""

    spec: TableSpec
    detector: DetectorRow
    method: Method
    dataset: str
    folder: Path

    @property
    def path(self) -> Path:
        return self.folder / "cells" / f"{self._name}.json"

    @property
    def scores(self) -> Path:
        return self.folder / "scores" / f"{self._name}.csv"

    @property
    def run(self) -> Path:
        """The run folder, one for M_q and M_q^v."""
        method = replace(self.method, form="quantized", label="")
        return self.folder / "runs" / _slug(self.detector.label, method.label, _short_hash(asdict(method)))

    def of_float(self) -> Cell:
        """The float detector's cell on the same data."""
        return replace(self, method=self.spec.methods[0])

    def finished(self) -> dict | None:
        """The results; None if there are none. UserError if they were made with other settings."""
        if not (self.path.exists() and self.scores.exists()):
            return None
        found = read_json(self.path)
        if found.get("identity") != self.identity():
            raise UserError(
                f"{self.path} was measured with other settings; remove it, or choose another --out"
            )
        return found

    def finish(self, found: dict) -> None:
        """Keep the results; the scores have been written."""
        names = {"detector": self.detector.label, "method": self.method.label, "dataset": self.dataset}
        write_json(self.path, {"identity": self.identity(), **names, **found})

    def identity(self) -> str:
        """A hash of everything in the table that bears on this cell."""
        content = {
            "detector": asdict(self.detector), "method": asdict(self.method),
            "data": self.spec.datasets[self.dataset], "selection": dict(self.spec.selection),
            "convention": self.spec.convention,
        }  # fmt: skip
        if self.method.method != "float":
            content["calibration"] = self.spec.calibration
            content["settings"] = self.spec.config(self.method).to_dict()
        return _short_hash(content)

    @property
    def _name(self) -> str:
        return _slug(self.detector.label, self.method.label, self.dataset)


def all_cells(spec: TableSpec, folder: Path) -> list[Cell]:
    """Detector by detector, the float ones first. UserError where names would share a file."""
    found = [
        Cell(spec, detector, method, dataset, folder)
        for detector in spec.detectors
        for method in spec.methods
        for dataset in spec.datasets
    ]
    names = [cell.path.name.lower() for cell in found]
    twice = [name for name in names if names.count(name) > 1]
    if twice:
        raise UserError(f"two cells would be called {twice[0]}; give labels that differ in letters or digits")
    return found


def _slug(*words: str) -> str:
    return "--".join(re.sub(r"[^\w.+-]+", "_", word) for word in words)


def _short_hash(content: dict) -> str:
    return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()[:16]
