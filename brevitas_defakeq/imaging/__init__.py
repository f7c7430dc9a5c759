"""Reading, cropping and preprocessing images with numpy and pillow; no torch."""
