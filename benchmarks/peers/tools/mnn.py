"""MNN's converter with its weight quantization of 2 to 8 bits, activations in float.

``hqq`` is its converter's option for accuracy (asymmetric, scales by half-quadratic optimization). A row has
one scale a channel; ``_blocks`` one for every 32 weights of it.
"""

import functools
from pathlib import Path

import numpy as np

from benchmarks.peers.exchange import INPUT, OUTPUT, Given, Made, Peer, serve


def converted(given: Given, bits: int, block: int | None = None) -> Made:
    import _tools  # MNN's converter

    file = given.out / "model.mnn"
    blocks = ["--weightQuantBlock", str(block)] if block else []
    _tools.mnnconvert([
        "mnnconvert", "-f", "ONNX", "--modelFile", str(given.onnx), "--MNNModel", str(file),
        "--bizCode", "MNN", "--weightQuantBits", str(bits), "--hqq", *blocks,
    ])  # fmt: skip
    if not file.exists():
        raise RuntimeError("mnnconvert wrote no file")
    scales = f"in blocks of {block}" if block else "per channel"
    return Made([file.name], f"{bits} {scales}", "float", "MNN", predicted(file, given.test()))


def predicted(file: Path, images: np.ndarray) -> np.ndarray:
    import MNN.expr
    import MNN.nn

    network = MNN.nn.load_module_from_file(str(file), [INPUT], [OUTPUT])
    shape = [1, *images.shape[1:]]
    return np.array([
        network.forward([MNN.expr.const(np.ascontiguousarray(image), shape, MNN.expr.NCHW)])[0].read().item()
        for image in images
    ])  # fmt: skip


WIDTHS = (8, 4, 3, 2)
PEER = Peer(
    ("mnn", "numpy"),
    {f"w{bits}": functools.partial(converted, bits=bits) for bits in WIDTHS}
    | {f"w{bits}_blocks": functools.partial(converted, bits=bits, block=32) for bits in WIDTHS[1:]},
)

if __name__ == "__main__":
    serve("mnn", PEER)
