"""List every package's licence, and fail on one that isn't allowed: `-m scripts.licences`, `make licences`.

What runs is permissive, or its copyleft ends at its own files (MPL) or is met by being loaded (LGPL). A tool
that is never handed on may be under the GPL as well. Needs no network.
"""

import json
import re
import subprocess
import sys
from pathlib import Path
from typing import NamedTuple

ROOT = Path(__file__).resolve().parent.parent

ALLOWED = {
    *("0BSD", "Apache-2.0", "BSD-0-Clause", "BSD-2-Clause", "BSD-3-Clause", "CNRI-Python", "ISC"),
    *("LGPL-3.0-only", "MIT", "MIT-0", "MIT-CMU", "MPL-2.0", "PSF-2.0"),
    *("Apache Software License", "BSD License", "MIT License", "Python Software Foundation License"),
    "Mozilla Public License 2.0 (MPL 2.0)",
}
ALLOWED_FOR_TOOLS = ALLOWED | {"GPL-3.0", "GPL-3.0-or-later"}
# Their metadata name no licence; this is what the licence file inside says.
READ_BY_HAND = {"atheris": "Apache-2.0", "axe-playwright-python": "MIT"}
NAME = re.compile(r"^([\w.-]+)(?:\[[\w,-]+\])?==", re.MULTILINE)


class Package(NamedTuple):
    """A package, its licence, and whether the console runs on it or is only made with it."""

    name: str
    version: str
    licence: str
    runs: bool


def allowed(licence: str, *, runs: bool) -> bool:
    """Return whether a licence will do: one of those that OR offers, all of those that AND or ; adds up."""
    known = ALLOWED if runs else ALLOWED_FOR_TOOLS
    parts = re.split(r"\s+AND\s+|;", licence)
    return all(any(choice.strip() in known for choice in re.split(r"\s+OR\s+", part)) for part in parts)


def python_packages() -> list[Package]:
    """Return what of the development lock is installed here; what only other platforms need isn't."""
    command = (sys.executable, "-m", "piplicenses", "--from=mixed", "--format=json", "--with-system")
    told = json.loads(subprocess.run(command, capture_output=True, text=True, check=True).stdout)
    running, locked = _names("requirements.txt"), _names("requirements-dev.txt")
    packages = []
    for it in told:
        name = _canonical(it["Name"])
        licence = READ_BY_HAND.get(name, it["License"])
        packages.append(Package(name, it["Version"], licence, name in running))
    return [package for package in packages if package.name in locked]


def node_packages() -> list[Package]:
    """Return what package-lock.json holds."""
    locked = json.loads((ROOT / "package-lock.json").read_text())["packages"]
    return [
        Package(path.rpartition("node_modules/")[2], it["version"], it["license"], "dev" not in it)
        for path, it in locked.items()
        if path
    ]


def _names(lock: str) -> set[str]:
    return set(map(_canonical, NAME.findall((ROOT / lock).read_text())))


def _canonical(name: str) -> str:
    return re.sub(r"[-_.]+", "-", name).lower()


def main() -> None:
    """Print a line for each package, unless --quiet; exit 1 with those that aren't allowed."""
    packages = sorted(python_packages()) + sorted(node_packages())
    for name, version, licence, runs in packages if "--quiet" not in sys.argv else ():
        print(f"{name:28} {version:18} {licence:38} {'runs' if runs else 'tool'}")
    refused = [package.name for package in packages if not allowed(package.licence, runs=package.runs)]
    if refused:
        sys.exit(f"Not an allowed licence (scripts/licences.py): {', '.join(refused)}.")


if __name__ == "__main__":
    main()
