"""Fuzz each target for a while, from the corpus on, and keep what is new: `make fuzz`."""

import argparse
import subprocess
import sys
import tempfile
from collections.abc import Iterable
from pathlib import Path

from verification.fuzz import corpus

_MAX_LENGTH = {"identifiers": 300, "payloads": 4000}


def main() -> None:
    """Fuzz one target after the other; fail where an input fails."""
    parser = argparse.ArgumentParser(prog="make fuzz", description=__doc__, allow_abbrev=False)
    parser.add_argument("--seconds", type=int, default=60, help="for each target, 60 if not said")
    parser.add_argument("--target", choices=list(_MAX_LENGTH), help="this one alone")
    options = parser.parse_args()
    chosen = [options.target] if options.target else list(_MAX_LENGTH)
    failing = [name for name in chosen if not fuzz(name, options.seconds)]
    if failing:
        sys.exit(f"What fails is kept in the corpus, and fails in the suite until it is fixed: {failing}.")


def fuzz(target: str, seconds: int) -> bool:
    """Fuzz one target and keep the least that reaches as far; return whether everything held."""
    with tempfile.TemporaryDirectory() as directory:
        found, least, failed = (Path(directory) / name for name in ("found", "least", "failed"))
        for each in (found, least, failed):
            each.mkdir()
        file = corpus.path(target)
        before = corpus.read(file)
        _unpack(before, found)
        _say(f"{target}: {len(before)} inputs kept so far")
        held = _run(target, f"-max_total_time={seconds}", f"-artifact_prefix={failed}/", found)
        if not held:
            corpus.keep(file, [*before, *_inputs(failed)])
            return False
        _run(target, "-merge=1", least, found)
        kept = _inputs(least)
        corpus.keep(file, kept)
        _say(f"{target}: everything held, {len(kept)} inputs kept")
    return True


def _say(message: str) -> None:
    sys.stdout.write(f"── {message}\n")
    sys.stdout.flush()


def _run(target: str, *options: str | Path) -> bool:
    command = (
        sys.executable,
        "-m",
        "verification.fuzz.run",
        target,
        f"-max_len={_MAX_LENGTH[target]}",
        *options,
    )
    return subprocess.run(list(map(str, command)), check=False).returncode == 0


def _unpack(inputs: Iterable[bytes], directory: Path) -> None:
    for number, raw in enumerate(inputs):
        (directory / f"{number:05}").write_bytes(raw)


def _inputs(directory: Path) -> list[bytes]:
    return [path.read_bytes() for path in sorted(directory.iterdir())]


if __name__ == "__main__":
    main()
