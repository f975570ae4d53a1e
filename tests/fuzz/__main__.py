"""Fuzz each target for a while: `python -m tests.fuzz [--seconds=60] [--target=payloads]`."""

import argparse
import subprocess
import sys
import tempfile
from pathlib import Path

from tests.fuzz.targets import CORPUS, TARGETS, seeds

LONGEST_INPUT = {"identifiers": 200, "payloads": 4000}


def main() -> None:
    """Fuzz one target here, or each in a process of its own: libFuzzer ends its process."""
    parser = argparse.ArgumentParser(prog="python -m tests.fuzz", description=__doc__)
    parser.add_argument("--seconds", type=int, default=60, help="for each target (60)")
    parser.add_argument("--runs", type=int, default=-1, help="inputs at most, for each target (any number)")
    parser.add_argument("--target", choices=list(TARGETS), help="this one alone")
    options = parser.parse_args()
    if options.target:
        fuzz(options.target, seconds=options.seconds, runs=options.runs)
        return
    for name in TARGETS:
        print(f"── {name}", flush=True)
        again = [sys.executable, "-m", "tests.fuzz", *sys.argv[1:], f"--target={name}"]
        if subprocess.run(again, check=False).returncode:
            sys.exit(f"{name}: what fails is in {CORPUS / name}, and fails in the suite until it is mended.")


def fuzz(name: str, *, seconds: int, runs: int) -> None:
    """Fuzz one target, beginning with its seeds; what fails is put into the corpus."""
    try:
        import atheris
    except ImportError:
        sys.exit("Fuzzing takes atheris, which there is for Linux and Python up to 3.13.")
    atheris.enabled_hooks.add("RegEx")
    ...
