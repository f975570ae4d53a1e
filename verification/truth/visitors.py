"""The people at the console: they look at pages, and the judge reads what they are shown."""

import uuid
from dataclasses import replace
from random import Random
from urllib.parse import quote

from flask import Flask
from werkzeug.test import TestResponse

from testkit.pages import Client
from verification.truth import pages
from verification.truth.judge import Judge
from verification.truth.statements import ELSEWHERE, About, judge_statements
from verification.truth.truth import Instructor, Thread, Truth, User
from verification.truth.words import PAGE, by_newest


class Visitors:
    """Everyone who signs in, with a browser each."""

    def __init__(self, app: Flask, truth: Truth, judge: Judge, rng: Random) -> None:
        self.truth = truth
        self.judge = judge
        self.rng = rng
        self.fetched = 0
        self.app = app
        self._browsers: dict[str, Client] = {}

    def browser(self, user: User) -> Client:
        """Return a user's browser, signed in."""
        if user.email not in self._browsers:
            client = Client(self.app, self.app.response_class)
            fields = pages.failure(client.get("/login").text)[2]
            (form,) = fields.values()
            answer = client.post("/login", data={**form, "email": user.email, "password": user.password})
            assert answer.status_code == 303, answer.text
            self._browsers[user.email] = client
        return self._browsers[user.email]

    def get(self, user: User, path: str, about: About = ELSEWHERE) -> TestResponse:
        """Fetch a page as a user, and judge what it states besides what the caller reads."""
        self.fetched += 1
        self.judge.reader = user
        answer = self.browser(user).get(path)
        self.overhear(answer, about)
        return answer

    def overhear(self, answer: TestResponse, about: About) -> None:
        """Judge what an answer states besides what the caller reads of it."""
        judge_statements(self.judge, pages.others(answer.text), replace(about, status=answer.status_code))

    def reader(self, instructor: Instructor) -> User:
        """Return someone who may read an instructor's conversations."""
        return self.rng.choice([user for user in self.truth.users if instructor in user.reads])

    def operator(self, instructor: Instructor) -> User:
        """Return someone who may link for an instructor."""
        return self.rng.choice([user for user in self.truth.users if instructor in user.operator_of])

    def read_inbox(self, instructor: Instructor, *, most: int = 1, term: str = "") -> None:
        """Read the first pages of an instructor's list."""
        user, skip = self.reader(instructor), 0
        path: str | None = f"/conversations?instructor={instructor.id}&plain=1&q={quote(term)}"
        while path and most:
            about = About("inbox", instructor=instructor, term=term, older=skip > 0)
            answer = self.get(user, path, about)
            if not self.expect(answer, 200):
                return
            said = pages.inbox(answer.text)
            skip = self.judge.inbox(said, instructor, skip=skip, term=term)
            path = said.older and f"{said.older}&plain=1"
            most -= 1

    def read_badges(self, instructor: Instructor) -> None:
        """Read the badges of the newest conversations, as they come to a page that is there already."""
        threads = [row for row in by_newest(instructor)[:PAGE] if row.id]
        if not threads:
            return
        answer = self.get(self.reader(instructor), "/badges?" + "&".join(f"id={item.id}" for item in threads))
        if self.expect(answer, 200):
            found = pages.badges(answer.text)
            for thread in threads:
                self.judge.badge(found.get(thread.id or ""), thread)

    def read_thread(self, thread: Thread, *, most: int = 1) -> None:
        """Read the newest pages of a conversation."""
        user = self.reader(thread.instructor)
        path: str | None = f"/conversations/{thread.id}?plain=1"
        skip = 0
        while path and most:
            answer = self.get(user, path, About("thread", thread=thread))
            if not self.expect(answer, 200):
                return
            said = pages.thread(answer.text)
            skip = self.judge.thread(said, thread, skip=skip)
            path = said.older and f"{said.older}&plain=1"
            most -= 1

    def read_desk(self, instructor: Instructor, *, linked: bool, term: str = "") -> None:
        """Read the first page of the linking desk."""
        path = f"/links?instructor={instructor.id}&plain=1&q={quote(term)}" + (
            "&linked=yes" if linked else ""
        )
        about = About("desk", instructor=instructor, linked=linked, term=term)
        answer = self.get(self.operator(instructor), path, about)
        if self.expect(answer, 200):
            self.judge.desk(pages.desk(answer.text), about)

    def search_customers(self, thread: Thread, term: str) -> None:
        """Search the customers that a conversation can be linked to."""
        path = f"/links/{thread.id}/customers?q={quote(term)}"
        answer = self.get(self.operator(thread.instructor), path)
        if self.expect(answer, 200):
            self.judge.choices(*pages.customers(answer.text), thread, term=term)

    def read_readiness(self) -> None:
        """Read when the last message came."""
        self.fetched += 1
        answer = Client(self.app, self.app.response_class).get("/readyz")
        told = next((text for name, text in pages.readiness(answer.text).items() if "message" in name), None)
        moments = [thread.newest for thread in self.truth.threads() if thread.newest <= self.judge.clock.now]
        if told and moments:
            self.judge.exact("last message", told, max(moments))

    def expect(self, answer: TestResponse, status: int) -> bool:
        """Say whether a page came; what comes instead while something is out of order is judged by itself."""
        if answer.status_code == status:
            return True
        self.judge.holds(
            "page", self.is_out_of_order and answer.status_code == 503, answer.status_code, status
        )
        return False

    @property
    def is_out_of_order(self) -> bool:
        """Return whether pages may fail."""
        return self.truth.lookups_fail or self.truth.messages_fail

    def stray(self, user: User, thread: Thread) -> None:
        """Ask for a conversation of an instructor whose member this person isn't."""
        answer = self.get(user, f"/conversations/{thread.id}", About("thread", thread=thread))
        self.judge.says("not yours", answer.status_code, 200 if thread.instructor in user.reads else 404)
        answer = self.get(user, f"/conversations/{uuid.uuid4()}")
        self.judge.says("not there", answer.status_code, 404)
