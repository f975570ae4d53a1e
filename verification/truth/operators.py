"""The operators: they link, relink and unlink, in two windows at once, and the judge reads the answers."""

import sqlite3
from collections.abc import Callable
from dataclasses import dataclass
from random import Random
from urllib.parse import quote

from flask import Flask
from sqlalchemy import Connection, event
from sqlalchemy.exc import OperationalError
from werkzeug.test import TestResponse

from console.database import db
from verification.truth import pages
from verification.truth.judge import Judge
from verification.truth.said import FormSaid
from verification.truth.statements import About
from verification.truth.truth import Change, Customer, Thread, Truth, User
from verification.truth.visitors import Visitors

REASONS = (
    "said so on the phone",
    "same e-mail address",
    "ha cambiato numero <ieri>",
    "Changed by Marta on 1 Jan 2026",
    "numero   prestato\u200b",
    "è suo fratello & paga lui",
)


@dataclass(frozen=True)
class Window:
    """A form that someone opened, and has not sent yet."""

    user: User
    thread: Thread
    said: FormSaid
    version: int


@dataclass(frozen=True)
class Wish:
    """What someone asks for with a form: a customer, a new one, or none."""

    window: Window
    customer: Customer | None
    create: bool
    reason: str
    confirmed: bool = False

    @property
    def content(self) -> tuple[object, ...]:
        """Return what an operation id belongs to."""
        customer = None if self.create else self.customer
        return (self.window.user, self.window.thread, customer, self.create, self.reason, self.window.version)


def form_of(thread: Thread) -> About:
    """Return what a link form's page is about."""
    return About("form", instructor=thread.instructor, thread=thread, linked=False)


def _fail(_connection: Connection) -> None:
    raise OperationalError("COMMIT", {}, sqlite3.OperationalError("disk I/O error"))


class Operators(Visitors):
    """Everyone who may link."""

    def __init__(self, app: Flask, truth: Truth, judge: Judge, rng: Random) -> None:
        super().__init__(app, truth, judge, rng)
        self.figures = dict.fromkeys(("writes", "conflicts", "repeats", "confirmations", "failures"), 0)
        self.past: list[tuple[Wish, dict[str, str], str, Change]] = []

    def open(self, user: User, thread: Thread, *, term: str = "") -> Window | None:
        """Open the link form of a conversation."""
        answer = self.get(user, f"/links/{thread.id}?plain=1&q={quote(term)}", form_of(thread))
        if not self.expect(answer, 200):
            return None
        said = pages.form(answer.text)
        self.judge.form(said, thread, term=term)
        return Window(user, thread, said, len(thread.changes))

    def send(self, wish: Wish, *, fields: dict[str, str] | None = None, times: int = 1) -> FormSaid | None:
        """Send a form, once or more; judge the last answer, and let the truth change as it has to."""
        window = wish.window
        fields = fields or self.fill(wish)
        outcome, change = self.outcome(wish)
        post = {name: value for name, value in fields.items() if name != "action"}
        if self.rng.random() < 0.06:
            self.fail_to_save(window.user, fields["action"], post)
        for _ in range(times):
            self.fetched += 1
            answer = self.browser(window.user).post(fields["action"], data=post)
        self.figures["repeats"] += times - 1
        if change:
            self.past.append((wish, fields, outcome, change))
            self.figures["writes"] += 1
            window.thread.changes.append(change)
            if change.created and change.new:
                window.thread.instructor.customers[change.new.identifier] = change.new
        return self.hear(answer, wish, outcome, change)

    def send_again(self) -> None:
        """Send a form that was saved once more, whatever happened since: it answers as it did then."""
        wish, fields, outcome, change = self.past[self.fetched % len(self.past)]
        post = {name: value for name, value in fields.items() if name != "action"}
        self.fetched += 1
        self.figures["repeats"] += 1
        answer = self.browser(wish.window.user).post(fields["action"], data=post)
        self.hear(answer, wish, outcome, change)

    def fail_to_save(self, user: User, path: str, post: dict[str, str]) -> None:
        """Send a form while no transaction can be committed: the page may not say what it can't know."""
        self.figures["failures"] += 1
        self.fetched += 1
        with self.app.app_context():
            engine = db.engine
        event.listen(engine, "commit", _fail)
        answer = self.browser(user).post(path, data=post)
        event.remove(engine, "commit", _fail)
        if answer.status_code != 409:  # a refusal needs no commit
            self.judge.says("not saved", answer.status_code, 303, 503)
        if answer.status_code == 503:
            _, text, forms = pages.failure(answer.text)
            self.judge.holds(
                "unsure", "nothing was saved" not in text.lower(), text, "the console can not know"
            )
            again = next((form for form in forms.values() if form["action"] in ("", path)), {})
            kept = all(again.get(name) == value for name, value in post.items() if name != "csrf_token")
            self.judge.holds("kept", kept, again, post)
            self.judge.reader = user
            self.overhear(answer, About("failed", typed=post["reason"]))

    def hear(self, answer: TestResponse, wish: Wish, outcome: str, change: Change | None) -> FormSaid | None:
        """Read and judge what a write is answered with."""
        if answer.status_code == 503:
            heading, text, _ = pages.failure(answer.text)
            self.judge.holds("unsure", "nothing was saved" not in text.lower(), text, heading)
            self.overhear(answer, About("failed", typed=wish.reason))
            return None
        thread, user = wish.window.thread, wish.window.user
        self.judge.reader = user
        if answer.status_code == 303:
            answer = self.get(user, answer.headers["Location"], form_of(thread))
        else:
            self.overhear(answer, form_of(thread))
        said = pages.form(answer.text)
        self.judge.holds("answer", answer.status_code in (200, 409), answer.status_code, outcome)
        self.judge.done(said, outcome, thread, change)
        self.judge.history(said, thread)
        link = thread.link
        self.judge.names("linked to", said.linked_to or "", link.identifier if link else None)
        if outcome == "confirm":
            self.figures["confirmations"] += 1
            self.judge_dialog(said, wish)
        elif said.dialog:
            self.judge.holds("dialog", False, said.dialog.title, outcome)
        if outcome == "stale":
            self.figures["conflicts"] += 1
            self.judge_conflict(said, wish)
        return said

    def judge_dialog(self, said: FormSaid, wish: Wish) -> None:
        """Judge what a person is asked to confirm."""
        thread, dialog = wish.window.thread, said.dialog
        if dialog is None or thread.link is None:
            self.judge.holds("dialog", False, "no dialog", "a dialog")
            return
        self.judge.names("linked now", dialog.before, thread.link.identifier)
        if wish.customer or wish.create:
            self.judge.names("will be", dialog.after, self.wanted(wish))
        else:
            self.judge.says("will be", dialog.after, "Not linked")
        self.judge.says("your reason", dialog.reasons[-1], " ".join(wish.reason.split()))
        self.judge.last_change(dialog.consequence, dialog.when, thread)

    def judge_conflict(self, said: FormSaid, wish: Wish) -> None:
        """Judge what a conflict compares."""
        thread, stale = wish.window.thread, said.stale
        if stale is None:
            self.judge.holds("conflict", False, "no comparison", "a comparison")
            return
        before = thread.changes[wish.window.version - 1].new if wish.window.version else None
        for heading, true in (("When you opened it", before), ("Now", thread.link)):
            told = stale.sides.get(heading, "")
            if told in ("Can’t be told now", "Can’t be read now"):
                self.judge.holds("can't be told", self.truth.trail_fails, told)
            elif true:
                self.judge.names(heading, told, true.identifier)
            else:
                self.judge.says(heading, told, "Not linked")
        told = stale.sides.get("You chose", "")
        if wish.customer or wish.create:
            wanted = self.wanted(wish)
            self.judge.holds("you chose", wanted[-6:] in told.replace(" ", ""), told, wanted)
        else:
            self.judge.says("you chose", told, "Remove the link")
        if stale.changed:
            self.judge.last_change(stale.changed, stale.when, thread)

    @staticmethod
    def wanted(wish: Wish) -> str:
        """Return the identifier of the customer that was asked for."""
        return wish.customer.identifier if wish.customer else wish.window.thread.normalized or ""

    def fill(self, wish: Wish) -> dict[str, str]:
        """Fill in an open form."""
        suffix = "" if wish.customer or wish.create else "/unlink"
        forms = wish.window.said.forms.values()
        wanted = f"/links/{wish.window.thread.id}{suffix}"
        form = next(item for item in forms if item["action"].split("?")[0] == wanted)
        chosen = (
            {"create": "1"}
            if wish.create
            else {"customer_id": wish.customer.id or ""}
            if wish.customer
            else {}
        )
        return {**form, "reason": wish.reason, **chosen}

    def outcome(self, wish: Wish) -> tuple[str, Change | None]:
        """Return what has to come of a form by the rules (CM-2.3), and the change that is made then."""
        thread, link = wish.window.thread, wish.window.thread.link
        if wish.window.version != len(thread.changes):
            return "stale", None
        if link is wish.customer and not wish.create:
            return "unchanged", None
        if link and not wish.confirmed:
            return "confirm", None
        now = self.judge.clock.now
        new = Customer(thread.normalized or "", now) if wish.create else wish.customer
        change = Change(wish.window.user.name, now, link, new, wish.reason, wish.create)
        return ("relinked" if link else "linked") if new else "unlinked", change

    def confirm(self, said: FormSaid | None, wish: Wish) -> None:
        """Confirm what a dialog asks."""
        if said and (fields := said.forms.get("confirmed")):
            confirmed = Wish(wish.window, wish.customer, wish.create, wish.reason, confirmed=True)
            self.send(confirmed, fields=fields, times=self.rng.choice((1, 1, 2)))

    def wish(self, window: Window, *, unlink: bool = False) -> Wish | None:
        """Think of something to ask for with an open form."""
        thread = window.thread
        reason = self.rng.choice(REASONS)
        if unlink:
            return Wish(window, None, False, reason) if thread.link else None
        offered = self.offered(window)
        known = [
            customer
            for customer in thread.instructor.customers.values()
            if customer.id and customer.id in offered
        ]
        others = [row for row in known if row is not thread.link]
        can_create = bool(thread.normalized) and thread.normalized not in thread.instructor.customers
        if can_create and (not others or self.rng.random() < 0.5):
            return Wish(window, None, True, reason)
        if not others or self.rng.random() < 0.1:
            others = known  # the one that it is linked to already is no change
        return Wish(window, self.rng.choice(others), False, reason) if others else None

    @staticmethod
    def offered(window: Window) -> set[str]:
        """Return the customers that a form offers."""
        return {choice.id for choice in window.said.choices}

    def work(self, thread: Thread) -> None:
        """Do something at the desk: link, relink, unlink, twice, or in two windows at once."""
        first, other = self.operator(thread.instructor), self.operator(thread.instructor)
        ways: list[Callable[[User, User, Thread], None]] = [
            self._in_one_window,
            self._in_one_window,
            self._in_two_windows,
            self._there_and_back,
        ]
        self.rng.choice(ways)(first, other, thread)

    def _change(self, user: User, thread: Thread, *, unlink: bool) -> None:
        others = [
            customer_id[-5:]
            for customer_id in thread.instructor.customers
            if customer_id != thread.identifier
        ]
        term = self.rng.choice(others) if others and self.rng.random() < 0.7 else ""
        window = self.open(user, thread, term=term)
        wish = window and self.wish(window, unlink=unlink)
        if wish:
            said = self.send(wish, times=self.rng.choice((1, 1, 1, 2)))
            if said and said.dialog and not wish.confirmed:
                self.judge.clock.pass_seconds(self.rng.uniform(1, 60))
                self.confirm(said, wish)

    def _in_one_window(self, user: User, _other: User, thread: Thread) -> None:
        self._change(user, thread, unlink=self.rng.random() < 0.3)

    def _in_two_windows(self, user: User, other: User, thread: Thread) -> None:
        """Open the same form twice and send both: the second is behind, if the first has changed anything."""
        first, second = self.open(user, thread), self.open(other, thread)
        if not first or not second:
            return
        wishes = (
            self.wish(first, unlink=self.rng.random() < 0.2),
            self.wish(second, unlink=self.rng.random() < 0.2),
        )
        for wish in filter(None, wishes):
            self.judge.clock.pass_seconds(self.rng.uniform(1, 60))
            said = self.send(wish)
            if said and said.dialog and self.rng.random() < 0.8:
                self.confirm(said, wish)

    def _there_and_back(self, user: User, other: User, thread: Thread) -> None:
        """Leave a dialog open while someone else changes the link and changes it back (A, B, A)."""
        window = self.open(user, thread)
        wish = window and self.wish(window, unlink=bool(thread.link) and self.rng.random() < 0.5)
        if not wish:
            return
        if not thread.link:
            self.send(wish)
            return
        said = self.send(wish)
        for unlink in (True, False):
            self.judge.clock.pass_seconds(self.rng.uniform(1, 60))
            self._change(other, thread, unlink=unlink)
        self.confirm(said, wish)
