"""An export format from outside the package: the dequantized weights as ``model.npz``, and the card."""

from pathlib import Path

import numpy as np

from brevitas_defakeq.export import ExportFormat


def export_npz(result, out, *, variant, verify=None, licence=None):
    """Write layer name -> float32 weights; ``verify`` is ignored, for nothing runs the file."""
    from brevitas_defakeq.export.export_card import card_of, input_output_of, package_version
    from brevitas_defakeq.runtime.card import card_beside
    from brevitas_defakeq.utils.files import written_whole

    modules = dict(getattr(result, variant).named_modules())
    names = [layer.name for layer in result.plan.layers]
    weights = {name: np.asarray(modules[name].quant_weight().value.detach()) for name in names}
    path = Path(out) / "model.npz"
    with written_whole(path) as partial:
        with partial.open("wb") as file:
            np.savez_compressed(file, **weights)
        card = card_of(
            result, variant, input_output_of(result), format="npz", runtime=package_version("numpy"),
            bytes={"file": partial.stat().st_size}, patterns={"weights": len(weights)}, agreement=None,
            licence=licence,
        )  # fmt: skip
        card.write(card_beside(path))
    return card


NPZ = ExportFormat(name="npz", description="dequantized weights for numpy", exporter=export_npz)
