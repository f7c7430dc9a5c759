"""ONNX files as detectors: the graph becomes torch modules, step by step, and a JSON program rebuilds them."""
