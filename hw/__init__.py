"""From an exported .onnx to estimates, simulation and bitstream. Not in the wheel; never imports torch."""
