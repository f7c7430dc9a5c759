"""``python -m brevitas_defakeq``."""

from brevitas_defakeq.cli import main

main()
