"""The board table: the supported boards and the resources of their devices.

Names and parts are those of FINN (``finn.util.basic.part_map``); a test compares them. Resources are from the
vendors' product tables, since FINN's table lacks most boards and rounds.
"""

from dataclasses import dataclass

from brevitas_defakeq.utils.errors import UserError

#: Shares of a device that a design may use and still meet its clock: AMD's advice and FINN's default.
MARGIN = {"lut": 0.70, "bram18": 0.80, "dsp": 0.80, "uram": 0.80}


@dataclass(frozen=True)
class Board:
    """A board and its device.

    Attributes:
        part: the vendor's name of the device.
        target: the bitstream target of `hw/build.py`.
        clock_mhz: the clock in MHz that rates are computed with; designs on this family reach it easily.
        lut, bram18, dsp, uram: the device's resources; BRAM in blocks of 18 Kbit, URAM of 288 Kbit.
        dsp_block: the type of its DSP blocks.
    """

    name: str
    part: str
    target: str
    clock_mhz: float
    lut: int
    bram18: int
    dsp: int
    uram: int
    dsp_block: str

    @property
    def versal(self) -> bool:
        return self.target == "versal"

    def limits(self) -> dict[str, int]:
        """Resources that a design may use: ``MARGIN`` of the device's."""
        return {name: int(share * getattr(self, name)) for name, share in MARGIN.items()}

    def frames_per_second(self, cycles: int) -> float:
        """Frames per second of a pipeline whose slowest layer takes ``cycles`` clock cycles per frame."""
        return self.clock_mhz * 1e6 / max(1, cycles)


_BOARDS = [
    Board("Pynq-Z1", "xc7z020clg400-1", "zynq", 100.0, 53_200, 280, 220, 0, "DSP48E1"),
    Board("Pynq-Z2", "xc7z020clg400-1", "zynq", 100.0, 53_200, 280, 220, 0, "DSP48E1"),
    Board("Ultra96-V2", "xczu3eg-sbva484-1-i", "zynq", 200.0, 70_560, 432, 360, 0, "DSP48E2"),
    Board("AUP-ZU3_8GB", "xczu3eg-sfvc784-2-e", "zynq", 200.0, 70_560, 432, 360, 0, "DSP48E2"),
    Board("KV260_SOM", "xck26-sfvc784-2LV-c", "zynq", 200.0, 117_120, 288, 1_248, 64, "DSP48E2"),
    Board("ZCU104", "xczu7ev-ffvc1156-2-e", "zynq", 200.0, 230_400, 624, 1_728, 96, "DSP48E2"),
    Board("ZCU102", "xczu9eg-ffvb1156-2-e", "zynq", 200.0, 274_080, 1_824, 2_520, 0, "DSP48E2"),
    Board("ZCU111", "xczu28dr-ffvg1517-2-e", "zynq", 200.0, 425_280, 2_160, 4_272, 80, "DSP48E2"),
    Board("RFSoC4x2", "xczu48dr-ffvg1517-2-e", "zynq", 200.0, 425_280, 2_160, 4_272, 80, "DSP48E2"),
    Board("VEK280", "xcve2802-vsvh1760-2MP-e-S", "versal", 250.0, 520_704, 1_200, 1_312, 264, "DSP58"),
    Board("VCK190", "xcvc1902-vsva2197-2MP-e-S", "versal", 250.0, 899_840, 1_934, 1_968, 463, "DSP58"),
    # 4-input LUTs, 18 Kbit block RAMs; for target `ecp5`, which open tools alone build
    Board("ECP5-85", "lfe5um5g-85f", "ecp5", 50.0, 83_640, 208, 156, 0, "MULT18X18D"),
]
BOARDS = {board.name: board for board in _BOARDS}


def board_named(name: str) -> Board:
    """The board of a name, in upper or lower case. Raises UserError, which lists the boards, for others."""
    by_name = {known.lower(): board for known, board in BOARDS.items()}
    if name.lower() not in by_name:
        raise UserError(f"--board {name}: unknown; choose one of {', '.join(BOARDS)}")
    return by_name[name.lower()]
