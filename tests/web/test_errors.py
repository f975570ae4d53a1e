"""When something fails: a page that says what to do, nothing half written, nothing typed lost."""

import os
import sqlite3
from dataclasses import replace
from pathlib import Path
from uuid import uuid4

import pytest
from bs4 import BeautifulSoup

from console import create_app
from console.config import Settings
from console.database import db
from console.permissions import public
from testkit.databases import execute, file_of, on_postgresql, on_sqlite, settings_for
from testkit.factories import Desk, link_state
from testkit.pages import Browser
from testkit.postgres import Cluster


@on_postgresql
def test_a_server_that_is_down_is_503_and_comes_back_without_a_restart(marta: Browser, cluster: Cluster):
    cluster.stop()
    try:
        page = marta.get_page("/conversations", 503)
        marta.get_page("/readyz", 503)
        assert marta.get_page("/healthz")
    finally:
        cluster.start()
    assert "The database can’t be used right now" in page.text
    marta.get_page("/conversations")
    marta.get_page("/readyz")


@on_sqlite
def test_a_missing_database_is_503_and_comes_back_without_a_restart(marta: Browser, settings: Settings):
    path = file_of(settings)
    for engine in db.engines.values():
        engine.dispose()
    path.rename(path.with_suffix(".away"))
    page = marta.get_page("/conversations", 503)
    assert "The database can’t be used right now" in page.text
    assert not path.exists()
    marta.get_page("/readyz", 503)
    assert marta.get_page("/healthz")
    path.with_suffix(".away").rename(path)
    marta.get_page("/conversations")
    marta.get_page("/readyz")


@on_postgresql
def test_a_write_that_the_server_refuses_can_be_sent_again_as_it_was(marta: Browser, anna: Desk):
    conversation_id = anna.conversation("393331234567")
    path = f"/links/{conversation_id}"
    page = marta.get_page(path)
    execute("REVOKE INSERT ON customers FROM console_link")
    failed = marta.check(marta.submit(page, path, reason="typed once", create="1"), 503)
    execute("GRANT INSERT ON customers TO console_link")
    assert "typed once" in failed.text
    assert link_state(conversation_id).link_version == 0
    send_again(marta, path, failed)
    assert link_state(conversation_id).link_version == 1


def test_a_failure_after_the_commit_does_not_say_that_nothing_was_saved(
    marta: Browser, anna: Desk, monkeypatch: pytest.MonkeyPatch
):
    conversation_id = anna.conversation("393331234567")
    path = f"/links/{conversation_id}"
    page = marta.get_page(path)

    def fail(_message: str) -> None:
        raise RuntimeError("after the commit")

    with monkeypatch.context() as patch:
        patch.setattr("console.linking.routes.flash", fail)
        failed = marta.check(marta.submit(page, path, reason="typed once", create="1"), 500)
    assert "Nothing was saved" not in failed.text
    assert "We can’t tell whether this was saved" in failed.text
    assert link_state(conversation_id).link_version == 1
    send_again(marta, path, failed)
    assert link_state(conversation_id).link_version == 1


def send_again(browser: Browser, path: str, failed: BeautifulSoup) -> None:
    """Send what an error page gives back."""
    form = failed.select_one("form[method=post]")
    assert form
    fields = {str(element["name"]): str(element["value"]) for element in form.select("input[name]")}
    assert browser.http.post(path, data=fields).status_code == 303


@on_sqlite
def test_a_write_that_the_database_refuses_can_be_sent_again_as_it_was(
    marta: Browser, anna: Desk, monkeypatch: pytest.MonkeyPatch, settings: Settings
):
    conversation_id = anna.conversation("393331234567")
    path = f"/links/{conversation_id}"
    page = marta.get_page(path)
    blocker = sqlite3.connect(file_of(settings), isolation_level=None)
    monkeypatch.setattr("console.database.engines.SQLITE_BUSY_SECONDS", 0)
    db.engine.dispose()
    with db.engine.connect() as connection:  # what is in the pool waits no longer than this test wants to
        connection.connection.driver_connection.execute("PRAGMA busy_timeout = 50")  # type: ignore[union-attr]  # SQLite's
        connection.rollback() if connection.in_transaction() else None
    blocker.execute("BEGIN IMMEDIATE")
    try:
        failed = marta.check(marta.submit(page, path, reason="typed once", create="1"), 503)
    finally:
        blocker.execute("ROLLBACK")
        blocker.close()
    assert "typed once" in failed.text
    assert link_state(conversation_id).link_version == 0
    send_again(marta, path, failed)
    assert link_state(conversation_id).link_version == 1


@on_postgresql
def test_a_read_only_server_is_read_and_not_written(
    marta: Browser, anna: Desk, settings: Settings, cluster: Cluster
):
    conversation_id = anna.conversation("393331234567")
    cluster.execute(
        f'ALTER DATABASE "{settings.database_url.database}" SET default_transaction_read_only = on'
    )
    for engine in db.engines.values():
        engine.dispose()
    page = marta.get_page(f"/links/{conversation_id}")
    refused = marta.submit(page, f"/links/{conversation_id}", reason="typed", create="1")
    assert "typed" in marta.check(refused, 503).text
    assert link_state(conversation_id).link_version == 0


@on_sqlite
def test_a_read_only_file_is_read_and_not_written(marta: Browser, anna: Desk, settings: Settings):
    conversation_id = anna.conversation("393331234567")
    url = settings.read_database_url
    read_only = Browser(create_app(replace(settings, database_url=url, ingest_database_url=url)))
    read_only.sign_in(anna.operator.email, anna.operator.password)
    page = read_only.get_page(f"/links/{conversation_id}")
    refused = read_only.submit(page, f"/links/{conversation_id}", reason="typed", create="1")
    assert "typed" in read_only.check(refused, 503).text
    assert link_state(conversation_id).link_version == 0


@pytest.mark.parametrize("content", [b"", b"this is no database at all, whatever its name says" * 100])
def test_an_empty_or_foreign_file_is_said_not_to_be_ready(tmp_path: Path, content: bytes):
    path = tmp_path / "console.db"
    path.write_bytes(content)
    browser = Browser(create_app(settings_for(path)))
    assert "flask db upgrade" in browser.get_page("/readyz", 503).text
    page = browser.get_page("/login")
    browser.check(browser.submit(page, email="a@example.org", password="x"), 503)
    assert path.read_bytes() == content


@pytest.mark.parametrize(
    ("version", "said"), [("0002_customers", "flask db upgrade"), ("0099_x", "newer console")]
)
def test_a_database_not_at_head_is_said_not_to_be_ready(client: Browser, version: str, said: str):
    execute(f"UPDATE alembic_version SET version_num = '{version}'")
    page = client.get_page("/readyz", 503)
    assert version in page.text
    assert said in page.text


def test_no_traceback_reaches_anyone(settings: Settings, capfd: pytest.CaptureFixture[str]):
    app = create_app(settings)

    @public
    def fail() -> str:
        raise RuntimeError("a secret of the inside")

    app.add_url_rule("/failing", "failing", fail)
    page = Browser(app).get_page("/failing", 500)
    assert "Something failed" in page.text
    assert "secret" not in page.text
    told = capfd.readouterr().err
    assert '"kind": "RuntimeError"' in told
    assert f"{__file__}:{fail.__code__.co_firstlineno + 2} fail" in told
    assert "secret" not in told


def test_a_wrong_method_says_which_are_right(marta: Browser):
    answer = marta.http.post("/badges")
    assert answer.status_code in (400, 405)
    answer = marta.http.delete("/conversations")
    assert answer.status_code in (400, 405)


def test_a_huge_form_is_refused_with_a_page(marta: Browser, anna: Desk):
    path = f"/links/{anna.conversation('393331234567')}"
    page = marta.get_page(path)
    marta.check(marta.submit(page, path, reason="x" * 4_000_000, create="1"), 413)


def test_not_found_pages_are_the_same_to_the_byte(marta: Browser):
    answers = [marta.http.get(path) for path in (f"/conversations/{uuid4()}", "/nothing", "/links/garbage")]
    assert {answer.status_code for answer in answers} == {404}
    assert len({answer.data for answer in answers}) == 1


def test_every_answer_carries_the_security_headers(marta: Browser):
    for path in ("/conversations", "/nothing", "/login", "/badges", "/healthz", "/static/console.css"):
        headers = marta.http.get(path).headers
        policy = headers["Content-Security-Policy"]
        assert "default-src 'self'" in policy
        assert "unsafe" not in policy
        assert headers["X-Content-Type-Options"] == "nosniff"
        assert headers["Cache-Control"] == ("no-cache" if "static" in path else "no-store")


def test_static_files_are_kept_for_good_under_an_address_of_their_content(client: Browser):
    page = client.get_page("/login")
    stylesheet = page.select_one("link[rel=stylesheet]")
    assert stylesheet
    assert "immutable" in client.http.get(str(stylesheet["href"])).headers["Cache-Control"]


@pytest.mark.skipif(
    os.environ.get("PROMETHEUS_MULTIPROC_DIR") is not None, reason="metrics of this process alone"
)
def test_metrics_are_for_this_machine_and_for_holders_of_the_token(settings: Settings):
    closed, opened = (
        Browser(create_app(replace(settings, metrics_token=token))) for token in (None, "token")
    )
    there = {"REMOTE_ADDR": "192.0.2.1"}
    assert "console_request_seconds" in closed.http.get("/metrics").text
    assert closed.http.get("/metrics", environ_overrides=there).status_code == 403
    assert closed.http.get("/metrics", headers={"X-Forwarded-For": "192.0.2.1"}).status_code == 403
    for token, status in (("token", 200), ("tok", 403), ("", 403), ("tökén", 403)):
        headers = {"Authorization": f"Bearer {token}".encode().decode("latin-1")}
        answer = opened.http.get("/metrics", environ_overrides=there, headers=headers)
        assert answer.status_code == status, token
    for scheme, status in (("bearer ", 200), ("", 403), ("Basic ", 403), ("Token ", 403), ("Bearer", 403)):
        headers = {"Authorization": f"{scheme}token"}
        answer = opened.http.get("/metrics", environ_overrides=there, headers=headers)
        assert answer.status_code == status, scheme


def test_a_request_is_one_json_line_with_its_id(marta: Browser, capfd: pytest.CaptureFixture[str]):
    capfd.readouterr()
    answer = marta.http.get("/conversations?q=393331234567")
    (line,) = capfd.readouterr().err.splitlines()
    assert f'"request_id": "{answer.headers["X-Request-Id"]}"' in line
    assert "393331234567" not in line


@pytest.mark.parametrize("given", ["short", "has space in it", "x" * 65, "<script>alert(1)</script>"])
def test_a_request_id_that_could_be_anything_is_replaced(marta: Browser, given: str):
    assert marta.http.get("/healthz", headers={"X-Request-Id": given}).headers["X-Request-Id"] != given
