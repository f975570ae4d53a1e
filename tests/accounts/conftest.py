"""A user, a provider, a clock that can be moved, and a count of what sign-ins cost."""

import time
from collections.abc import Iterator
from dataclasses import replace
from typing import Any, Literal

import pytest
from argon2 import PasswordHasher

from console.config import Settings
from testkit.factories import Desk, Person
from tests.accounts.provider import Provider, provider


@pytest.fixture
def settings(settings: Settings, request: pytest.FixtureRequest) -> Settings:
    """Return the settings of a console, with the provider where the test has one."""
    if "idp" not in request.fixturenames:
        return settings
    idp: Provider = request.getfixturevalue("idp")
    return replace(settings, oidc=idp.settings)


@pytest.fixture
def marta(anna: Desk) -> Person:
    """Return a user who may sign in."""
    return anna.operator


class Clock:
    """What the console takes for the time."""

    def __init__(self) -> None:
        self.ahead = 0.0

    def move(self, seconds: float) -> None:
        """Let time pass, or set the clock back."""
        self.ahead += seconds


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    """Return a clock that can be moved."""
    clock, was = Clock(), time.time
    monkeypatch.setattr(time, "time", lambda: was() + clock.ahead)
    return clock


@pytest.fixture
def verifications(monkeypatch: pytest.MonkeyPatch) -> list[str | bytes]:
    """Return the hashes that passwords were verified against, as the test goes on."""
    made: list[str | bytes] = []
    verify = PasswordHasher.verify

    def counted(self: PasswordHasher, hash: str | bytes, password: Any) -> Literal[True]:  # noqa: A002 (argon2's)
        made.append(hash)
        return verify(self, hash, password)

    monkeypatch.setattr(PasswordHasher, "verify", counted)
    return made


@pytest.fixture(scope="module")
def running() -> Iterator[Provider]:
    """Run a provider for these tests."""
    with provider() as running:
        yield running


@pytest.fixture
def idp(running: Provider) -> Iterator[Provider]:
    """Return the provider, which does right until it is told otherwise."""
    yield running
    running.wrong.clear()
    running.asked.clear()
