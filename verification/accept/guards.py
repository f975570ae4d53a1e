"""The guards that can be removed, each with the rule whose tests have to turn red without it.

A guard is removed in a copy of the project: each text of `removed` is replaced by the one beside it.
"""

import shutil
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from verification.accept.rules import ROOT

SERVICE = "console/linking/service.py"
STATE = "console/linking/state.py"
ROLES = "console/operations/roles.toml"
POSITIONS = "migrations/versions/0008_audit_positions.py"
TENANTS = ("conversations", "messages", "customers", "audit_events", "link_operations")


@dataclass(frozen=True)
class Guard:
    """A guard, the rule that needs it, and what takes it out: file, text, replacement."""

    name: str
    rule: str
    removed: tuple[tuple[str, str, str], ...]


def _guard(name: str, rule: str, *removed: tuple[str, str, str]) -> Guard:
    return Guard(name, rule, removed)


def _tables(*tables: str) -> str:
    return f"tenants_tables = [{', '.join(repr(table) for table in tables)}]".replace("'", '"')


GUARDS = (
    _guard(
        "the operator's role",
        "CM-2.3.1",
        (SERVICE, "if Permission.LINKS_WRITE not in GRANTS[Role(state.role)]:", "if False:"),
    ),
    _guard(
        "the conversation's ownership",
        "CM-2.3.1",
        (
            STATE,
            "Membership.instructor_id == Conversation.instructor_id)",
            "Membership.user_id.is_not(None))",
        ),
    ),
    _guard(
        "the customer's ownership in the service",
        "T4.2",
        (STATE, "            Customer.instructor_id == Conversation.instructor_id,\n", ""),
        (STATE, "            Customer.channel == Conversation.channel,\n", ""),
    ),
    _guard(
        "the composite foreign key",
        "CM-2.3.2",
        (
            "migrations/versions/0003_conversation_link.py",
            'FOREIGN_KEY, "customers", ["instructor_id", "customer_id"], ["instructor_id", "id"]',
            'FOREIGN_KEY, "instructors", ["instructor_id"], ["id"]',
        ),
    ),
    _guard(
        "SQLite's trigger on links",
        "CM-2.2.19",
        ("migrations/versions/0007_link_guard.py", "RAISE(ABORT", "coalesce(1"),
    ),
    _guard(
        "the compare-and-set",
        "CM-2.3.4",
        (SERVICE, "if state.link_version != request.seen_version:", "if False:"),
        (SERVICE, '        Conversation.link_version == bindparam("seen_version"),\n', ""),
        (SERVICE, '        "seen_version": event.sequence - 1,\n', ""),
    ),
    _guard(
        "the confirmation",
        "CM-2.3.5",
        (SERVICE, "if state.customer_id and not request.confirmed:", "if False:"),
    ),
    _guard("the reason", "CM-2.3.3", (SERVICE, "if reason_fault(request.reason):", "if False:")),
    _guard(
        "the digest of an operation id",
        "CM-2.3.8",
        (SERVICE, '{"operation_id": request.operation_id}) != request.digest:', '{"operation_id": None}):'),
    ),
    _guard(
        "the savepoint around the event",
        "CM-2.5.3",
        (
            "console/linking/audit.py",
            "        with savepoint(connection, wait_ms=MAX_WAIT_MS):\n",
            "        if connection:\n",
        ),
    ),
    _guard(
        "the unique key of customers",
        "Review.T1.2",
        (
            "migrations/versions/0002_customers.py",
            '            "normalized_identifier",\n            name=',
            '            "normalized_identifier",\n            "id",\n            name=',
        ),
    ),
    _guard(
        "SQLite's refusal of updates to the trail",
        "CM-2.5.5",
        (
            POSITIONS,
            "BEFORE UPDATE ON audit_events\n    BEGIN SELECT RAISE(ABORT,",
            "BEFORE UPDATE ON audit_events\n    BEGIN SELECT coalesce(1,",
        ),
    ),
    _guard(
        "PostgreSQL's refusal of updates to the trail",
        "CM-2.5.5",
        (
            "migrations/versions/0004_audit_events.py",
            "BEFORE UPDATE OR DELETE OR TRUNCATE ON",
            "BEFORE DELETE OR TRUNCATE ON",
        ),
    ),
    _guard(
        "the trigger that refuses a taken id or sequence",
        "CM-2.5.4",
        (
            POSITIONS,
            "SELECT FROM audit_events WHERE event_id =",
            "SELECT FROM audit_events WHERE false AND event_id =",
        ),
    ),
    _guard(
        "the read-only transactions of PostgreSQL",
        "CM-2.1.5",
        ("console/database/engines.py", "REPEATABLE READ READ ONLY", "REPEATABLE READ"),
    ),
    _guard(
        "the read-only connections of SQLite",
        "CM-2.1.5",
        ("console/database/engines.py", 'connection.execute("PRAGMA query_only = ON")', "pass"),
        ("console/config.py", 'query={"mode": mode, "uri": "true"}', 'query={"mode": "rw", "uri": "true"}'),
    ),
    _guard(
        "the instructor in the resolver's lookup",
        "CM-2.1.2",
        ("console/conversations/resolution.py", "        Customer.instructor_id == instructor_id,\n", ""),
    ),
    _guard(
        "the instructors whose conversations a reader sees",
        "Review.Everywhere.1",
        (
            "console/conversations/queries.py",
            "if instructors is None:\n        return found",
            "if True:\n        return found",
        ),
    ),
    _guard(
        "the signature of a payload",
        "CM-2.2.21",
        ("console/ingestion/routes.py", 'if not _same(signature, f"sha256={expected}"):', "if not expected:"),
    ),
    _guard(
        "the badge's flag",
        "CM-2.4.5",
        (
            "console/conversations/routes.py",
            "    return settings().customer_badge\n",
            "    return True\n",
        ),
    ),
    *(
        _guard(
            f"the row-security policy of {table}",
            "CM-1.3",
            (ROLES, _tables(*TENANTS), _tables(*(other for other in TENANTS if other != table))),
        )
        for table in TENANTS
    ),
)


def removal(guard: Guard) -> dict[str, str]:
    """Return the files without the guard; raises ValueError where a text is not there exactly once."""
    files: dict[str, str] = {}
    for path, text, replacement in guard.removed:
        content = files.get(path) or (ROOT / path).read_text()
        if content.count(text) != 1:
            raise ValueError(f"{guard.name}: {path} has {content.count(text)} times {text!r}")
        files[path] = content.replace(text, replacement)
    return files


def stays_green(guard: Guard, tests: Sequence[str]) -> bool:
    """Run tests in a copy of the project without the guard; return whether they pass all the same."""
    with tempfile.TemporaryDirectory() as directory:
        copy = Path(directory) / "console"
        left_out = (".git", ".venv*", "node_modules", "instance", "__pycache__", ".*_cache")
        ignored = shutil.ignore_patterns(*left_out)
        shutil.copytree(ROOT, copy, ignore=ignored)
        for path, content in removal(guard).items():
            (copy / path).write_text(content)
        command = (sys.executable, "-m", "pytest", "-q", "-x", "-n", "auto", "--no-header", *tests)
        done = subprocess.run(command, cwd=copy, capture_output=True, text=True, check=False)
    if done.returncode not in (0, 1):
        raise RuntimeError(f"{guard.name}: the tests did not run\n{done.stdout}{done.stderr}")
    return done.returncode == 0
