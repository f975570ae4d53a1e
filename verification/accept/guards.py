"""The guards that can be removed, each with a test of its rule that has to fail without it.

guards.toml lists them. A guard is removed in a copy of the project: in the code, where one text takes the
place of another, or in the database, by a last migration that drops what an engine has.
"""

import os
import re
import shutil
import subprocess
import sys
import tempfile
import tomllib
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path

from testkit.postgres import bin_directory
from verification.accept.rules import ROOT

_LIST = Path(__file__).with_name("guards.toml")
_VERSIONS = ROOT / "migrations" / "versions"
_NOT_COPIED = (".git", ".venv*", "node_modules", "instance", "docs", ".*_cache")
_MAX_SECONDS = 300
_FAILED = re.compile(r"^\d+ failed", re.MULTILINE)
_WHY = re.compile(r"^E +(.+)$", re.MULTILINE)
_DROPPING = '''"""Review: removes a guard."""
from alembic import op

revision, down_revision, branch_labels, depends_on = "9999_removal", "{head}", None, None


def upgrade() -> None:
    for statement in {statements}.get(op.get_context().dialect.name, ()):
        op.execute(statement)
'''


@dataclass(frozen=True, slots=True, kw_only=True)
class Guard:
    """A guard, the rule that needs it, the test that shows it, and what removes it.

    Either `text` of `file` gives way to `without`, or the statements for each engine drop it.
    """

    name: str
    rule: str
    test: str
    file: str = ""
    text: str = ""
    without: str = ""
    sqlite: Sequence[str] = ()
    postgresql: Sequence[str] = ()

    @property
    def function(self) -> str:
        """Return the test without its case."""
        return self.test.partition("[")[0]


class NotRemoved(Exception):
    """A guard's text is not in its file exactly once, or its test did not run without it."""


@cache
def guards() -> tuple[Guard, ...]:
    """Return every guard."""
    return tuple(Guard(**item) for item in tomllib.loads(_LIST.read_text())["guard"])


def removal(guard: Guard) -> tuple[str, str]:
    """Return the file that removes a guard, and its content. Raises NotRemoved."""
    if not guard.file:
        head = max(path.stem for path in _VERSIONS.glob("[0-9]*.py"))
        statements = {"sqlite": guard.sqlite, "postgresql": guard.postgresql}
        return "migrations/versions/9999_removal.py", _DROPPING.format(head=head, statements=statements)
    content = (ROOT / guard.file).read_text()
    if content.count(guard.text) != 1:
        raise NotRemoved(f"{guard.file} has {content.count(guard.text)} times {guard.text!r}")
    return guard.file, content.replace(guard.text, guard.without)


def failure_without(guard: Guard) -> str | None:
    """Run the guard's test in a copy of the project without it; return why it fails, None where it passes.

    Raises NotRemoved where the test could not run.
    """
    file, content = removal(guard)
    with tempfile.TemporaryDirectory() as directory:
        copy = Path(directory) / "console"
        shutil.copytree(ROOT, copy, ignore=shutil.ignore_patterns(*_NOT_COPIED))
        (copy / file).write_text(content)
        command = (sys.executable, "-m", "pytest", "-q", "-x", "-n0", "--no-header", guard.test)
        environment = {**os.environ, "PG_BIN": str(bin_directory())}
        done = subprocess.run(
            command,
            cwd=copy,
            env=environment,
            capture_output=True,
            text=True,
            check=False,
            timeout=_MAX_SECONDS,
        )
    if done.returncode == 0:
        return None
    if not _FAILED.search(done.stdout):
        raise NotRemoved(f"the test did not run: {_WHY.findall(done.stdout)[-1:] or done.stderr}")
    why = _WHY.search(done.stdout)
    return why[1] if why else "failed"
