"""One module a tool, run by its environment's Python; the harness reads only their names and ``PEER``."""
