"""ONNX files as detectors: a graph becomes torch modules, and a JSON program rebuilds them."""
