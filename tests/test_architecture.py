"""The architecture's rules that imports can't show, asserted from the running app and from its sources."""

import ast
import itertools
import re
from collections.abc import Iterator
from pathlib import Path

import pytest
from flask import Flask
from flask.testing import FlaskCliRunner
from sqlalchemy import event
from werkzeug.routing import Rule

from console.config import ROOT
from console.database import db
from console.permissions import Permission
from testkit.factories import desk
from testkit.pages import Browser

# Everything that answers without a sign-in. A new entry here is a decision, not a detail.
PUBLIC = {
    "/healthz",
    "/login",
    "/login/oidc",
    "/login/oidc/callback",
    "/logout",
    "/metrics",
    "/readyz",
    "/static/<path:filename>",
    "/webhooks/whatsapp",
}
# Every other rule of the URL map, with the permission its view states.
PERMISSIONS = {
    "/": Permission.CONVERSATIONS_READ,
    "/badges": Permission.CONVERSATIONS_READ,
    "/conversations": Permission.CONVERSATIONS_READ,
    "/conversations/<id:conversation_id>": Permission.CONVERSATIONS_READ,
    "/conversations/<id:conversation_id>/messages": Permission.CONVERSATIONS_READ,
    "/conversations/rows": Permission.CONVERSATIONS_READ,
    "GET /links": Permission.LINKS_READ,
    "GET /links/<id:conversation_id>": Permission.LINKS_READ,
    "GET /links/<id:conversation_id>/customers": Permission.LINKS_READ,
    "GET /links/next": Permission.LINKS_READ,
    "POST /links/<id:conversation_id>": Permission.LINKS_WRITE,
    "POST /links/<id:conversation_id>/unlink": Permission.LINKS_WRITE,
}
WRITING_MODULES = {
    "console/accounts/roster.py",
    "console/accounts/service.py",
    "console/ingestion/inbox.py",
    "console/ingestion/rejected.py",
    "console/ingestion/service.py",
    "console/linking/audit.py",
    "console/linking/service.py",
    "console/operations/demo.py",
    "console/person/erasure.py",
}


def rules(app: Flask) -> list[Rule]:
    return sorted(app.url_map.iter_rules(), key=lambda rule: rule.rule)


@pytest.mark.shows("Review.Before.2", "Review.Before.3")
def test_every_route_states_its_permission_or_is_on_the_short_public_list(app: Flask):
    stated = {}
    for rule in rules(app):
        view = app.view_functions[rule.endpoint]
        if getattr(view, "public", False):
            assert rule.rule in PUBLIC
            continue
        (method,) = (rule.methods or set()) - {"HEAD", "OPTIONS"}
        key = rule.rule if rule.rule in PERMISSIONS else f"{method} {rule.rule}"
        stated[key] = getattr(view, "permission", None)
    assert stated == PERMISSIONS


@pytest.mark.shows("CM-2.3.1")
def test_a_view_that_states_no_permission_is_closed_to_all(app: Flask, client: Browser, cli: FlaskCliRunner):
    app.add_url_rule("/forgotten", "forgotten", lambda: "secret")
    anna = desk(cli)
    assert client.http.get("/forgotten").status_code == 302
    client.sign_in(anna.operator.email, anna.operator.password)
    client.get_page("/forgotten", 403)


@pytest.mark.shows("Review.Before.3")
def test_no_source_has_a_note_to_do_something_later():
    sources = [
        path for top in ("console", "migrations", "templates", "static") for path in (ROOT / top).rglob("*")
    ]
    for path in sources:
        if path.suffix in (".py", ".html", ".css", ".js", ".toml") and "vendor" not in path.parts:
            assert not re.search(r"\b(TODO|FIXME|XXX|HACK)\b", path.read_text()), path


@pytest.mark.shows("CM-2.4.3", "Review.T6.1")
def test_the_reading_part_answers_nothing_but_get(app: Flask):
    for rule in rules(app):
        if rule.endpoint.startswith("conversations."):
            assert rule.methods == {"GET", "HEAD", "OPTIONS"}


@pytest.mark.shows("CM-2.1.5", "CM-2.2.12", "Review.T3.2")
def test_read_pages_run_on_the_read_engine(app: Flask, client: Browser, cli: FlaskCliRunner):
    anna = desk(cli)
    conversation_id = anna.conversation("393331234567")
    anna.link(conversation_id)
    client.sign_in(anna.operator.email, anna.operator.password)
    elsewhere: list[str] = []
    for engine in (db.engine, db.engines["ingest"]):
        event.listen(engine, "before_cursor_execute", lambda *call: elsewhere.append(call[2]))
    for rule in rules(app):
        if "GET" in (rule.methods or ()) and rule.endpoint.split(".")[0] in ("conversations", "linking"):
            path = rule.rule.replace("<id:conversation_id>", str(conversation_id))
            query = f"?id={conversation_id}" if path == "/badges" else ""
            assert client.http.get(path + query).status_code in (200, 302), path
    assert elsewhere == []


def modules() -> Iterator[tuple[str, ast.Module]]:
    for path in sorted((ROOT / "console").rglob("*.py")):
        yield str(path.relative_to(ROOT)), ast.parse(path.read_text())


@pytest.mark.shows("Review.T4.1", "Review.T4.4", "Review.Before.1")
def test_writes_and_commits_occur_only_where_they_belong():
    means = {"insert", "update", "delete", "writing", "ingesting", "insert_ignoring", "json_append"}
    means |= {"send_along", "owning", "append_only_lifted"}
    found = set()
    for name, tree in modules():
        nodes = list(ast.walk(tree))
        imported = {
            alias.name
            for node in nodes
            if isinstance(node, ast.ImportFrom) and node.module in ("sqlalchemy", "console.database")
            for alias in node.names
        }
        commits = any(isinstance(node, ast.Attribute) and node.attr == "commit" for node in nodes)
        if imported & means or commits:
            found.add(name)
    # Health only asks whether the connections that write can be had; the export reads what ingestion kept.
    assert found - {"console/operations/health.py", "console/person/export.py"} == WRITING_MODULES


@pytest.mark.shows("CM-2.2.1", "Review.Everywhere.2")
def test_ingestion_and_accounts_name_no_customer_no_link_and_no_event():
    for name, tree in modules():
        if name.startswith(("console/ingestion", "console/accounts")):
            named = {node.id for node in ast.walk(tree) if isinstance(node, ast.Name)}
            assert not named & {"Customer", "AuditEvent"}, name
            attributes = {node.attr for node in ast.walk(tree) if isinstance(node, ast.Attribute)}
            assert not attributes & {"customer_id", "link_version", "link_operation_id", "audit_outbox"}, name


@pytest.mark.shows("CM-2.3.9", "Review.T4.1")
def test_one_place_writes_a_conversations_customer():
    setters = [
        name
        for name, tree in modules()
        for node in ast.walk(tree)
        if isinstance(node, ast.Call) and getattr(node.func, "attr", "") == "values"
        if any(keyword.arg == "customer_id" for keyword in node.keywords)
    ]
    assert setters == ["console/linking/service.py"]
    raw = [
        name
        for name, tree in modules()
        if re.search(r"(?i)update conversations|set customer_id", ast.unparse(tree))
    ]
    assert raw == []


def test_no_two_classes_of_the_console_have_one_name():
    names = [node.name for _, tree in modules() for node in ast.walk(tree) if isinstance(node, ast.ClassDef)]
    assert sorted(names) == sorted(set(names))


def test_every_public_constant_has_a_sentence_below_it():
    silent = []
    for path, tree in modules():
        for statement, after in itertools.pairwise([*tree.body, ast.Pass()]):
            target = statement.targets[0] if isinstance(statement, ast.Assign) else None
            target = statement.target if isinstance(statement, ast.AnnAssign) else target
            if isinstance(target, ast.Name) and re.fullmatch("[A-Z][A-Z0-9_]+", target.id):
                silent += [f"{path}: {target.id}"] if not isinstance(after, ast.Expr) else []
    assert silent == []


@pytest.mark.shows("CM-1.5", "Review.T2.3")
def test_normalisation_is_written_once():
    users = {name for name, tree in modules() if "normalize_identifier" in ast.unparse(tree)}
    assert "console/identifiers.py" in users
    definitions = [
        node.name
        for _, tree in modules()
        for node in ast.walk(tree)
        if isinstance(node, ast.FunctionDef)
        and "normali" in node.name
        and node.name != "normalized_identifier"
    ]
    assert definitions.count("normalize_identifier") == 1
    # The command, and an account's e-mail address, which is no customer's identifier.
    assert set(definitions) <= {"normalize_identifier", "normalize", "normalize_email"}


LONGEST = {
    "console/**/*.py": 350,
    "scripts/*.py": 350,
    "templates/**/*.html": 150,
    "tests/**/*.py": 400,
    "verification/**/*.py": 400,
}


@pytest.mark.parametrize(("suffix", "most"), LONGEST.items(), ids=LONGEST)
def test_no_file_is_too_long_to_read(suffix: str, most: int):
    lengths = {path: len(path.read_text().splitlines()) for path in ROOT.glob(suffix)}
    assert lengths
    assert {path: length for path, length in lengths.items() if length > most} == {}


def test_templates_and_style_sheets_are_easy_to_read():
    for path in ROOT.glob("templates/**/*.html"):
        long = [number for number, line in enumerate(path.read_text().splitlines(), 1) if len(line) > 110]
        assert long == [], path
    for path in ROOT.glob("static/*.css"):
        crowded = [line for line in path.read_text().splitlines() if line.count(";") > 1 or "{ " in line]
        assert crowded == [], path


def test_templates_keep_to_the_content_security_policy():
    for path in ROOT.glob("templates/**/*.html"):
        source = path.read_text()
        assert not re.search(
            r"\bhx-on|\bjs:|javascript:|\sstyle=|\son[a-z]+=|<style|<script(?![^>]*src=)", source
        ), path
        assert not re.search(r"hx-trigger=\"[^\"]*\[", source), path


def test_the_pictures_that_are_kept_are_the_eight_that_the_documents_show():
    documents = [ROOT / "README.md", *ROOT.glob("docs/**/*.md")]
    named = (re.findall(r"screenshots/([\w-]+)\.png", path.read_text()) for path in documents)
    shown = {name for names in named for name in names}
    assert shown == {path.stem for path in ROOT.glob("docs/screenshots/*")}
    assert len(shown) == 8
    drawn = (ROOT / "scripts" / "screenshots.py").read_text()
    assert all(f'"{name}"' in drawn for name in shown)


def test_no_third_party_code_is_kept(tmp_path: Path):
    ignored = (ROOT / ".gitignore").read_text().splitlines()
    assert "/static/vendor/" in ignored
    assert "/node_modules" in ignored


def test_every_decision_that_is_named_is_written_down():
    written = {path.name[:4] for path in (ROOT / "docs" / "decisions").glob("*.md")}
    sources = [path for top in ("console", "docs", "deploy") for path in (ROOT / top).rglob("*")]
    named = {
        number
        for path in sources
        if path.suffix in (".py", ".md", ".conf", ".service")
        for number in re.findall(r"decisions?[ /](\d{4})\b", path.read_text())
    }
    assert named
    assert named <= written
