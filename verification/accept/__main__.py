"""Run the tests that show the rules of docs/design and print each rule with its tests and their results.

Fails if a rule has no test, if a test claims what is no rule, or if a test fails. With --guards it also
removes each guard in a copy of the project, and fails unless its rule's own line turns red.
"""

import argparse
import os
import sys
import time
from collections import defaultdict
from concurrent.futures import ThreadPoolExecutor

import pytest

from testkit.postgres import bin_directory
from verification.accept.guards import Guard, NotRemoved, failure_without, guards
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

    def of(self, test: str) -> str:
        """Return what came of a test."""
        return "FAILED" if test in self.failed else "passed" if test in self.ran else "NOT RUN"


def main() -> int:
    """Print the table; return the number of red lines."""
    parser = argparse.ArgumentParser(prog="make accept", description=__doc__, allow_abbrev=False)
    parser.add_argument(
        "--guards", nargs="?", const="", metavar="TEXT", help="also remove each guard (with TEXT in its name)"
    )
    chosen = parser.parse_args().guards
    red = _check_rules()
    if chosen is not None:
        red += _check_guards([guard for guard in guards() if chosen in guard.name])
    for line in red:
        print(line, file=sys.stderr)
    return len(red)


def _check_rules() -> list[str]:
    """Run every test that shows a rule, and print the rules; return what is red."""
    known, shown_by = rules(), evidence()
    red = [
        f"{test} claims {rule or 'nothing'}, which is no rule"
        for rule in shown_by.keys() - known
        for test in shown_by[rule]
    ]
    tests = sorted({test for rule in shown_by.keys() & known for test in shown_by[rule]})
    results, started = Results(), time.monotonic()
    pytest.main(["-n", "auto", "-q", "--no-header", *(str(ROOT / test) for test in tests)], plugins=[results])

    documents: dict[str, list[str]] = defaultdict(list)
    for rule, text in known.items():
        told = [(results.of(test), test) for test in shown_by.get(rule, [])]
        state = "NO TEST" if not told else "passed" if {"passed"} == {came for came, _ in told} else "FAILED"
        if state != "passed":
            red.append(f"{rule}: {state.lower()}")
        lines = [f"{state:8} {rule:20} {text}", *(f"{'':29}   {came:8} {test}" for came, test in told)]
        documents[rule.rpartition(".")[0]] += lines
    for lines in documents.values():
        print("\n".join(lines), end="\n\n")
    seconds = time.monotonic() - started
    print(f"{len(known)} rules, {len(tests)} tests, {len(red)} red, {seconds:.0f} seconds.", flush=True)
    return red


def _check_guards(chosen: list[Guard]) -> list[str]:
    """Remove each guard by itself, and print whether its rule's line turned red; return those that didn't."""
    red, started = [], time.monotonic()
    bin_directory()  # found once for all
    with ThreadPoolExecutor(os.cpu_count()) as pool:
        for guard, (state, why) in zip(chosen, pool.map(_without, chosen), strict=True):
            print(f"{state:8} {guard.rule:20} without {guard.name}: {why}", flush=True)
            if state != "red":
                red.append(f"{guard.rule} stays {state.lower()} without {guard.name}")
    seconds = time.monotonic() - started
    print(f"{len(chosen)} guards, {len(chosen) - len(red)} turn their line red, {seconds:.0f} seconds.")
    return red


def _without(guard: Guard) -> tuple[str, str]:
    try:
        why = failure_without(guard)
    except NotRemoved as error:
        return "UNKNOWN", str(error)
    return ("red", why) if why else ("GREEN", guard.test)


if __name__ == "__main__":
    sys.exit(1 if main() else 0)
