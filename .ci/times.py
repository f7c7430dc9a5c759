"""Prints how long tests took: ``python .ci/times.py JUNIT.xml ...``, the slowest first."""

import sys
from xml.etree import ElementTree


def rows(path: str) -> list[tuple[float, str, str]]:
    """Seconds, name and outcome of each test in a JUnit file that pytest wrote."""
    found = []
    for case in ElementTree.parse(path).iter("testcase"):
        outcome = next(
            (kind for kind in ("failure", "error", "skipped") if case.find(kind) is not None), "passed"
        )
        name = f"{case.get('classname', '').replace('.', '/')}::{case.get('name')}"
        found.append((float(case.get("time", 0)), name, outcome))
    return found


def main() -> None:
    tests = sorted((row for path in sys.argv[1:] for row in rows(path)), reverse=True)
    for seconds, name, outcome in tests:
        print(f"{seconds:9.1f} s  {outcome:8}  {name}")
    bad = sum(outcome in ("failure", "error") for _, _, outcome in tests)
    print(f"{sum(seconds for seconds, _, _ in tests):9.1f} s  {len(tests)} tests, {bad} failed")


if __name__ == "__main__":
    main()
