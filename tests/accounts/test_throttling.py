"""How often a sign-in may fail, who has to wait then, and for how long."""

import base64
import json
import re
import threading
from collections.abc import Iterator
from dataclasses import replace
from uuid import uuid4

import pytest
import redis
from fakeredis import TcpFakeServer
from flask import Flask
from flask.testing import FlaskCliRunner
from limits import RateLimitItem
from werkzeug.test import TestResponse

from console import create_app
from console.accounts.throttle import ACCOUNT, ADDRESS, Throttle, counters
from console.config import Settings
from testkit.databases import SQLITE
from testkit.factories import Desk, Person, run, user
from testkit.pages import Browser
from tests.accounts.conftest import Clock

MINUTE, HOUR = 60, 60 * 60


@pytest.fixture
def engine() -> str:
    """Run on one engine: the other is asked nothing else by test_sign_in.py."""
    return SQLITE


@pytest.fixture
def bruno(anna: Desk) -> Person:
    """Return a colleague of Marta's."""
    return user(anna.cli, anna.instructor_id)


def fail(browser: Browser, person: Person, times: int = 5) -> None:
    """Fail to sign in, each time being told that it was wrong."""
    for _ in range(times):
        assert browser.sign_in(person.email, "a wrong guess").status_code == 422


def tell_to_wait(answer: TestResponse) -> int:
    """Expect an answer that says to wait, and return for how many seconds."""
    assert answer.status_code == 429
    return int(answer.headers["Retry-After"])


def is_in(answer: TestResponse) -> bool:
    return answer.status_code == 303


def come_from(browser: Browser, client: str) -> Browser:
    browser.http.environ_base["REMOTE_ADDR"] = client
    return browser


def test_a_sign_in_waits_a_minute_after_five_failures_without_hashing(
    client: Browser, marta: Person, clock: Clock, verifications: list[str]
):
    fail(client, marta)
    verifications.clear()
    page = client.get_page("/login?next=/links")
    answer = client.submit(page, email=marta.email, password=marta.password)
    assert 0 < tell_to_wait(answer) <= MINUTE
    shown = client.check(answer, 429)
    alert = shown.select_one("[role=alert]")
    assert alert
    assert re.fullmatch(r"Too many sign-ins failed. Try again in (1 minute|\d\d seconds)\.", alert.text)
    assert shown.select_one(f'input[name=email][value="{marta.email}"]')
    assert shown.select_one('input[name=next][value="/links"]')
    assert marta.password not in answer.text
    assert verifications == []
    clock.move(MINUTE)
    assert is_in(client.submit(shown, password=marta.password))


def test_an_unknown_account_waits_as_well(client: Browser, verifications: list[str]):
    unknown = Person(id=uuid4(), email="unknown@example.org")
    fail(client, unknown)
    verifications.clear()
    assert tell_to_wait(client.sign_in(unknown.email, "a wrong guess"))
    assert verifications == []


def test_the_right_password_never_waits(app: Flask, marta: Person):
    for _ in range(12):
        assert is_in(Browser(app).sign_in(marta.email, marta.password))


@pytest.mark.parametrize("limits", [ACCOUNT, ADDRESS], ids=["account", "address"])
def test_each_limit_waits_longer_than_the_one_before(limits: tuple[RateLimitItem, ...], clock: Clock):
    throttle, counted = Throttle("memory://"), [(limit, "a user") for limit in limits]
    failures, waits = 0, []
    for limit in limits:
        while failures < limit.amount:
            assert throttle.wait(counted) == 0
            throttle.count(counted)
            failures += 1
            clock.move(throttle.wait(counted) if failures < limit.amount else 0)
        waits.append(throttle.wait(counted))
        clock.move(waits[-1])
    assert waits == sorted(set(waits))
    assert throttle.wait(counted) == 0


def test_strangers_lock_no_user_out_of_a_browser_that_they_used(app: Flask, marta: Person, clock: Clock):
    known, stranger = Browser(app), Browser(app)
    known.sign_in(marta.email, marta.password)
    known.submit(known.get_page("/conversations"), "/logout")
    for wait in (MINUTE, 14 * MINUTE):
        fail(stranger, marta)
        clock.move(wait)
    fail(stranger, marta)
    assert tell_to_wait(Browser(app).sign_in(marta.email, marta.password))
    assert is_in(known.sign_in(marta.email, marta.password))


def test_a_browser_that_is_known_waits_for_its_own_failures(app: Flask, marta: Person):
    known = Browser(app)
    known.sign_in(marta.email, marta.password)
    fail(known, marta)
    assert tell_to_wait(known.sign_in(marta.email, marta.password))
    assert is_in(Browser(app).sign_in(marta.email, marta.password))


def test_a_browser_is_known_for_the_users_who_signed_in_on_it(app: Flask, marta: Person, bruno: Person):
    shared, stranger = Browser(app), Browser(app)
    for person in (marta, bruno):
        assert is_in(shared.sign_in(person.email, person.password))
        fail(stranger, person)
    for person in (marta, bruno):
        assert is_in(shared.sign_in(person.email, person.password))
    own = Browser(app)
    own.sign_in(bruno.email, bruno.password)
    assert tell_to_wait(own.sign_in(marta.email, marta.password))


def test_a_browser_is_known_for_the_last_five_and_for_a_year(
    app: Flask, marta: Person, anna: Desk, clock: Clock
):
    shared, stranger = Browser(app), Browser(app)
    shared.sign_in(marta.email, marta.password)
    others = [user(anna.cli, anna.instructor_id) for _ in range(5)]
    for person in others:
        shared.sign_in(person.email, person.password)
    clock.move(364 * 24 * HOUR)
    for person in (marta, others[0]):
        fail(stranger, person)
    assert tell_to_wait(shared.sign_in(marta.email, marta.password))
    cookie = shared.http.get_cookie("device")
    assert cookie
    clock.move(2 * 24 * HOUR)
    late = Browser(app)
    late.http.set_cookie("device", cookie.value)
    fail(stranger, others[0])
    assert tell_to_wait(late.sign_in(others[0].email, others[0].password))


@pytest.mark.parametrize("value", ["", "forged", "eyJhIjoiYiJ9.aSQ.x", "%00", "x" * 3000])
def test_a_made_up_device_is_a_stranger(app: Flask, marta: Person, value: str):
    fail(Browser(app), marta)
    stranger = Browser(app)
    stranger.http.set_cookie("device", value)
    assert tell_to_wait(stranger.sign_in(marta.email, marta.password))


def inside(browser: Browser) -> tuple[str, dict[str, int]]:
    """Return what a browser's device cookie holds: the browser's id, and accounts with their epochs."""
    cookie = browser.http.get_cookie("device")
    assert cookie
    payload = cookie.value.partition(".")[0]
    browser_id, accounts = json.loads(base64.urlsafe_b64decode(payload + "=" * (-len(payload) % 4)))
    return browser_id, accounts


def test_a_device_cookie_contains_no_name_and_keeps_its_id(client: Browser, marta: Person, bruno: Person):
    ids = set()
    for person in (marta, bruno, marta):
        client.sign_in(person.email, person.password)
        browser_id, accounts = inside(client)
        assert not {person.email, str(person.id)} & accounts.keys()
        ids.add(browser_id)
    assert len(ids) == 1
    assert len(inside(client)[1]) == 2


def test_eight_kept_cookies_guess_no_more_often_than_one(app: Flask, marta: Person):
    known = [Browser(app) for _ in range(8)]
    for browser in known:
        browser.sign_in(marta.email, marta.password)
    answers = [browser.sign_in(marta.email, "a wrong guess").status_code for browser in known * 4]
    assert answers == [422] * 5 + [429] * 27


def test_many_accounts_from_known_browsers_at_one_address_wait_as_well(app: Flask, marta: Person):
    known = Browser(app)
    known.sign_in(marta.email, marta.password)
    with app.test_request_context("/login"):
        per_address = counters("another@example.org", "127.0.0.1", device="another")[2 * len(ACCOUNT) :]
    for _ in range(ADDRESS[0].amount):
        app.extensions["throttle"].count(per_address)
    assert tell_to_wait(known.sign_in(marta.email, marta.password)) > 50 * MINUTE
    assert is_in(Browser(app).sign_in(marta.email, marta.password))


@pytest.mark.parametrize("command", ["password", "disable", "sign-out"])
def test_a_device_is_known_no_longer_than_the_epoch_of_its_sign_in(
    app: Flask, marta: Person, cli: FlaskCliRunner, command: str
):
    known, password = Browser(app), marta.password
    known.sign_in(marta.email, password)
    stdin: str | None = None
    options: tuple[str, ...] = ()
    if command == "password":
        password, options = "quite another long one", ("--password-stdin",)
        stdin = f"{password}\n"
    run(cli, "user", command, marta.email, *options, stdin=stdin)
    if command == "disable":
        run(cli, "user", "enable", marta.email)
    fail(Browser(app), marta)
    assert tell_to_wait(known.sign_in(marta.email, password))


def test_signing_out_elsewhere_makes_a_browser_a_stranger_and_here_it_stays_known(app: Flask, marta: Person):
    here, elsewhere = Browser(app), Browser(app)
    for browser in (here, elsewhere):
        browser.sign_in(marta.email, marta.password)
    here.submit(here.get_page("/conversations"), "/logout")
    fail(Browser(app), marta)
    assert tell_to_wait(elsewhere.sign_in(marta.email, marta.password))
    assert is_in(here.sign_in(marta.email, marta.password))


def test_a_device_of_the_key_before_is_known(settings: Settings, app: Flask, marta: Person):
    known = Browser(app)
    known.sign_in(marta.email, marta.password)
    cookie = known.http.get_cookie("device")
    assert cookie
    rotated = replace(settings, secret_key="the key after" * 4, secret_key_fallbacks=(settings.secret_key,))
    for changed, waits in ((rotated, False), (replace(rotated, secret_key_fallbacks=()), True)):
        after = create_app(changed)
        fail(Browser(after), marta)
        kept = Browser(after)
        kept.http.set_cookie("device", cookie.value)
        assert is_in(kept.sign_in(marta.email, marta.password)) is not waits


def exhaust(app: Flask, client: str, limit: int = 0) -> None:
    """Let sign-ins to many an account fail from one address, as often as they may."""
    with app.test_request_context("/login", environ_base={"REMOTE_ADDR": client}):
        counted = counters("unknown@example.org", client, device=None)[len(ACCOUNT) :]
    assert counted
    for _ in range(ADDRESS[limit].amount):
        app.extensions["throttle"].count(counted)


def test_too_many_failures_from_one_address_make_its_strangers_wait(app: Flask, marta: Person, bruno: Person):
    known = Browser(app)
    known.sign_in(marta.email, marta.password)
    exhaust(app, "127.0.0.1")
    assert tell_to_wait(Browser(app).sign_in(bruno.email, bruno.password)) > 50 * MINUTE
    assert is_in(known.sign_in(marta.email, marta.password))
    assert is_in(come_from(Browser(app), "192.0.2.1").sign_in(bruno.email, bruno.password))


def test_addresses_of_one_network_count_as_one(app: Flask, marta: Person, bruno: Person):
    Browser(app).sign_in(marta.email, marta.password)
    exhaust(app, "2001:db8:1:2::1")
    exhaust(app, "192.0.2.1")
    exhaust(app, "")
    for client, waits in (
        ("2001:db8:1:2:ffff::9", True),
        ("2001:db8:1:3::1", False),
        ("::ffff:192.0.2.1", True),
        ("::ffff:192.0.2.2", False),
        ("no address", True),
    ):
        answer = come_from(Browser(app), client).sign_in(bruno.email, bruno.password)
        assert is_in(answer) is not waits, client


def test_an_invalid_address_counts_for_no_account(app: Flask, client: Browser, marta: Person):
    for _ in range(ADDRESS[0].amount + 1):
        assert client.sign_in("no address at all", "a wrong guess").status_code == 422


def test_a_form_without_its_token_is_not_counted_as_a_failed_sign_in(client: Browser, marta: Person):
    page = client.get_page("/login")
    for _ in range(6):
        client.submit(page, csrf_token="x", email=marta.email, password="a wrong guess")
    assert is_in(client.sign_in(marta.email, marta.password))


class Server:
    """A Redis that can be stopped, and started again empty."""

    def __init__(self) -> None:
        self.address = ("127.0.0.1", 0)
        self.start()

    @property
    def url(self) -> str:
        return f"redis://127.0.0.1:{self.address[1]}/0"

    def start(self) -> None:
        self.server = TcpFakeServer(self.address)
        self.address = ("127.0.0.1", self.server.server_address[1])
        self.thread = threading.Thread(target=self.server.serve_forever, args=(0.05,))
        self.thread.start()

    def stop(self) -> None:
        self.server.shutdown()
        self.server.server_close()
        self.thread.join()

    def keys(self) -> dict[str, int]:
        """Return every key with the seconds after which it goes."""
        with redis.Redis.from_url(self.url) as client:
            return {key.decode(): client.ttl(key) for key in client.scan_iter()}


@pytest.fixture
def store(monkeypatch: pytest.MonkeyPatch) -> Iterator[Server]:
    """Return a Redis that may be slow: it shares this process, so under load it takes more than a second."""
    monkeypatch.setattr("console.accounts.throttle.STORE_SECONDS", 60)
    monkeypatch.setattr("console.accounts.throttle.STORE_REST_SECONDS", HOUR)
    server = Server()
    yield server
    server.stop()


def test_processes_share_their_counts_through_redis(settings: Settings, store: Server, marta: Person):
    shared = replace(settings, throttle_url=store.url)
    first, another, alone = (create_app(chosen) for chosen in (shared, shared, settings))
    fail(Browser(first), marta, times=3)
    fail(Browser(another), marta, times=2)
    for app in (first, another):
        assert 0 < tell_to_wait(Browser(app).sign_in(marta.email, marta.password)) <= MINUTE
    assert is_in(Browser(alone).sign_in(marta.email, marta.password))


def test_redis_keeps_no_address_and_nothing_for_good(settings: Settings, store: Server, marta: Person):
    browser = come_from(Browser(create_app(replace(settings, throttle_url=store.url))), "192.0.2.77")
    fail(browser, marta)
    keys = store.keys()
    assert len(keys) == len(ACCOUNT) + len(ADDRESS)
    assert sorted(keys.values()) == pytest.approx([60, 900, 3600, 86400, 86400], abs=30)
    assert not [key for key in keys if marta.email in key or "example" in key or "192.0" in key]


def test_sign_in_works_without_redis_and_failures_are_counted(
    settings: Settings,
    store: Server,
    marta: Person,
    capfd: pytest.CaptureFixture[str],
):
    app = create_app(replace(settings, throttle_url=store.url))
    fail(Browser(app), marta, times=1)
    store.stop()
    capfd.readouterr()
    browser = Browser(app)
    assert is_in(browser.sign_in(marta.email, marta.password))
    fail(Browser(app), marta)
    assert tell_to_wait(Browser(app).sign_in(marta.email, marta.password))
    assert capfd.readouterr().err.count("throttle_store_does_not_answer") == 1
    store.start()
    app.extensions["throttle"].rests_until = 0.0
    fail(Browser(app), marta, times=1)
    assert store.keys()
