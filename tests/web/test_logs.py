"""Logs: JSON lines that tell requests apart, and of exceptions and libraries nothing that they may quote."""

import json
import logging
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest
import structlog
from flask import Flask, abort
from sqlalchemy import insert, text
from sqlalchemy.exc import DBAPIError

from console import create_app
from console.config import Settings
from console.database import command_scope, db, new_id, now, writing
from console.models import Instructor
from console.permissions import public
from testkit.databases import back_door, execute
from testkit.factories import Desk, trail
from testkit.pages import Browser

NUMBER = "393339876543"
WORDS = "Zanzibar by night"
USUAL = ("4bf92f3577b34da6a3ce929d0e0e4736", "01890A5D-ac96-774b-bcce-b302099a8057")


def lines(written: str) -> list[dict[str, Any]]:
    """Read what was logged: every line is one JSON object."""
    return [json.loads(line) for line in written.splitlines()]


def behind_a_proxy(settings: Settings) -> Browser:
    """Return a browser on a console behind one proxy, whose headers it believes."""
    return Browser(create_app(replace(settings, trusted_proxies=1)))


def failing(app: Flask, fail: Callable[[], str]) -> Browser:
    """Return a browser on a console with a page that fails, at /failing."""
    app.add_url_rule("/failing", "failing", public(fail))
    return Browser(app)


def test_a_request_id_goes_from_the_proxy_into_the_answer_every_line_and_the_event(
    settings: Settings, anna: Desk, capfd: pytest.CaptureFixture[str]
):
    client = behind_a_proxy(settings)
    conversation_id = anna.conversation(NUMBER)
    client.sign_in(anna.operator.email, anna.operator.password)
    execute("ALTER TABLE audit_events RENAME TO away")
    path = f"/links/{conversation_id}"
    page = client.get_page(path)
    capfd.readouterr()
    client.http.environ_base["HTTP_X_REQUEST_ID"] = "4bf92f35-77b3-4da6-a3ce-929d0e0e4736"
    answer = client.submit(page, path, reason=WORDS, create="1")
    assert answer.status_code == 303
    assert answer.headers["X-Request-Id"] == "4bf92f35-77b3-4da6-a3ce-929d0e0e4736"
    logged = lines(capfd.readouterr().err)
    assert {line["request_id"] for line in logged} == {"4bf92f35-77b3-4da6-a3ce-929d0e0e4736"}
    assert [line["event"] for line in logged] == ["audit_move_failed", "request"]
    execute("ALTER TABLE away RENAME TO audit_events")
    client.submit(client.get_page(path), f"{path}/unlink", reason=WORDS, confirm="1")
    assert [event["context"]["request_id"] for event in trail()] == [
        "4bf92f35-77b3-4da6-a3ce-929d0e0e4736"
    ] * 2


@pytest.mark.parametrize(
    "given",
    [
        "",
        "x" * 32,
        "0" * 31,
        "0" * 33,
        "from-the-proxy-1",
        NUMBER,
        f"{USUAL[1]} ",
        USUAL[1].replace("-", "."),
    ],
)
def test_an_id_of_another_shape_is_replaced(settings: Settings, given: str):
    client = behind_a_proxy(settings)
    answers = [client.http.get("/healthz", headers={"X-Request-Id": given}) for _ in range(2)]
    ids = [answer.headers["X-Request-Id"] for answer in answers]
    assert given not in ids
    assert len(set(ids)) == 2


@pytest.mark.parametrize("given", USUAL)
def test_the_usual_ids_are_kept_from_a_trusted_proxy_alone(settings: Settings, client: Browser, given: str):
    headers = {"X-Request-Id": given}
    assert behind_a_proxy(settings).http.get("/healthz", headers=headers).headers["X-Request-Id"] == given
    assert client.http.get("/healthz", headers=headers).headers["X-Request-Id"] != given


def test_a_request_is_one_line_without_its_address(
    app: Flask, client: Browser, capfd: pytest.CaptureFixture[str]
):
    client.http.open(f"/conversations?q={NUMBER}", method="GET")
    client.http.open(f"/{NUMBER}", method=f"X{NUMBER}")
    told = capfd.readouterr().err
    assert NUMBER not in told
    first, second = lines(told)
    assert first | {"request_id": "", "timestamp": "", "milliseconds": 0} == {
        "event": "request",
        "level": "info",
        "method": "GET",
        "route": "/conversations",
        "status": 302,
        "request_id": "",
        "timestamp": "",
        "milliseconds": 0,
    }
    assert (second["method"], second["route"], second["status"]) == ("other", "none", 404)


@pytest.mark.parametrize(("level", "told"), [("debug", 1), ("info", 1), ("warning", 0), ("critical", 0)])
def test_the_level_is_the_settings(
    settings: Settings, capfd: pytest.CaptureFixture[str], level: str, told: int
):
    Browser(create_app(replace(settings, log_level=level))).get_page("/healthz")
    assert len(lines(capfd.readouterr().err)) == told


def test_an_exception_is_logged_by_kind_place_and_cause(app: Flask, capfd: pytest.CaptureFixture[str]):
    def fail() -> str:
        try:
            return str(int(NUMBER + "x"))
        except ValueError as error:
            raise RuntimeError(WORDS) from error

    failing(app, fail).get_page("/failing", 500)
    told = capfd.readouterr().err
    failed, request = lines(told)
    assert (failed["event"], failed["level"], failed["route"]) == ("request_failed", "error", "/failing")
    assert failed["request_id"] == request["request_id"]
    assert [cause["kind"] for cause in failed["exceptions"]] == ["RuntimeError", "ValueError"]
    assert failed["exceptions"][0]["places"][-1].startswith(f"{__file__}:")
    assert failed["exceptions"][0]["places"][-1].endswith(" fail")
    assert NUMBER not in told
    assert WORDS not in told


def test_an_exception_that_is_its_own_cause_is_logged_a_limited_number_of_times(
    app: Flask, capfd: pytest.CaptureFixture[str]
):
    def fail() -> str:
        first, second = RuntimeError(WORDS), ValueError(NUMBER)
        first.__cause__, second.__cause__ = second, first
        raise first

    failing(app, fail).get_page("/failing", 500)
    assert len(lines(capfd.readouterr().err)[0]["exceptions"]) == 10


def test_a_broken_constraint_is_logged_by_its_code_and_not_by_the_row(
    settings: Settings, capfd: pytest.CaptureFixture[str]
):
    app = create_app(replace(settings, log_level="debug"))

    def fail() -> str:
        with back_door() as connection:
            rows = {"id": new_id(), "name": WORDS, "created_at": now()}
            connection.execute(insert(Instructor), rows)
            connection.execute(insert(Instructor), rows)
        return "there are two of them"

    failing(app, fail).get_page("/failing", 500)
    told = capfd.readouterr().err
    failed, _ = lines(told)
    assert [cause["kind"] for cause in failed["exceptions"]] == [
        "IntegrityError",
        "UniqueViolation" if "psycopg" in told else "IntegrityError",
    ]
    assert failed["exceptions"][-1]["code"] in ("23505", "SQLITE_CONSTRAINT_PRIMARYKEY")
    assert WORDS not in told


def test_no_database_error_carries_parameters(app: Flask):
    for name in (None, *db.engines):
        with db.engines[name].connect() as connection, pytest.raises(DBAPIError) as failed:
            connection.execute(text("SELECT nothing FROM nowhere WHERE x = :x"), {"x": NUMBER})
        assert NUMBER not in str(failed.value)


def test_a_librarys_log_line_keeps_its_template_only(app: Flask, capfd: pytest.CaptureFixture[str]):
    logging.getLogger("urllib3.connectionpool").warning("Retrying %s after %r", f"/?q={NUMBER}", WORDS)
    try:
        raise ValueError(WORDS)
    except ValueError:
        logging.getLogger("sqlalchemy.pool").exception("Exception during reset of %s", NUMBER)
    told = capfd.readouterr().err
    assert NUMBER not in told
    assert WORDS not in told
    retrying, resetting = lines(told)
    assert (retrying["event"], retrying["logger"]) == ("Retrying %s after %r", "urllib3.connectionpool")
    assert resetting["exceptions"][0]["kind"] == "ValueError"


@pytest.mark.parametrize("name", ["sqlalchemy.engine", "authlib", "urllib3"])
def test_libraries_say_nothing_below_a_warning_whatever_the_level(
    settings: Settings, capfd: pytest.CaptureFixture[str], name: str
):
    create_app(replace(settings, log_level="debug"))
    logging.getLogger(f"{name}.something").info("said %s", NUMBER)
    logging.getLogger(f"{name}.something").debug("said %s", NUMBER)
    assert capfd.readouterr().err == ""


def test_our_own_lines_tell_exceptions_the_same_way(app: Flask, capfd: pytest.CaptureFixture[str]):
    log = structlog.get_logger()
    try:
        raise KeyError(NUMBER)
    except KeyError as error:
        log.exception("one")
        log.error("two", exc_info=error)
        log.error("three", exc_info=(KeyError, error, error.__traceback__))
    log.error("four", exc_info=True)
    told = lines(capfd.readouterr().err)
    assert [line.get("exceptions", [{}])[0].get("kind") for line in told] == ["KeyError"] * 3 + [None]
    assert NUMBER not in json.dumps(told)


def test_an_answer_before_any_view_is_logged_and_has_an_id(
    app: Flask, client: Browser, capfd: pytest.CaptureFixture[str]
):
    @app.before_request
    def refuse() -> None:
        abort(400)

    answer = client.http.get("/healthz")
    assert answer.status_code == 400
    (line,) = lines(capfd.readouterr().err)
    assert (line["status"], line["request_id"]) == (400, answer.headers["X-Request-Id"])


def test_a_writing_connection_that_is_cut_is_logged_by_kind_alone(
    client: Browser, anna: Desk, capfd: pytest.CaptureFixture[str]
):
    client.sign_in(anna.operator.email, anna.operator.password)
    execute("ALTER TABLE conversations RENAME TO away")
    capfd.readouterr()
    client.get_page(f"/conversations?q={NUMBER}", 503)
    told = capfd.readouterr().err
    assert NUMBER not in told
    assert lines(told)[0]["event"] == "database_unavailable"
    with pytest.raises(DBAPIError), writing(command_scope()) as connection:
        connection.execute(text("SELECT * FROM conversations"))
