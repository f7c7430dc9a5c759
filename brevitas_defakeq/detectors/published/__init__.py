"""Published detectors, a file each: ``ENTRY``, the record, and what builds and converts it.

The file's name is the detector's. ``docs/adding_a_detector.md`` shows how to add one.
"""
