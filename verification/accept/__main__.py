"""Run the tests that show the rules of docs/design and print each rule with its tests and their result.

Fails if a rule has no test, if a test names an unknown rule, or if a test fails. With --guards it also
removes each guard in a copy of the project, and fails unless the tests of its rule turn red.
"""

import argparse
import sys
from collections import defaultdict

import pytest

from verification.accept.guards import GUARDS, stays_green
from verification.accept.rules import ROOT, evidence, rules


class Results:
    """A pytest plugin that notes what came of each test function."""

    def __init__(self) -> None:
        self.failed: set[str] = set()
        self.ran: set[str] = set()

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        """Note one phase of one case; the cases of a function count together."""
        function = report.nodeid.partition("[")[0]
        if report.failed:
            self.failed.add(function)
        if report.when == "call" and report.passed:
            self.ran.add(function)


def main() -> int:
    """Print the table; return the number of red lines."""
    parser = argparse.ArgumentParser(prog="make accept", description=__doc__, allow_abbrev=False)
    parser.add_argument("--guards", action="store_true", help="also remove each guard and expect a red line")
    guards = parser.parse_args().guards
    known, shown_by = rules(), evidence()
    red = [
        f"{test} claims {rule}, which is no rule"
        for rule in shown_by.keys() - known
        for test in shown_by[rule]
    ]

    results = Results()
    tests = sorted({test for claimed in shown_by.values() for test in claimed})
    arguments = ("-n", "auto", "-q", "--no-header", *(str(ROOT / test) for test in tests))
    pytest.main([*arguments], plugins=[results])

    documents: dict[str, list[str]] = defaultdict(list)
    for rule, text in known.items():
        claimed = shown_by.get(rule, [])
        passed = [test for test in claimed if test in results.ran and test not in results.failed]
        state = "passed" if claimed and passed == claimed else "FAILED" if claimed else "NO TEST"
        if state != "passed":
            red.append(f"{rule}: {state.lower()}")
        documents[rule.rpartition(".")[0]].append(f"{state:8} {rule:20} {text}")
        documents[rule.rpartition(".")[0]].extend(
            f"{'':8} {'':20}   {'' if test in passed else 'FAILED '}{test}" for test in claimed
        )
    for lines in documents.values():
        print("\n".join(lines), end="\n\n")
    print(f"{len(known)} rules, {len(tests)} tests, {len(red)} red.")

    for guard in GUARDS if guards else ():
        green = stays_green(guard, shown_by[guard.rule])
        print(f"{'GREEN' if green else 'red':8} {guard.rule:20} without {guard.name}", flush=True)
        if green:
            red.append(f"{guard.rule} stays green without {guard.name}")
    for line in red:
        print(line, file=sys.stderr)
    return len(red)


if __name__ == "__main__":
    sys.exit(1 if main() else 0)
