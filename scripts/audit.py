"""Ask what is known against what is locked: `python scripts/audit.py [LOCK…]`, what `make audit` does.

Known holes come from pip-audit and npm audit, withdrawn versions from pip; each finds its address by itself.
Exits 1 where something is known and also where nobody answered: silence is no all-clear.
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

from bootstrap import BENCH_LOCK, DEV_LOCK, NODE_LOCKS, ROOT, RUN_LOCK, npm, plain_failures

LOCKS = (RUN_LOCK, DEV_LOCK, BENCH_LOCK, ROOT / "verification" / "ha" / "requirements.txt", NODE_LOCKS[1])
# The next one is asked for what the one before it had no answer to.
SERVICES = ("pypi", "osv")
PIN = re.compile(r"^([\w.-]+)(?:\[[\w,-]+\])?==([^\s;\\]+)", re.MULTILINE)


class Outcome(NamedTuple):
    """What one question brought: what is known against which package, and why which has no answer."""

    known: dict[str, str]
    unanswered: dict[str, str]


def pins(locks: Iterable[Path]) -> list[str]:
    """Return what the lock files pin, as `name==version`, for every platform and Python."""
    return sorted({f"{name}=={version}" for lock in locks for name, version in PIN.findall(lock.read_text())})


def installed() -> list[str]:
    """Return everything that is installed beside this script, as `name==version`, locked or not."""
    return sorted(f"{canonical(one.name)}=={one.version}" for one in distributions())


def sheets(pinned: Iterable[str]) -> list[list[str]]:
    """Deal the pins out so that no sheet has one package in two versions, which pip-audit refuses."""
    by_name = [list(group) for _, group in itertools.groupby(pinned, lambda pin: pin.partition("==")[0])]
    return [[pin for pin in row if pin] for row in itertools.zip_longest(*by_name)]


def python_holes(pinned: list[str], services: Iterable[str]) -> Outcome:
    """Ask each service in turn for known holes."""
    known: dict[str, str] = {}
    unanswered = dict.fromkeys(pinned, "")
    for service in services:
        before, unanswered = unanswered, {}
        for answer in [ask(service, sheet) for sheet in sheets(before)]:
            known |= answer.known
            unanswered |= {
                pin: f"{before[pin]}\n  {service}: {why}" for pin, why in answer.unanswered.items()
            }
    return Outcome(known, unanswered)


def ask(service: str, pinned: list[str]) -> Outcome:
    """Ask one service through pip-audit."""
    with tempfile.NamedTemporaryFile("w", suffix=".txt") as sheet:
        sheet.write("\n".join(pinned))
        sheet.flush()
        done = run(
            *(sys.executable, "-m", "pip_audit", "--vulnerability-service", service, "--format", "json"),
            *("--progress-spinner", "off", "--no-deps", "--disable-pip", "--requirement", sheet.name),
        )
    try:
        return read_answer(pinned, json.loads(done.stdout)["dependencies"])
    except ValueError:
        return Outcome({}, dict.fromkeys(pinned, last_line(done)))


def read_answer(pinned: Iterable[str], packages: Iterable[dict[str, Any]]) -> Outcome:
    """Sort what pip-audit says of each package: it takes one that the service doesn't know for harmless."""
    pin_of = {canonical(pin.partition("==")[0]): pin for pin in pinned}
    known = {}
    unanswered = dict.fromkeys(pin_of.values(), "it was left out of the answer")
    for package in packages:
        pin = pin_of[canonical(package["name"])]
        if "skip_reason" in package:
            unanswered[pin] = package["skip_reason"]
            continue
        del unanswered[pin]
        if package["vulns"]:
            known[pin] = ", ".join(map(describe, package["vulns"]))
    return Outcome(known, unanswered)


def describe(hole: dict[str, Any]) -> str:
    """Say which hole it is and what mends it."""
    mended = " or ".join(hole["fix_versions"])
    return f"{hole['id']} (mended in {mended})" if mended else f"{hole['id']} (not mended yet)"


def withdrawn(locks: Iterable[Path]) -> Outcome:
    """Ask the index that pip uses which versions their authors have withdrawn, of those for this platform."""
    known: dict[str, str] = {}
    unanswered = {}
    for lock in locks:
        done = run(
            *(sys.executable, "-m", "pip", "install", "--dry-run", "--ignore-installed", "--no-deps"),
            *("--no-input", "--quiet", "--require-hashes", "--report", "-", "--requirement", str(lock)),
        )
        try:
            packages = json.loads(done.stdout)["install"]
        except ValueError:
            unanswered[lock.name] = last_line(done)
            continue
        told = (one["metadata"] for one in packages if one["is_yanked"])
        known |= {f"{canonical(one['name'])}=={one['version']}": "withdrawn by its author" for one in told}
    return Outcome(known, unanswered)


def npm_holes(lock: Path) -> Outcome:
    """Ask the npm registry for known holes."""
    done = run(*map(str, npm()), "audit", "--package-lock-only", "--json", cwd=lock.parent)
    answer = json.loads(done.stdout) if done.stdout.startswith("{") else {}
    if "vulnerabilities" not in answer:
        return Outcome({}, {lock.name: answer.get("message") or last_line(done)})
    known = {}
    for name, hole in answer["vulnerabilities"].items():
        causes = (cause["title"] if isinstance(cause, dict) else f"through {cause}" for cause in hole["via"])
        known[name] = "; ".join(causes)
    return Outcome(known, {})


def run(*command: str, cwd: Path = ROOT) -> subprocess.CompletedProcess[str]:
    """Run a tool and keep what it says."""
    return subprocess.run(command, cwd=cwd, capture_output=True, text=True, check=False)


def last_line(done: subprocess.CompletedProcess[str]) -> str:
    """Return a tool's last word."""
    return (done.stderr.strip() or done.stdout.strip() or f"status {done.returncode}").splitlines()[-1]


def canonical(name: str) -> str:
    """Spell a package's name as the index does."""
    return re.sub(r"[-_.]+", "-", name).lower()


def report(question: str, outcome: Outcome) -> bool:
    """Print what one question brought; return whether it was answered and nothing is known."""
    print(f"── {question}", flush=True)
    for package, text in sorted(outcome.known.items()):
        print(f"{package}: {text}")
    if outcome.unanswered:
        first, why = next(iter(outcome.unanswered.items()))
        others = f" and {len(outcome.unanswered) - 1} more" if len(outcome.unanswered) > 1 else ""
        print(f"No answer for {first}{others}: {why}")
    elif not outcome.known:
        print("Nothing is known.")
    return not (outcome.known or outcome.unanswered)


def main() -> None:
    """Ask everything; exit 1 unless all of it was answered and nothing is known."""
    parser = argparse.ArgumentParser(description=__doc__, allow_abbrev=False)
    parser.add_argument("lock", nargs="*", type=Path, default=LOCKS, help="lock files, all by default")
    parser.add_argument("--service", action="append", choices=SERVICES, help="ask only this one")
    arguments = parser.parse_args()
    node = [lock for lock in arguments.lock if lock.suffix == ".json"]
    python = [lock for lock in arguments.lock if lock not in node]
    # Everything that runs is locked for development as well.
    platforms = [lock for lock in python if not (lock == RUN_LOCK and DEV_LOCK in python)]
    pinned = pins(python)
    if arguments.lock is LOCKS:
        pinned = sorted({*pinned, *installed()})
    holes = python_holes(pinned, arguments.service or SERVICES)
    clear = [
        report(f"known holes, {len(pinned)} Python versions", holes),
        report("withdrawn Python versions", withdrawn(platforms)),
        *(report(f"known holes, {lock.name}", npm_holes(lock)) for lock in node),
    ]
    if not all(clear):
        sys.exit("Not clear: something is known, or somebody did not answer.")
    print("Clear: nothing is known against what is locked.")


if __name__ == "__main__":
    with plain_failures():
        main()
