"""Check the locked packages for known vulnerabilities: `python scripts/audit.py [LOCK…]`, `make audit`.

pip-audit and npm audit know the vulnerabilities, pip knows withdrawn versions; each finds its address itself.
Exits 1 if something is known, and if a question has no answer.
"""

import argparse
import itertools
import json
import re
import subprocess
import sys
import tempfile
from collections.abc import Iterable
from importlib.metadata import distributions
from pathlib import Path
from typing import Any, NamedTuple

from bootstrap import (
    BENCH_LOCK,
    DEV_LOCK,
    HA_LOCK,
    MUTANTS_LOCK,
    NODE_LOCKS,
    ROOT,
    RUN_LOCK,
    npm,
    plain_failures,
)

LOCKS = (RUN_LOCK, DEV_LOCK, BENCH_LOCK, HA_LOCK, MUTANTS_LOCK, NODE_LOCKS[1])
# Each is asked where the one before had no answer.
SERVICES = ("pypi", "osv")
PIN = re.compile(r"^([\w.-]+)(?:\[[\w,-]+\])?==([^\s;\\]+)", re.MULTILINE)


class Outcome(NamedTuple):
    """What one question found: what is known against which package, and why something has no answer."""

    known: dict[str, str]
    unanswered: list[str]


def pins(locks: Iterable[Path]) -> list[str]:
    """Return what the lock files pin, as `name==version`, for every platform and Python."""
    return sorted({f"{name}=={version}" for lock in locks for name, version in PIN.findall(lock.read_text())})


def installed() -> list[str]:
    """Return everything that is installed beside this script, as `name==version`, locked or not."""
    return sorted(f"{canonical(it.name)}=={it.version}" for it in distributions())


def sheets(pinned: Iterable[str]) -> list[list[str]]:
    """Deal the pins out: pip-audit refuses a sheet that has one package in two versions."""
    by_name = [list(group) for _, group in itertools.groupby(pinned, lambda pin: pin.partition("==")[0])]
    return [[pin for pin in row if pin] for row in itertools.zip_longest(*by_name)]


def python_holes(pinned: list[str], services: Iterable[str]) -> Outcome:
    """Ask for known vulnerabilities; each sheet asks the services in turn, until one knows all of it."""
    known: dict[str, str] = {}
    unanswered = []
    for sheet in sheets(pinned):
        silent = []
        for service in services:
            done = pip_audit(service, sheet)
            if done.stdout:
                packages = json.loads(done.stdout)["dependencies"]
                known |= {
                    f"{canonical(package['name'])}=={package['version']}": ", ".join(
                        map(describe, package["vulns"])
                    )
                    for package in packages
                    if package["vulns"]
                }
                break
            silent.append(f"{service}: {last_line(done)}")
        else:
            unanswered.append(f"{len(sheet)} Python packages: {'; '.join(silent)}")
    return Outcome(known, unanswered)


def pip_audit(service: str, pinned: list[str]) -> subprocess.CompletedProcess[str]:
    """Ask one service through pip-audit, which prints nothing on stdout unless it knows every package."""
    with tempfile.NamedTemporaryFile("w", suffix=".txt") as sheet:
        sheet.write("\n".join(pinned))
        sheet.flush()
        return run(
            *(sys.executable, "-m", "pip_audit", "--strict", "--vulnerability-service", service),
            *("--format", "json", "--progress-spinner", "off"),
            *("--no-deps", "--disable-pip", "--requirement", sheet.name),
        )


def describe(vulnerability: dict[str, Any]) -> str:
    """Say which vulnerability it is and what fixes it."""
    fixed = " or ".join(vulnerability["fix_versions"])
    return f"{vulnerability['id']} (fixed in {fixed})" if fixed else f"{vulnerability['id']} (not fixed yet)"


def withdrawn(locks: Iterable[Path]) -> Outcome:
    """Ask pip's index which versions were withdrawn by their authors, of those for this platform."""
    known: dict[str, str] = {}
    unanswered = []
    for lock in locks:
        done = run(
            *(sys.executable, "-m", "pip", "install", "--dry-run", "--ignore-installed", "--no-deps"),
            *("--no-input", "--quiet", "--require-hashes", "--report", "-", "--requirement", str(lock)),
        )
        try:
            packages = json.loads(done.stdout)["install"]
        except ValueError:
            unanswered.append(f"{lock.name}: {last_line(done)}")
            continue
        yanked = (package["metadata"] for package in packages if package["is_yanked"])
        known |= {f"{canonical(it['name'])}=={it['version']}": "withdrawn by its author" for it in yanked}
    return Outcome(known, unanswered)


def npm_holes(lock: Path) -> Outcome:
    """Ask the npm registry for known vulnerabilities."""
    done = run(*map(str, npm()), "audit", "--package-lock-only", "--json", cwd=lock.parent)
    answer = json.loads(done.stdout) if done.stdout.startswith("{") else {}
    if "vulnerabilities" not in answer:
        return Outcome({}, [f"{lock.name}: {answer.get('message') or last_line(done)}"])
    known = {}
    for name, found in answer["vulnerabilities"].items():
        causes = (cause["title"] if isinstance(cause, dict) else f"through {cause}" for cause in found["via"])
        known[name] = "; ".join(causes)
    return Outcome(known, [])


def run(*command: str, cwd: Path = ROOT) -> subprocess.CompletedProcess[str]:
    """Run a tool and keep what it says."""
    return subprocess.run(command, cwd=cwd, capture_output=True, text=True, check=False)


def last_line(done: subprocess.CompletedProcess[str]) -> str:
    """Return the last line that a tool printed."""
    return (done.stderr.strip() or done.stdout.strip() or f"status {done.returncode}").splitlines()[-1]


def canonical(name: str) -> str:
    """Spell a package's name as the index does."""
    return re.sub(r"[-_.]+", "-", name).lower()


def report(question: str, outcome: Outcome) -> Outcome:
    """Print what one question brought, and return it."""
    print(f"── {question}", flush=True)
    for package, text in sorted(outcome.known.items()):
        print(f"{package}: {text}")
    for why in outcome.unanswered:
        print(f"No answer for {why}")
    if not (outcome.known or outcome.unanswered):
        print("Nothing is known.")
    return outcome


def main() -> None:
    """Ask everything; exit 1 unless all of it was answered and nothing is known."""
    parser = argparse.ArgumentParser(description=__doc__, allow_abbrev=False)
    parser.add_argument("lock", nargs="*", type=Path, default=LOCKS, help="lock files, all by default")
    parser.add_argument("--service", action="append", choices=SERVICES, help="ask only this one")
    arguments = parser.parse_args()
    node = [lock for lock in arguments.lock if lock.suffix == ".json"]
    python = [lock for lock in arguments.lock if lock not in node]
    # The development lock holds everything that runs.
    platforms = [lock for lock in python if not (lock == RUN_LOCK and DEV_LOCK in python)]
    pinned = pins(python)
    if arguments.lock is LOCKS:
        pinned = sorted({*pinned, *installed()})
    holes = python_holes(pinned, arguments.service or SERVICES)
    outcomes = [
        report(f"known vulnerabilities, {len(pinned)} Python packages", holes),
        report("withdrawn Python packages", withdrawn(platforms)),
        *(report(f"known vulnerabilities, {lock.name}", npm_holes(lock)) for lock in node),
    ]
    if any(outcome.known for outcome in outcomes):
        sys.exit("Not clear: something is known.")
    if silent := sum(bool(outcome.unanswered) for outcome in outcomes):
        sys.exit(f"Not clear: {silent} of {len(outcomes)} questions got no answer. Asking takes the network.")
    print("Clear: no known vulnerability, nothing withdrawn.")


if __name__ == "__main__":
    with plain_failures():
        main()
