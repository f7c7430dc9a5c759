"""The bit-widths that weights can have: one table, one entry a width.

Whole widths are a bit stream on disk. A width between them has a number of codes that is no power of two, and
packs several codes into a byte as digits of one number: three codes (0, 1, 2), five to a byte, take 8/5 = 1.6
bits each.

>>> Width.of_levels(6, codes_per_byte=3).bits  # ``register_width`` makes it known
2.6666666666666665
"""

from dataclasses import dataclass
from functools import cached_property

from brevitas_defakeq.utils.errors import UserError


@dataclass(frozen=True, kw_only=True)
class Width:
    """One bit-width.

    Attributes:
        bits: bits of a code in a file, what counts against a budget and names the width everywhere.
        levels: number of codes, 2 to 256.
        codes_per_byte: codes that share a byte as digits in base ``levels``; None for a whole width.
    """

    bits: float
    levels: int
    codes_per_byte: int | None = None

    @classmethod
    def whole(cls, bits: int) -> "Width":
        """``2^bits`` codes."""
        return cls(bits=bits, levels=2**bits)

    @classmethod
    def of_levels(cls, levels: int, *, codes_per_byte: int) -> "Width":
        """``levels`` codes, ``codes_per_byte`` of them in a byte. Raises UserError where they do not fit."""
        if codes_per_byte < 1 or levels < 2 or levels**codes_per_byte > 256:
            raise UserError(f"{codes_per_byte} codes of {levels} levels do not fit in a byte; pack fewer")
        return cls(bits=8 / codes_per_byte, levels=levels, codes_per_byte=codes_per_byte)

    @property
    def container_bits(self) -> int:
        """The whole bits that hold a code."""
        return (self.levels - 1).bit_length()

    @property
    def codes_per_group(self) -> int:
        """Codes that fill whole bytes."""
        return self.codes_per_byte or 8

    @cached_property
    def planes(self) -> tuple[tuple[float, int], ...]:
        """(width, shift) of the planes that a runtime puts a code together from; none at 8 bits."""
        if self.codes_per_byte:
            return ((self.bits, 0),)
        whole = 0 if self.bits == 8 else self.container_bits
        widths = [width for width in (4, 2, 1) if whole & width]
        return tuple((width, sum(widths[:index])) for index, width in enumerate(widths))


#: Candidates unless others are given: widths that most runtimes hold; 1.6 (three levels) is opt-in.
DEFAULT_CANDIDATE_BITS: tuple[float, ...] = (2, 3, 4, 6, 8)
#: Widths closer than this, in bits, have one name.
SAME_BITS = 0.01
#: bits -> width, ascending.
WIDTHS: dict[float, Width] = {}


def register_width(width: Width) -> Width:
    """Make a width known: as a candidate, for packing, and for every export format that unpacks codes.

    Raises UserError for a width that cannot be packed, and where another has the same number of bits, to
    within 0.01.
    """
    _check_packs(width)
    for known in WIDTHS.values():
        if known != width and abs(known.bits - width.bits) < SAME_BITS:
            raise UserError(
                f"{width.bits:g} bits with {width.levels} levels: a width of {known.bits:g} bits with "
                f"{known.levels} levels is registered already; choose others"
            )
    WIDTHS[width.bits] = width
    for bits in sorted(WIDTHS):
        WIDTHS[bits] = WIDTHS.pop(bits)
    return width


def _check_packs(width: Width) -> None:
    """Raises UserError unless ``Width.of_levels``, or ``Width.whole`` of 2 to 8 bits, makes such a width."""
    if width.codes_per_byte is not None:
        packs = width == Width.of_levels(width.levels, codes_per_byte=width.codes_per_byte)
    else:
        packs = width in map(Width.whole, range(2, 9))
    if not packs:
        raise UserError(f"{width} cannot be packed; use Width.whole(2 to 8) or Width.of_levels")


def width_of(bits: float) -> Width:
    """The width called ``bits``, to within 0.01. Raises UserError for an unknown one."""
    for known, width in WIDTHS.items():
        if abs(known - bits) < SAME_BITS:
            return width
    raise UserError(f"{bits:g} bits is not a known width; choose of {', '.join(f'{b:g}' for b in WIDTHS)}")


def fractional_width(bits: float) -> Width | None:
    """The width called ``bits``, where codes share bytes as digits; None for a whole one.

    Raises UserError for a fractional width that is not registered.
    """
    width = WIDTHS.get(bits) if bits == int(bits) else width_of(bits)
    return width if width and width.codes_per_byte else None


def fractional_widths() -> list[Width]:
    """The widths between whole ones."""
    return [width for width in WIDTHS.values() if width.codes_per_byte]


for _width in (Width.of_levels(3, codes_per_byte=5), *map(Width.whole, range(2, 9))):
    register_width(_width)
