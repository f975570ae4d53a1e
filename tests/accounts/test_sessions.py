"""When a session begins, how long it lasts, and what ends it on every browser at once."""

from dataclasses import replace
from http.cookies import SimpleCookie

import pytest
from flask import Flask
from flask.testing import FlaskCliRunner
from werkzeug.test import TestResponse

from console import create_app
from console.accounts.sessions import IDLE_SECONDS, MAX_SECONDS, REFRESH_SECONDS
from console.config import Settings, database_url, read_only
from console.database import db
from testkit.databases import execute, on_postgresql, on_sqlite, rows
from testkit.factories import Desk, Person, run, user
from testkit.pages import Browser, fields_of
from testkit.postgres import Cluster
from tests.accounts.conftest import Clock

HOUR = 60 * 60


def signed_in(app: Flask, person: Person) -> Browser:
    browser = Browser(app)
    assert browser.sign_in(person.email, person.password).status_code == 303
    return browser


def copied(browser: Browser) -> Browser:
    """Return a thief who has got hold of a browser's session."""
    cookie = browser.http.get_cookie("session")
    assert cookie
    other = Browser(browser.http.application)
    other.http.set_cookie("session", cookie.value)
    return other


def is_in(browser: Browser) -> bool:
    status = browser.http.get("/conversations").status_code
    assert status in (200, 302)
    return status == 200


def cookies(answer: TestResponse) -> dict[str, str]:
    """Return the cookies that an answer sets, each as its whole line."""
    return {line.partition("=")[0]: line for line in answer.headers.getlist("Set-Cookie")}


def test_a_sign_in_begins_an_empty_session(client: Browser, marta: Person):
    page = client.get_page("/login")
    with client.http.session_transaction() as session:
        session["planted"] = "by a thief"
    planted = copied(client)
    token = fields_of(page.select("main form")[0])["csrf_token"]
    client.submit(page, email=marta.email, password=marta.password)
    with client.http.session_transaction() as session:
        assert set(session) == {"_user_id", "epoch", "signed_in", "seen", "csrf_token"}
    assert not is_in(planted)
    assert client.http.post("/logout", data={"csrf_token": token}).status_code == 400
    assert is_in(client)


def test_signing_in_again_begins_another_session(app: Flask, client: Browser, marta: Person, anna: Desk):
    client.sign_in(marta.email, marta.password)
    page = client.get_page("/conversations")
    token = fields_of(page.select("form.account")[0])["csrf_token"]
    other = user(anna.cli, anna.instructor_id)
    client.sign_in(other.email, other.password)
    assert other.email in client.get_page("/conversations").text
    assert client.http.post("/logout", data={"csrf_token": token}).status_code == 400


@pytest.mark.shows("T4.1")
def test_an_inactive_user_has_no_session(client: Browser, marta: Person):
    client.sign_in(marta.email, marta.password)
    execute("UPDATE users SET active = false")
    assert client.http.get("/conversations").status_code == 302


@pytest.mark.shows("CM-2.3.1")
def test_signing_out_ends_every_session_of_that_user_and_no_other(app: Flask, marta: Person, anna: Desk):
    desk, phone = signed_in(app, marta), signed_in(app, marta)
    stolen, other = copied(desk), signed_in(app, user(anna.cli, anna.instructor_id))
    answer = desk.submit(desk.get_page("/conversations"), "/logout")
    assert (answer.status_code, answer.location) == (303, "/login")
    assert "Max-Age=0" in cookies(answer)["session"]
    assert [is_in(item) for item in (desk, phone, stolen, other)] == [False, False, False, True]
    assert desk.sign_in(marta.email, marta.password).status_code == 303
    assert [is_in(item) for item in (desk, phone, stolen)] == [True, False, False]


def test_a_session_that_is_over_ends_no_other(app: Flask, marta: Person):
    desk = signed_in(app, marta)
    page = desk.get_page("/conversations")
    stolen = copied(desk)
    desk.submit(page, "/logout")
    desk.sign_in(marta.email, marta.password)
    assert stolen.submit(page, "/logout").status_code == 303
    assert is_in(desk)


def test_signing_out_twice_is_signing_out_once(app: Flask, marta: Person):
    desk = signed_in(app, marta)
    page = desk.get_page("/conversations")
    tab = copied(desk)
    assert desk.submit(page, "/logout").status_code == 303
    assert tab.submit(page, "/logout").status_code == 303
    assert rows("SELECT session_epoch FROM users") == [(1,)]


@pytest.mark.parametrize("command", ["password", "disable", "sign-out"])
def test_ended_sessions_end_at_the_next_request(
    app: Flask, cli: FlaskCliRunner, marta: Person, anna: Desk, command: str
):
    sessions = [signed_in(app, marta), signed_in(app, marta)]
    other = signed_in(app, user(anna.cli, anna.instructor_id))
    arguments = ("--password-stdin",) if command == "password" else ()
    run(cli, "user", command, marta.email, *arguments, stdin="quite another one\n")
    assert not any(map(is_in, sessions))
    assert is_in(other)


def test_enabling_a_user_again_revives_no_earlier_session(app: Flask, cli: FlaskCliRunner, marta: Person):
    before = signed_in(app, marta)
    run(cli, "user", "disable", marta.email)
    run(cli, "user", "enable", marta.email)
    assert not is_in(before)
    assert is_in(signed_in(app, marta))


def test_a_session_ends_after_a_while_without_use(app: Flask, marta: Person, clock: Clock):
    used, unused = signed_in(app, marta), signed_in(app, marta)
    clock.move(IDLE_SECONDS - 60)
    assert is_in(used)
    clock.move(120)
    assert is_in(used)
    assert not is_in(unused)


def use_until_almost_over(browser: Browser, clock: Clock) -> None:
    """Use a session four times a day until a minute before its longest time is up."""
    for _ in range(MAX_SECONDS // (6 * HOUR)):
        assert is_in(browser)
        clock.move(6 * HOUR)
    clock.move(-60)
    assert is_in(browser)


def test_a_session_that_is_used_all_the_time_ends_all_the_same(app: Flask, marta: Person, clock: Clock):
    browser = signed_in(app, marta)
    use_until_almost_over(browser, clock)
    clock.move(120)
    assert not is_in(browser)


def test_a_session_goes_on_after_the_clock_is_set_back_and_ends_as_if_begun_then(
    app: Flask, marta: Person, clock: Clock
):
    unused, used = signed_in(app, marta), signed_in(app, marta)
    clock.move(-30 * 24 * HOUR)
    assert is_in(unused)
    use_until_almost_over(used, clock)
    assert not is_in(unused)
    clock.move(120)
    assert not is_in(used)


def test_the_cookie_is_written_every_few_minutes_and_with_pages_only(
    client: Browser, marta: Person, anna: Desk, clock: Clock
):
    badges = f"/badges?id={anna.conversation('393331234567')}"
    client.sign_in(marta.email, marta.password)
    for path in ("/conversations", badges, "/links"):
        assert cookies(client.http.get(path)) == {}
    clock.move(REFRESH_SECONDS)
    assert cookies(client.http.get(badges, headers={"HX-Request": "true"})) == {}
    assert set(cookies(client.http.get("/conversations"))) == {"session"}
    assert cookies(client.http.get("/conversations")) == {}


def gone(settings: Settings) -> Settings:
    """Return settings with which nothing can be written, for there is no such server and no such file."""
    if settings.database_url.get_backend_name() == "sqlite":
        return replace(settings, database_url=database_url("sqlite:////nowhere/console.db"))
    return replace(settings, database_url=settings.database_url.set(host="127.0.0.1", port=1))


def expect_signed_out_here_only(browser: Browser, elsewhere: Browser) -> None:
    """Sign out where that can't be written."""
    page = browser.get_page("/conversations")
    stolen = copied(browser)
    answer = browser.submit(page, "/logout")
    assert (answer.status_code, answer.location) == (303, "/login")
    said = browser.get_page("/login").text
    assert "your other sessions could not" in said
    assert "12 hours" in said
    assert "your other sessions could not" not in browser.get_page("/login").text
    assert not is_in(browser)
    assert is_in(stolen)
    assert is_in(elsewhere)


def test_signing_out_without_the_database_ends_this_session_and_says_so(
    app: Flask, settings: Settings, marta: Person, capfd: pytest.CaptureFixture[str]
):
    elsewhere = signed_in(app, marta)
    expect_signed_out_here_only(signed_in(create_app(gone(settings)), marta), elsewhere)
    assert '"event": "sessions_not_ended"' in capfd.readouterr().err


@on_sqlite
def test_signing_out_with_a_read_only_file_ends_this_session_and_says_so(
    app: Flask, settings: Settings, marta: Person
):
    unwritable = create_app(replace(settings, database_url=read_only(settings.database_url)))
    expect_signed_out_here_only(signed_in(unwritable, marta), signed_in(app, marta))


@on_postgresql
def test_signing_out_with_a_read_only_server_ends_this_session_and_says_so(
    app: Flask, settings: Settings, marta: Person, cluster: Cluster
):
    name = settings.database_url.database
    cluster.execute(f'ALTER DATABASE "{name}" SET default_transaction_read_only = on')
    for engine in db.engines.values():
        engine.dispose()
    expect_signed_out_here_only(signed_in(app, marta), signed_in(app, marta))


TLS = "https://console.example.org"


def test_over_tls_the_cookies_are_this_hosts_alone(settings: Settings, marta: Person):
    browser = Browser(create_app(replace(settings, public_url=TLS)))
    page = Browser.parse(browser.http.get("/login", base_url=TLS).text)
    fields = {**fields_of(page.select("main form")[0]), "email": marta.email, "password": marta.password}
    answer = browser.http.post("/login", data=fields, base_url=TLS)
    assert answer.status_code == 303
    assert list(cookies(answer)) == ["__Host-session", "__Host-device"]  # the session first
    for name, line in cookies(answer).items():
        (cookie,) = SimpleCookie(line).values()
        assert cookie["secure"], name
        assert cookie["httponly"], name
        assert (cookie["samesite"], cookie["path"], cookie["domain"]) == ("Lax", "/", "")
    home = browser.http.get("/conversations", base_url=TLS)
    assert home.status_code == 200
    fields = fields_of(Browser.parse(home.text).select("form.account")[0])
    out = cookies(browser.http.post("/logout", data=fields, base_url=TLS))["__Host-session"]
    assert all(part in out for part in ("Max-Age=0", "Secure", "Path=/"))


def test_cookies_without_tls_are_kept_from_scripts_and_other_sites(client: Browser, marta: Person):
    answer = client.sign_in(marta.email, marta.password)
    assert list(cookies(answer)) == ["session", "device"]
    for line in cookies(answer).values():
        assert "HttpOnly" in line
        assert "SameSite=Lax" in line
        assert "Path=/" in line
        assert "Secure" not in line
        assert "Domain" not in line


def test_another_key_ends_no_session_and_loses_no_form_while_the_one_before_is_accepted(
    settings: Settings, app: Flask, marta: Person
):
    before = Browser(app)
    before.sign_in(marta.email, marta.password)
    page = before.get_page("/conversations")
    cookie = before.http.get_cookie("session")
    assert cookie
    rotated = replace(settings, secret_key="the key after" * 4, secret_key_fallbacks=(settings.secret_key,))
    after = Browser(create_app(rotated))
    after.http.set_cookie("session", cookie.value)
    assert after.get_page("/conversations")
    assert after.submit(page, "/logout").status_code == 303
    ended = Browser(create_app(replace(rotated, secret_key_fallbacks=())))
    ended.http.set_cookie("session", cookie.value)
    assert ended.http.get("/conversations").status_code == 302


def test_the_new_key_signs_after_a_change_of_keys(settings: Settings, app: Flask, marta: Person):
    new = replace(settings, secret_key="the key after" * 4)
    after = Browser(create_app(replace(new, secret_key_fallbacks=(settings.secret_key,))))
    after.sign_in(marta.email, marta.password)
    page = after.get_page("/conversations")
    later = Browser(create_app(new))
    for name in ("session", "device"):
        cookie = after.http.get_cookie(name)
        assert cookie
        later.http.set_cookie(name, cookie.value)
    assert later.submit(page, "/logout").status_code == 303
    assert later.http.get("/conversations").status_code == 302
