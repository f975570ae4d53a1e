"""Something fails around the console: a clear page, nothing half written or lost, no restart needed."""

import re
import time
from collections import Counter
from contextlib import AbstractContextManager
from datetime import timedelta
from html import unescape
from pathlib import Path
from uuid import uuid4

import pytest
from flask import Flask
from flask.testing import FlaskCliRunner

from console.database import command_scope, now
from console.linking import service
from testkit.databases import on_postgresql, on_sqlite
from testkit.factories import PASSWORD, heal, link_state, run, trail
from testkit.pages import Browser
from verification.faults.checker import check
from verification.faults.databases import Database
from verification.faults.figures import Figures, sizes
from verification.faults.history import Answer
from verification.faults.operators import operate
from verification.faults.server import Server, Visitor, serve
from verification.faults.surroundings import Restarts, disk_full, obey_file_modes, read_only_files
from verification.faults.test_races import history
from verification.faults.world import World, address, populate

TYPED = "typed <once> & “so”"
HOUR = timedelta(hours=1)
LATE = 60
"""Seconds in which everything has to be well again."""


class Marta:
    """An operator with an open form."""

    def __init__(self, server: Server, world: World) -> None:
        self.world = world
        self.visitor = Visitor(server.port)
        self.visitor.sign_in(address(world.operator_ids[0]))
        page = self.visitor.get(self.path(0))
        self.token = page.field("csrf_token") or ""

    def path(self, conversation: int) -> str:
        """Return where a conversation's form is sent."""
        return f"/links/{self.world.conversation_ids[conversation]}"

    def send(self, conversation: int) -> dict[str, str]:
        """Send the form while something fails; return what the page that comes back would send again."""
        sent = {
            "csrf_token": self.token,
            "customer_id": str(self.world.customer_ids[0]),
            "reason": TYPED,
            "seen_version": "0",
            "operation_id": str(uuid4()),
        }
        reply = self.visitor.post(self.path(conversation), sent)
        assert reply.status == 503, reply.text
        assert "The database can’t be used right now" in reply.text
        hidden = re.findall(r'<input type="hidden" name="(\w+)" value="([^"]*)">', reply.text)
        kept = {name: unescape(value) for name, value in hidden}
        assert kept == sent
        return kept

    def send_again(self, conversation: int, form: dict[str, str]) -> None:
        """Send the form from the error page, until all is well: soon."""
        deadline = time.monotonic() + LATE
        while (reply := self.visitor.post(self.path(conversation), form)).status == 503:
            assert time.monotonic() < deadline, reply.text
            time.sleep(0.1)
        assert reply.status == 303, reply.text

    def fails_and_recovers(self, failing: AbstractContextManager[None]) -> None:
        """Fail to link each conversation while something fails; then succeed, with the same forms."""
        conversations = range(len(self.world.conversation_ids))
        with failing:
            forms = [self.send(conversation) for conversation in conversations]
        for conversation_id in self.world.conversation_ids:
            assert link_state(conversation_id).link_version == 0
        for conversation, form in zip(conversations, forms, strict=True):
            self.send_again(conversation, form)
        for conversation_id in self.world.conversation_ids:
            assert [event["reason"] for event in trail(conversation_id)] == [TYPED]
        self.visitor.close()


@on_sqlite
def test_a_full_disk_is_said_and_passes(app: Flask, database: Database, cli: FlaskCliRunner, tmp_path: Path):
    with serve(database.settings, tmp_path) as server:
        marta = Marta(server, populate(conversations=3))
        marta.fails_and_recovers(disk_full(server))
    run(cli, "audit", "verify")


@on_sqlite
def test_files_that_cannot_be_written_are_said_and_pass(
    app: Flask, database: Database, cli: FlaskCliRunner, tmp_path_factory: pytest.TempPathFactory
):
    world = populate(conversations=3)
    link_state(world.conversation_ids[0])
    elsewhere = tmp_path_factory.mktemp("log")
    with serve(database.settings, elsewhere, prepare=obey_file_modes) as server:
        marta = Marta(server, world)
        with read_only_files(database):
            replace_workers(server)
            marta.visitor.close()
            forms = [marta.send(conversation) for conversation in range(3)]
        for conversation, form in enumerate(forms):
            marta.send_again(conversation, form)
        marta.visitor.close()
    run(cli, "audit", "verify")


def replace_workers(server: Server) -> None:
    """Kill all workers, and wait for those that take their place: these open every file anew."""
    before = set(server.workers())
    for worker in before:
        server.kill(worker)
    while len(set(server.workers()) - before) < len(before):
        time.sleep(0.05)


@on_postgresql
def test_a_database_that_is_stopped_is_said_and_comes_back(
    app: Flask, database: Database, cli: FlaskCliRunner, tmp_path: Path
):
    assert database.cluster
    with serve(database.settings, tmp_path) as server:
        marta = Marta(server, populate(conversations=2))
        database.cluster.stop()
        try:
            forms = [marta.send(conversation) for conversation in range(2)]
        finally:
            database.cluster.start()
        for conversation, form in enumerate(forms):
            marta.send_again(conversation, form)
        marta.visitor.close()
    run(cli, "audit", "verify")


@on_postgresql
@sizes(short={"calls": 200, "times": 2}, full={"calls": 4000, "times": 25})
def test_a_database_that_restarts_under_load_does_nothing_twice_or_by_half(
    app: Flask,
    database: Database,
    cli: FlaskCliRunner,
    figures: Figures,
    tmp_path: Path,
    size: dict[str, int],
):
    world = populate(conversations=20, operators=8)
    with serve(database.settings, tmp_path) as server:
        restarts = Restarts(database, size["times"], pause=1)
        restarts.start()
        try:
            calls = operate(server.port, world, processes=2, calls=size["calls"])
        finally:
            restarts.over.set()
            restarts.join()
        heal()
    answers = Counter(call.answer for call in calls)
    assert check(history(calls)) == []
    assert answers[Answer.DONE] > size["calls"] / 20
    run(cli, "audit", "verify")
    figures("restarts of the database, every second one a crash", restarts.done)
    figures("calls, a linearizable history", len(calls))
    figures("calls answered 503", answers[Answer.UNAVAILABLE])


def test_a_clock_set_back_an_hour_disorders_nothing_and_loses_no_form(
    app: Flask, client: Browser, cli: FlaskCliRunner, monkeypatch: pytest.MonkeyPatch
):
    world = populate(conversations=1)
    (conversation_id,) = world.conversation_ids
    path = f"/links/{conversation_id}"
    link(world, 0, 0)
    client.sign_in(address(world.operator_ids[0]), PASSWORD)
    opened, was = client.get_page(path), time.time
    monkeypatch.setattr(time, "time", lambda: was() - HOUR.total_seconds())  # what sessions go by
    monkeypatch.setattr(service, "now", lambda: now() - HOUR)  # what events go by
    chosen = {"customer_id": str(world.customer_ids[1]), "overwrite": "1", "reason": "because 1"}
    assert client.submit(opened, path, **chosen).location == path
    link(world, 2, 0)
    events = trail(conversation_id)
    assert [event["sequence"] for event in events] == [1, 2, 3]
    assert events[0]["timestamp"] > events[2]["timestamp"] > events[1]["timestamp"]
    run(cli, "audit", "verify")
    told = [item.get_text() for item in client.get_page(path).select(".history li")]
    assert [line.index(f"because {number}") > 0 for line, number in zip(told, (2, 1, 0), strict=True)]


def link(world: World, seen: int, customer: int) -> None:
    """Link the world's conversation over the version that was seen."""
    request = service.LinkRequest(
        conversation_id=world.conversation_ids[0],
        customer_id=world.customer_ids[customer],
        actor_id=world.operator_ids[0],
        reason=f"because {seen}",
        seen_version=seen,
        operation_id=uuid4(),
        confirmed=True,
    )
    service.change(request, command_scope())
