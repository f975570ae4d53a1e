"""Many sign-ins at once: how many passwords are hashed at a time, and the answer to the others."""

import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any, Literal

import pytest
from argon2 import PasswordHasher
from flask import Flask
from werkzeug.test import TestResponse

from console.accounts.service import MAX_SIGN_INS
from testkit.databases import SQLITE
from testkit.factories import Person
from testkit.pages import Browser


@pytest.fixture
def engine() -> str:
    """Run on one engine: a hash is the same on both."""
    return SQLITE


class Hashing:
    """What goes on while passwords are verified: each waits until it is let go on."""

    def __init__(self) -> None:
        self.now = self.most = 0
        self.lock, self.go_on = threading.Lock(), threading.Event()


@pytest.fixture
def hashing(monkeypatch: pytest.MonkeyPatch) -> Iterator[Hashing]:
    """Watch how many passwords are verified at a time, and hold each up."""
    seen, verify = Hashing(), PasswordHasher.verify

    def watched(self: PasswordHasher, hash: str | bytes, password: Any) -> Literal[True]:  # noqa: A002 (argon2's)
        with seen.lock:
            seen.now += 1
            seen.most = max(seen.most, seen.now)
        try:
            assert seen.go_on.wait(30)
            return verify(self, hash, password)
        finally:
            with seen.lock:
                seen.now -= 1

    monkeypatch.setattr(PasswordHasher, "verify", watched)
    yield seen
    seen.go_on.set()


def test_one_password_is_hashed_at_a_time_and_a_few_wait(app: Flask, marta: Person, hashing: Hashing):
    browsers = [Browser(app) for _ in range(40)]
    pages = [browser.get_page("/login") for browser in browsers]

    def sign_in(place: int) -> TestResponse:
        fields = {"email": marta.email, "password": marta.password}
        return browsers[place].submit(pages[place], **fields)

    with ThreadPoolExecutor(40) as pool:
        attempts = [pool.submit(sign_in, place) for place in range(40)]
        deadline = time.monotonic() + 30
        while sum(attempt.done() for attempt in attempts) < 40 - MAX_SIGN_INS and time.monotonic() < deadline:
            time.sleep(0.01)
        hashing.go_on.set()
        answers = [attempt.result() for attempt in attempts]
    assert hashing.most == 1
    statuses = [answer.status_code for answer in answers]
    assert (statuses.count(303), statuses.count(429)) == (MAX_SIGN_INS, 40 - MAX_SIGN_INS)
    place = statuses.index(429)
    assert int(answers[place].headers["Retry-After"]) > 0
    page = browsers[place].check(answers[place], 429)
    assert "Many people are signing in at this moment. Try again in a few seconds." in page.text
    assert page.select_one(f'input[name=email][value="{marta.email}"]')
    assert browsers[place].submit(page, password=marta.password).status_code == 303


def test_a_sign_in_that_waits_too_long_is_a_429(
    app: Flask, marta: Person, hashing: Hashing, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr("console.accounts.service.MAX_HASH_WAIT_SECONDS", 0.05)
    with ThreadPoolExecutor(1) as pool:
        first = pool.submit(Browser(app).sign_in, marta.email, marta.password)
        while not hashing.now:
            time.sleep(0.01)
        assert Browser(app).sign_in(marta.email, marta.password).status_code == 429
        hashing.go_on.set()
        assert first.result().status_code == 303


def test_a_deferred_sign_in_is_no_failed_one(
    app: Flask, marta: Person, hashing: Hashing, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr("console.accounts.service.MAX_HASH_WAIT_SECONDS", 0.001)
    with ThreadPoolExecutor(1) as pool:
        first = pool.submit(Browser(app).sign_in, marta.email, marta.password)
        while not hashing.now:
            time.sleep(0.01)
        for _ in range(6):
            assert Browser(app).sign_in(marta.email, "a wrong guess").status_code == 429
        hashing.go_on.set()
        first.result()
    assert Browser(app).sign_in(marta.email, marta.password).status_code == 303
