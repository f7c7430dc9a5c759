"""The folder that a machine with Vivado needs for a bitstream: FINN's build configuration.

The part with Vivado has never been run. Tests check that FINN reads the files and that its own steps up to
Vivado, run from them, give the same folded graph.
"""

import json
import os
import shutil
import subprocess
from collections import Counter
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING, Any

from brevitas_defakeq.utils.errors import UserError
from brevitas_defakeq.utils.files import write_bytes, write_json
from hw.boards import Board
from hw.build_steps import Build
from hw.finn_quirks import builder_without_vivado, quiet_finn

if TYPE_CHECKING:
    from finn.custom_op.fpgadataflow.hwcustomop import HWCustomOp

    from hw.progress_file import StepFiles

#: FINN's own steps from the hardware graph on; those up to `LAST_STEP_WITHOUT_VIVADO` need no Vivado.
FINN_STEPS = (
    "step_create_dataflow_partition", "step_specialize_layers", "step_apply_folding_config",
    "step_minimize_bit_width", "step_transpose_decomposition", "step_generate_estimate_reports",
    "step_assign_ddr_weight_offsets", "step_generate_hardware", "step_create_stitched_ip",
    "step_measure_rtlsim_performance", "step_out_of_context_synthesis", "step_prepare_synthesis",
    "step_synthesize_bitfile", "step_make_driver", "step_deployment_package",
)  # fmt: skip
LAST_STEP_WITHOUT_VIVADO = "step_generate_estimate_reports"
_FOLDING_ATTRIBUTES = (
    "PE", "SIMD", "parallel_window", "ram_style", "ram_style_thresholds", "resType", "mem_mode",
    "depth_trigger_bram", "depth_trigger_uram",
)  # fmt: skip
_RUN_SCRIPT = """#!/bin/sh
# Builds a bitstream for {board} in build/deploy. Needs Vivado 2024.2 (source its settings64.sh first),
# finn-plus {finn} and, once, the internet, from which FINN fetches its HLS libraries.
cd "$(dirname "$0")" && exec finn build build.json model.onnx
"""


def build_with_vivado(build: Build, target: str) -> None:
    """Write the folder `vivado` of a finished build, and run it if Vivado is installed.

    Raises UserError if Vivado is not installed or fails.
    """
    folder = build.out / "vivado"
    with quiet_finn():
        write_configuration(folder, build)
    if not has_vivado():
        raise UserError(
            f"--target {target}: Vivado is not installed here (XILINX_VIVADO is not set); its input is "
            f"in {folder}: run {folder / 'run.sh'} on a machine with Vivado and finn-plus"
        )
    status = subprocess.run(["sh", str(folder / "run.sh")], check=False).returncode
    if status:
        raise UserError(f"run.sh failed with status {status}; FINN's logs are in {folder / 'build'}")


def has_vivado() -> bool:
    """Whether Vivado is installed and its settings are sourced."""
    return bool(os.environ.get("XILINX_VIVADO")) and shutil.which("vivado") is not None


def write_configuration(folder: Path, build: Build) -> None:
    """Write the hardware graph, FINN's configuration files, the host's arithmetic and `run.sh`."""
    from hw.progress_file import StepFiles
    from hw.steps import TO_HARDWARE

    steps = StepFiles.open(build.folder)
    before = steps.path(len(TO_HARDWARE), TO_HARDWARE[-1])
    write_bytes(folder / "model.onnx", before.read_bytes())
    write_json(folder / "folding.json", folding_config(steps))
    write_json(folder / "specialize.json", specialize_config(steps))
    write_bytes(folder / "build.json", build_config(build.board).encode())
    write_bytes(folder / "host.py", (Path(__file__).parent / "host.py").read_bytes())
    if (build.out / "host.json").is_file():
        write_bytes(folder / "host.json", (build.out / "host.json").read_bytes())
    script = _RUN_SCRIPT.format(board=build.board.name, finn=version("finn-plus"))
    write_bytes(folder / "run.sh", script.encode())
    (folder / "run.sh").chmod(0o755)


def folding_config(steps: "StepFiles") -> dict:
    """FINN's folding configuration: parallelism and memories of every layer."""
    return {"Defaults": {}} | {name: _attributes(layer) for name, layer in _layers(steps)}


def _attributes(layer: "HWCustomOp") -> dict[str, Any]:
    known = layer.get_nodeattr_types()
    return {name: layer.get_nodeattr(name) for name in _FOLDING_ATTRIBUTES if name in known}


def specialize_config(steps: "StepFiles") -> dict:
    """FINN's choice of RTL or HLS per layer, by the names that layers have before specialization."""
    counts: Counter[str] = Counter()
    config: dict[str, dict] = {"Defaults": {}}
    for _, layer in _layers(steps):
        kind, _, style = layer.onnx_node.op_type.rpartition("_")
        if not kind:  # a transpose, which is decomposed later
            counts[layer.onnx_node.op_type] += 1
            continue
        config[f"{kind}_{counts[kind]}"] = {"preferred_impl_style": style}
        counts[kind] += 1
    return config


def _layers(steps: "StepFiles") -> list[tuple[str, "HWCustomOp"]]:
    """Name and layer of every node of the folded graph."""
    from qonnx.core.modelwrapper import ModelWrapper
    from qonnx.custom_op.registry import getCustomOp

    from hw.steps import TO_DEVICE, TO_HARDWARE

    number = len(TO_HARDWARE) + TO_DEVICE.index("fold") + 1
    folded = ModelWrapper(str(steps.path(number, "fold")))
    return [(node.name, getCustomOp(node)) for node in folded.graph.node]


def build_config(board: Board) -> str:
    """FINN's `DataflowBuildConfig` as JSON, with paths relative to its folder."""
    builder_without_vivado()
    from finn.builder.build_dataflow_config import DataflowBuildConfig, DataflowOutputType, ShellFlowType

    kinds = (
        "ESTIMATE_REPORTS",
        "STITCHED_IP",
        "RTLSIM_PERFORMANCE",
        "BITFILE",
        "PYNQ_DRIVER",
        "DEPLOYMENT_PACKAGE",
    )
    config = DataflowBuildConfig(
        output_dir="build", synth_clk_period_ns=1e3 / board.clock_mhz, board=board.name, fpga_part=board.part,
        shell_flow_type=ShellFlowType.VIVADO_ZYNQ, standalone_thresholds=True, requant_bitwidth_threshold=32,
        folding_config_file=Path("folding.json"), specialize_layers_config_file=Path("specialize.json"),
        infer_shuffle_skip_first=False, enable_build_pdb_debug=False, steps=list(FINN_STEPS),
        generate_outputs=[DataflowOutputType[kind] for kind in kinds],
    )  # fmt: skip
    return json.dumps(json.loads(config.to_json()), indent=2) + "\n"
