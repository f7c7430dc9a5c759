"""Metrics, side-by-side figures, and ``evaluate`` itself: the room is callable.

``brevitas_defakeq.evaluate(run, data)`` is ``brevitas_defakeq.evaluate.run.evaluate``; a function of the
room's own name would be hidden by the room as soon as anything imports from it.
"""

import sys
from types import ModuleType


class _Room(ModuleType):
    def __call__(self, *args, **options):
        from brevitas_defakeq.evaluate.run import evaluate

        return evaluate(*args, **options)


sys.modules[__name__].__class__ = _Room
