"""Two complete detectors for hardware, made anew by `python -m hw.designs.make`.

Only `make` and what it imports need torch; a design itself is its `model.onnx` and `host.json`.
"""
