"""Checks of a source: what it holds, what is missing, and what would distort its metrics."""

from brevitas_defakeq.data.check.source_check import check_source

__all__ = ["check_source"]
