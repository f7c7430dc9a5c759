"""Published detectors, one in each file: its ``ENTRY``, architecture and checkpoint conversion.

The file is named after the detector. ``docs/adding_a_detector.md`` shows how to add one.
"""
