"""Make the lock files again from pyproject.toml and package.json: `python3 scripts/lock.py [--upgrade]`.

What is locked stays as it is where it still fits; --upgrade takes the newest Python packages instead.
"""

import sys
import tempfile
import venv
from pathlib import Path

from bootstrap import (
    BENCH_LOCK,
    DEV_LOCK,
    HA_LOCK,
    MUTANTS_LOCK,
    ROOT,
    RUN_LOCK,
    VENV,
    exclusive,
    npm,
    plain_failures,
    prepare_venv,
    run,
    say,
)


def install_uv(directory: Path) -> Path:
    """Install uv into a virtual environment of its own and return its path."""
    venv.create(directory, with_pip=True)
    pip = (directory / "bin" / "python", "-m", "pip", "--disable-pip-version-check")
    run(*pip, "install", "--quiet", "uv", failure="uv was not installed; pip's message is above.")
    return directory / "bin" / "uv"


def lock_python(uv: Path, lock: Path, *options: str | Path, source: str | Path = "pyproject.toml") -> None:
    """Write one lock file: every package with its version and hashes, for each Python from 3.11 on."""
    run(
        *(uv, "pip", "compile", source, "--universal", "--python-version", "3.11"),
        *("--generate-hashes", "--no-header", "--output-file", lock.relative_to(ROOT), *options),
        failure=f"{lock.name} was not made; uv's message is above.",
    )


def lock_front_end() -> None:
    """Write package-lock.json: versions and hashes, no registry's address."""
    run(
        *(*npm(), "install", "--package-lock-only", "--ignore-scripts", "--omit-lockfile-registry-resolved"),
        failure="package-lock.json was not made; npm's message is above.",
    )


def main() -> None:
    """Make the lock files."""
    options = sys.argv[1:]
    with exclusive(), tempfile.TemporaryDirectory() as directory:
        say(f"Locking the Python packages: {RUN_LOCK.name}, {DEV_LOCK.name}, {BENCH_LOCK.name}.")
        uv = install_uv(Path(directory))
        lock_python(uv, RUN_LOCK, *options)
        lock_python(uv, DEV_LOCK, *options, "--group", "dev", "--constraint", RUN_LOCK.name)
        lock_python(uv, BENCH_LOCK, *options, "--group", "bench", "--constraint", DEV_LOCK.name)
        for lock in (HA_LOCK, MUTANTS_LOCK):
            lock_python(uv, lock, *options, source=lock.with_suffix(".in").relative_to(ROOT))
        prepare_venv(VENV, DEV_LOCK)
        say("Locking the front-end packages: package-lock.json.")
        lock_front_end()


if __name__ == "__main__":
    with plain_failures():
        main()
