"""Operators at their browsers, who link without pause and try again when the console asks them to."""

import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from http.cookiejar import CookieJar
from itertools import cycle
from threading import Event
from typing import IO, Any
from urllib.error import HTTPError
from urllib.parse import urlencode
from urllib.request import HTTPCookieProcessor, HTTPRedirectHandler, OpenerDirector, build_opener
from uuid import UUID

from bs4 import BeautifulSoup, Tag

from testkit.factories import Person
from testkit.pages import fields_of

ANSWER_SECONDS = 60
PAUSE_SECONDS = 0.2
REASON = "said so on the phone"


@dataclass(frozen=True)
class Acknowledged:
    """A write that the console said was done."""

    conversation_id: UUID
    operation_id: UUID
    version: int
    at: float


@dataclass
class Record:
    """What operators saw: the writes that were acknowledged, and the pages that asked to try again."""

    acknowledged: list[Acknowledged] = field(default_factory=list)
    unavailable: int = 0
    """How many pages said that the database doesn't answer."""
    sent_again: int = 0
    """How many of them held a form that was sent, to be sent again."""
    slowest: float = 0.0
    """The longest that any answer took, in seconds."""
    problems: list[str] = field(default_factory=list)
    """What should not have been seen."""

    def acknowledged_after(self, moment: float) -> bool:
        """Say whether anything was acknowledged since."""
        return bool(self.acknowledged) and self.acknowledged[-1].at > moment


class _Stay(HTTPRedirectHandler):
    """Takes a redirect for the answer that it is."""

    def redirect_request(self, *_: Any) -> None:
        """Follow none."""


@dataclass
class Operator:
    """One person at one browser, who relinks conversations between two customers."""

    address: str
    person: Person
    customer_ids: tuple[UUID, UUID]
    record: Record
    _browser: OpenerDirector = field(
        default_factory=lambda: build_opener(HTTPCookieProcessor(CookieJar()), _Stay())
    )

    def work(self, conversation_ids: list[UUID], stop: Event) -> None:
        """Sign in, then change one conversation's link after the other until told to stop."""
        form = self._open("/login").select("form")[-1]
        self._send(
            "/login", {**fields_of(form), "email": self.person.email, "password": self.person.password}
        )
        turns = {conversation_id: self._turns() for conversation_id in conversation_ids}
        for conversation_id in cycle(conversation_ids):
            if stop.is_set():
                return
            self._change(conversation_id, *next(turns[conversation_id]))

    def _turns(self) -> Iterator[tuple[str, dict[str, str]]]:
        """Give each change of a conversation: what is added to its address, and what is filled in."""
        yield "", {"create": "1"}
        first, second = map(str, self.customer_ids)
        while True:
            yield "", {"customer_id": first, "overwrite": "1"}
            yield "", {"customer_id": second, "overwrite": "1"}
            yield "/unlink", {"confirm": "1"}

    def _change(self, conversation_id: UUID, part: str, choice: dict[str, str]) -> None:
        """Open the form, fill it in and send it: for as long as the console asks to try again, again."""
        path = f"/links/{conversation_id}"
        form = self._open(path).select_one(f'form[method=post][action="{path}{part}"]')
        assert form, f"{path} has no form for {part or 'linking'}"
        opened = fields_of(form)
        fields = {name: opened[name] for name in ("csrf_token", "seen_version", "operation_id")}
        fields |= {**choice, "reason": REASON}
        while True:
            status, page = self._send(path + part, fields)
            if status != 503:
                break
            fields = fields_of(self._retry_form(page))
            self.record.sent_again += 1
            time.sleep(PAUSE_SECONDS)
        if status != 303:
            self.record.problems.append(f"{status} for {fields}: {page.select_one('h1, [role=alert]')}")
            return
        version = int(opened["seen_version"]) + 1
        operation_id = UUID(opened["operation_id"])
        self.record.acknowledged.append(
            Acknowledged(conversation_id, operation_id, version, time.monotonic())
        )

    def _retry_form(self, page: BeautifulSoup) -> Tag:
        form = page.select_one("main form")
        assert form, "the page that says the database doesn't answer has no form"
        if REASON not in page.select("dd")[0].text or "Try again" not in form.text:
            self.record.problems.append("a page without the reason that was typed, or without Try again")
        return form

    def _open(self, path: str) -> BeautifulSoup:
        """Get a page, which at times takes more than one attempt."""
        while True:
            status, page = self._send(path)
            if status == 200:
                return page
            if status != 503:
                self.record.problems.append(f"{status} for {path}")
            time.sleep(PAUSE_SECONDS)

    def _send(self, path: str, fields: dict[str, str] | None = None) -> tuple[int, BeautifulSoup]:
        body = urlencode(fields).encode() if fields else None
        answer: IO[bytes]
        started = time.monotonic()
        try:
            answer = self._browser.open(self.address + path, body, timeout=ANSWER_SECONDS)
        except HTTPError as error:
            answer = error
        with answer:
            status: int = answer.status  # type: ignore[attr-defined]  # both kinds have it
            page = BeautifulSoup(answer.read(), "html5lib")
        self.record.slowest = max(self.record.slowest, time.monotonic() - started)
        self.record.unavailable += status == 503
        return status, page
