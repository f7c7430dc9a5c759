"""A design's README, generated from its reports."""

from collections.abc import Mapping

from hw.designs.design import Design

_DESCRIPTIONS = {
    "chain": (
        "A small detector: six 3 x 3 convolutions and a Linear on the flattened map, one behind the other. "
        "Every node of its graph has RTL in FINN+ (products, thresholds, windows, padding), so that tools "
        "other than Vivado can build it; its weights and thresholds fit the 3.7 Mbit of an ECP5-85."
    ),
    "encoder": (
        "A classic CNN detector: the nine convolutions of ClassNSeg (Nguyen et al., BTAS 2019; the "
        "architecture alone), the mean of their map, and a Linear."
    ),
}  # fmt: skip


def design_page(design: Design, run: Mapping, report: Mapping) -> str:
    """The README in Markdown; ``run`` and ``report`` are the `report.json` of the run and of the build."""
    auc = {variant: run["metrics"][variant]["auc"] for variant in ("float", "quantized")}
    widths = " ".join(f"{bits:g}" for bits in run["bits"].values())
    totals, names = report["totals"], {"lut": "LUT", "bram18": "BRAM18", "dsp": "DSP"}
    taken = ", ".join(
        f"{'at least ' * (key in report['lower_bounds'])}{totals[key]:,} {name}"
        for key, name in names.items()
    )
    build = f"--board {report['board']} --fps {design.fps:g}"
    return f"""# {design.name}

{_DESCRIPTIONS[design.name]}

It is trained on drawn faces (`brevitas_defakeq.data.procedural`, 64 x 64) and knows nothing of photographs.

| | |
|---|---|
| AUC on {run["metrics"]["float"]["n"]:,} drawn faces | {auc["quantized"]:.4f}; float {auc["float"]:.4f} |
| widths of the weights, layer by layer | {widths} bits; {run["average_bits"]:.2f} on average |
| activations | {run["activation_bits"]} bits |
| stored weights and thresholds | {totals["weight_bits"] / 1e3:,.0f} kbit |
| {report["board"]} at {report["clock_mhz"]:g} MHz, folded for {design.fps:g} frames a second | \
{report["cycles"]:,} cycles a frame, {report["frames_per_second"]:,.0f} frames a second |
| estimated, without FIFOs and width converters | {taken} |

| file | holds |
|---|---|
| `model.onnx`, `host.json` | the FINN profile, and what the host does around it |
| `run/` | the quantized detector, as `brevitas_defakeq.load` reads it |
| `samples.npz` | two images and what the device answers; labels and logits of 64 drawn faces |
| `baseline.json` | estimates and AUC that a build has to keep, with a tolerance for each |

```
DESIGN=hw/designs/{design.name}
python hw/build.py $DESIGN/model.onnx --target estimate {build} --out build/
python hw/costs.py $DESIGN/model.onnx {build} --out costs.json
python -m hw.designs.make {design.name}  # all of it anew, training included
```

```python
import numpy as np
from hw.host import Host

folder = "hw/designs/{design.name}/"
samples, host = np.load(folder + "samples.npz"), Host(folder + "host.json")
device_input = host.integers(samples["images"][0] / np.float32(255))  # whole numbers [1, 64, 64, 3]
host.logit(samples["integers"][0])  # of what the device answers to it
```
"""
