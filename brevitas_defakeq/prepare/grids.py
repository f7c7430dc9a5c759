"""Which quantizers integer hardware needs, by name: part of a plan, kept with the run."""

from dataclasses import dataclass, field


@dataclass(frozen=True)
class Grids:
    """Quantizers by name.

    They are ``layer.input_quant``, ``module.output_quant``, ``module.value_quants.EVENT``
    (``prepare.value_quantizers``), or a raw parameter's own name.

    Attributes:
        shared: those on one grid, group by group; a group of one has a grid of its own.
        positive: those that see no negative value.
        ceilings: the largest value that comes out of the clip before them.
        ready: layers whose input carries codes already, which have no input quantizer -> whose codes.
        callees: modules with ``value_quants`` -> the modules that they call, by their names in them.
    """

    shared: tuple[tuple[str, ...], ...] = ()
    positive: tuple[str, ...] = ()
    ceilings: dict[str, float] = field(default_factory=dict)
    ready: dict[str, str] = field(default_factory=dict)
    callees: dict[str, tuple[str, ...]] = field(default_factory=dict)

    @classmethod
    def from_dict(cls, data: dict) -> "Grids":
        return cls(
            tuple(map(tuple, data["shared"])), tuple(data["positive"]), dict(data["ceilings"]),
            dict(data["ready"]), {name: tuple(called) for name, called in data.get("callees", {}).items()},
        )  # fmt: skip
