"""Run every check, also after a failure: `.venv/bin/python scripts/check.py`, which `make check` calls."""

import argparse
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
BIN = Path(sys.prefix) / "bin"

# deptry's second round: nothing is left out, and what tests import counts as used.
EVERYTHING = (
    *("--exclude", r"\.venv|\.git|node_modules|instance", "--extend-exclude", r"\.venv-(bench|mutants)"),
    *("--non-dev-dependency-groups", "dev,bench", "--known-first-party", "bootstrap"),
)

QUICK = {
    "lint": ("-m", "ruff", "check"),
    "format": ("-m", "ruff", "format", "--check"),
    "import contracts": (str(BIN / "lint-imports"),),
    "template format": ("-m", "djlint", "--check", "templates"),
    "template lint": ("-m", "djlint", "--lint", "templates"),
}
SLOW = {
    "types": ("-m", "mypy"),
    "dependencies of what runs": (str(BIN / "deptry"), "."),
    "dependencies of tests, scripts and benchmarks": (str(BIN / "deptry"), ".", *EVERYTHING),
    "licences": ("-m", "scripts.licences", "--quiet"),
    "migrations equal models": ("scripts/check_migrations.py",),
    "migrations block no writer on PostgreSQL": ("-m", "scripts.check_online"),
}
CHECKS = QUICK | SLOW


def passes(name: str, arguments: tuple[str, ...]) -> bool:
    """Run one check under its name and return whether it passed."""
    print(f"── {name}", flush=True)
    return subprocess.run([sys.executable, *arguments], cwd=ROOT, check=False).returncode == 0


def main() -> None:
    """Run the checks; exit 1 with the names of those that failed."""
    parser = argparse.ArgumentParser(description=__doc__, allow_abbrev=False)
    parser.add_argument("--quick", action="store_true", help="only the checks that take a few seconds")
    checks = QUICK if parser.parse_args().quick else CHECKS
    failed = [name for name, arguments in checks.items() if not passes(name, arguments)]
    if failed:
        sys.exit(f"Failed: {', '.join(failed)}.")
    print("All checks passed.")


if __name__ == "__main__":
    main()
