"""Building blocks of published detectors, and the renaming of their checkpoints."""
