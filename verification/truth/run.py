"""One world from its beginning to the end, and the figures that come of it."""

import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from multiprocessing.queues import Queue
from random import Random
from typing import Any
from uuid import UUID
from zoneinfo import ZoneInfo

import pytest
from argon2 import PasswordHasher
from flask import Flask
from flask.testing import FlaskCliRunner
from jinja2.bccache import Bucket, BytecodeCache

from console import accounts, create_app
from console.config import Settings
from testkit import factories
from testkit.databases import as_owner, back_door
from testkit.factories import PASSWORD, instructor, run
from testkit.pages import Client
from verification.truth import network
from verification.truth.clock import console_time
from verification.truth.judge import Judge
from verification.truth.operators import Operators
from verification.truth.truth import Instructor, User
from verification.truth.world import Size, World

ZONE = "Europe/Rome"

INSTRUCTORS = ("Anna Kofler", "Bruno Pichler", "Carla Moser", "Dario Gruber", "Elsa Mair", "Fabio Egger")
# What people type into a search: parts of an identifier, written in every way, and what no number holds.
TERMS = ("{0:.4}", "{0}", "{0:.2} {0:.5}", "+{0:.6}", "00{0:.3}", "it.", "39x", "%", "_", "-", "+", "(0)")

OPERATORS = ("Marta Rossi", "Nico Bauer", "Olga d'Alto", "Piero <Lang>")


@dataclass(frozen=True)
class Figures:
    """What was judged, and what was wrong."""

    judged: int
    false: int
    lost: int
    doubled: int
    misattributed: int
    unmade: int
    unknown: dict[str, int]
    by_kind: dict[str, int]
    examples: list[str]
    written: int
    messages: int
    pages: int
    world: dict[str, int]
    visits: dict[str, int]


class Compiled(BytecodeCache):
    """Templates that an earlier console of this process has compiled."""

    def __init__(self) -> None:
        self.known: dict[str, bytes] = {}

    def load_bytecode(self, bucket: Bucket) -> None:
        """Take what is known of a template."""
        if bucket.key in self.known:
            bucket.bytecode_from_string(self.known[bucket.key])

    def dump_bytecode(self, bucket: Bucket) -> None:
        """Keep a template."""
        self.known[bucket.key] = bucket.bytecode_to_string()


COMPILED = Compiled()


class Stage:
    """A console with a world around it."""

    def __init__(self, settings: Settings, seed: int, size: Size, *, stops: bool = False) -> None:
        settings = replace(
            settings,
            whatsapp_app_secret=network.SECRET,
            time_zone=ZoneInfo(ZONE),
            log_level="critical",
        )
        self.app: Flask = create_app(settings)
        self.app.jinja_env.bytecode_cache = COMPILED
        owner = as_owner(settings)
        self.cli: FlaskCliRunner = (self.app if owner == settings else create_app(owner)).test_cli_runner()
        self.whatsapp = Client(self.app, self.app.response_class)
        self.world = World(seed, size, self.deliver)
        self.judge = Judge(self.world.truth, self.world.clock, ZONE, stops=stops)
        self.rng = Random(seed + 1)
        self.visits = 0
        self.visitors = Operators(self.app, self.world.truth, self.judge, self.rng)

    def deliver(self, raw: bytes) -> bool:
        """Call the webhook as WhatsApp does; return whether the payload was taken."""
        headers = {"X-Hub-Signature-256": network.signature(raw)}
        status = self.whatsapp.post("/webhooks/whatsapp", data=raw, headers=headers).status_code
        assert status in (200, 503), status
        return status == 200

    def populate(self) -> None:
        """Add the instructors, each with a reader and operators, some of whom they share."""
        truth = self.world.truth
        for number in range(self.world.size.instructors):
            name = f"{INSTRUCTORS[number % len(INSTRUCTORS)]} {number + 1}"
            added = Instructor(name, f"1000000000{number:05}", f"39047190{number:04}")
            added.id = str(instructor(self.cli, name))
            run(self.cli, "channel", "add", "whatsapp", added.account, "--instructor", added.id)
            truth.instructors.append(added)
        for number, item in enumerate(truth.instructors):
            names = (f"{OPERATORS[(number + place) % 4]} {number}" for place in range(2))
            for place, name in enumerate(names):
                email = f"operator-{number}-{place}@example.org"
                theirs = [item, truth.instructors[number - 1]] if place and number else [item]
                for of in theirs:
                    user = ("user", "add", email, "--name", name, "--instructor", of.id, "--role", "operator")
                    run(self.cli, *user, "--password-stdin", stdin=f"{PASSWORD}\n")
                truth.users.append(User(name, email, PASSWORD, theirs, theirs))
            reader = f"reader-{number}@example.org"
            factories.user(self.cli, UUID(item.id), "instructor", reader)
            truth.users.append(User("Marta Rossi", reader, PASSWORD, [], [item]))

    def live(self, *, visits_every: int, progress: Callable[[int], None] = lambda _: None) -> None:
        """Let the world live, and people look at it now and then; in the end look at everything."""
        if not self.world.truth.instructors:
            self.populate()
        self.world.begin()
        done = 0
        steps = self.world.steps()
        for step, delivered in enumerate(steps):
            progress(delivered - done)
            done = delivered
            if step % (visits_every * 10) == visits_every * 5:
                with self.without("messages"):  # WhatsApp has to send again what comes meanwhile
                    self.visitors.read_inbox(self.rng.choice(self.world.truth.instructors))
                    for _ in zip(range(6), steps, strict=False):
                        pass
            elif step % visits_every == 0 and delivered:
                self.visit()
        self.sweep(progress)

    def visit(self) -> None:
        """Let someone do something, now and then while something is out of order."""
        rng, visitors = self.rng, self.visitors
        item = rng.choice([item for item in self.world.truth.instructors if item.threads] or [None])
        if item is None:
            return
        self.visits += 1
        away = {2: "customers", 5: "audit_events"}.get(self.visits % 9)
        with self.without(away) if away else calm():
            visitors.read_inbox(item, most=rng.choice((1, 1, 2)))
            seen = [thread for thread in item.threads.values() if thread.id]
            if not seen:
                return
            thread = rng.choice(seen)
            visitors.read_thread(thread)
            visitors.read_badges(item)
            if self.world.truth.lookups_fail:
                return
            visitors.read_desk(item, linked=rng.random() < 0.5)
            visitors.work(thread)
            visitors.work(rng.choice(seen))
            visitors.read_thread(thread)
            term = rng.choice(TERMS).format(rng.choice(seen).identifier)
            visitors.search_customers(thread, term)
            visitors.read_inbox(item, term=term)
            visitors.read_desk(item, linked=rng.random() < 0.5, term=term)
            if visitors.past:
                visitors.send_again()
            visitors.stray(rng.choice(self.world.truth.users), thread)
        if rng.random() < 0.1:
            visitors.read_readiness()

    @contextmanager
    def without(self, table: str) -> Iterator[None]:
        """Take a table away for a while: then nothing can be looked up in it, or written to it."""
        truth = self.world.truth
        with self.app.app_context(), back_door() as connection:
            connection.exec_driver_sql(f"ALTER TABLE {table} RENAME TO away")
        truth.lookups_fail, truth.trail_fails = table == "customers", table == "audit_events"
        truth.messages_fail = table == "messages"
        try:
            yield
        finally:
            with self.app.app_context(), back_door() as connection:
                connection.exec_driver_sql(f"ALTER TABLE away RENAME TO {table}")
            truth.lookups_fail = truth.trail_fails = truth.messages_fail = False

    def sweep(self, progress: Callable[[int], None]) -> None:
        """Read everything there is: every list, every conversation, every link."""
        everything = 10**6
        for item in self.world.truth.instructors:
            self.visitors.read_inbox(item, most=everything)
            for thread in list(item.threads.values()):
                if not self.judge.holds("lost", thread.id is not None, "nowhere", thread.identifier):
                    self.judge.lost += len(thread.messages)
                else:
                    self.visitors.read_thread(thread, most=everything)
                    progress(len(thread.messages))
                    if thread.changes:
                        self.visitors.open(self.visitors.operator(item), thread)
            for linked in (False, True):
                self.visitors.read_desk(item, linked=linked)
        self.visitors.read_readiness()

    @property
    def figures(self) -> Figures:
        """Return what came of it."""
        judge = self.judge
        return Figures(
            judge.judged.total(),
            judge.false.total(),
            judge.lost,
            judge.doubled,
            judge.false["author"] + judge.false["side"],
            judge.unmade,
            dict(judge.unknown),
            dict(judge.judged),
            judge.examples,
            self.world.written,
            len(self.world.truth.stored),
            self.visitors.fetched,
            self.world.figures,
            self.visitors.figures,
        )


@contextmanager
def calm() -> Iterator[None]:
    """Leave everything in order."""
    yield


@contextmanager
def staged(settings: Settings, seed: int, size: Size, *, stops: bool = False) -> Iterator[Stage]:
    """Set a stage, on which the console's time is the world's, and hashes cost little."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(accounts.service, "hasher", PasswordHasher(time_cost=1, memory_cost=8, parallelism=1))
        stage = Stage(settings, seed, size, stops=stops)
        with console_time(stage.world.clock):
            yield stage


def live_apart(
    engine: str, settings: Settings, seed: int, size: Size, visits_every: int, queue: "Queue[tuple[str, Any]]"
) -> None:
    """Live in a process of its own: put how many messages were dealt with, and in the end the figures."""
    waiting = 0

    def progress(number: int) -> None:
        nonlocal waiting
        waiting += number
        if waiting >= size.messages // 500:
            queue.put((engine, waiting))
            waiting = 0

    os.nice(5)
    with staged(settings, seed, size) as stage:
        stage.live(visits_every=visits_every, progress=progress)
        queue.put((engine, stage.figures))
