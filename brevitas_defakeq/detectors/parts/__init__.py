"""What several published detectors are built from, and the renaming of their checkpoints."""
