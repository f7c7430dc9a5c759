"""What is found in a data set, what is missing, and what could make its figures wrong."""

from brevitas_defakeq.data.check.source_check import check_source

__all__ = ["check_source"]
