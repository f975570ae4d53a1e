"""A repeated request has the effect of one, whatever repeated it."""

import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from uuid import UUID, uuid4

import pytest
from flask import Flask

from testkit.factories import heal, link_state, operations, trail
from verification.faults.databases import Database
from verification.faults.figures import Figures, sizes
from verification.faults.operators import USED_BEFORE
from verification.faults.server import Reply, Server, Visitor, serve
from verification.faults.world import World, address, populate

AT_ONCE = 4
PATIENCE = 20


@pytest.fixture
def server(app: Flask, database: Database, tmp_path: Path) -> Iterator[Server]:
    """Return a running console."""
    with serve(database.settings, tmp_path) as server:
        yield server


class Tabs:
    """One session, open in several tabs."""

    def __init__(self, server: Server, world: World) -> None:
        self.world = world
        self.visitors = [Visitor(server.port) for _ in range(AT_ONCE)]
        self.visitors[0].sign_in(address(world.operator_ids[0]))
        page = self.visitors[0].get(f"/links/{world.conversation_ids[0]}")
        self.token = page.field("csrf_token") or ""
        for visitor in self.visitors:
            visitor.cookie = self.visitors[0].cookie

    def form(self, customer: int = 0) -> dict[str, str]:
        """Return a form that has not been sent yet."""
        return {
            "csrf_token": self.token,
            "customer_id": str(self.world.customer_ids[customer]),
            "reason": "a reason",
            "seen_version": "0",
            "operation_id": str(uuid4()),
        }

    def close(self) -> None:
        """Close all tabs."""
        for visitor in self.visitors:
            visitor.close()


def double_click(tabs: Tabs, path: str, form: dict[str, str]) -> list[Reply]:
    """Send a form from all tabs at once."""
    with ThreadPoolExecutor(AT_ONCE) as pool:
        return list(pool.map(lambda visitor: visitor.post(path, form), tabs.visitors))


def retry(tabs: Tabs, path: str, form: dict[str, str]) -> list[Reply]:
    """Send a form, and after its answer again."""
    return [tabs.visitors[0].post(path, form) for _ in range(3)]


def severed(tabs: Tabs, path: str, form: dict[str, str]) -> list[Reply]:
    """Send a form, lose the answer once the write is there, and send it again."""
    tabs.visitors[0].sever(path, form)
    conversation_id, deadline = UUID(path.removeprefix("/links/")), time.monotonic() + PATIENCE
    while link_state(conversation_id).link_version == 0 and time.monotonic() < deadline:
        time.sleep(0.005)
    assert operations()[UUID(form["operation_id"])] == conversation_id
    return [tabs.visitors[1].post(path, form)]


def hung_up_at_once(tabs: Tabs, path: str, form: dict[str, str]) -> list[Reply]:
    """Send a form, hang up, and send it again while the first may still be on its way."""
    tabs.visitors[0].sever(path, form)
    return [tabs.visitors[1].post(path, form)]


WAYS: list[Callable[[Tabs, str, dict[str, str]], list[Reply]]] = [
    double_click,
    retry,
    severed,
    hung_up_at_once,
]


@sizes(short=8, full=1000)
def test_a_repeat_is_one_event_and_says_what_happened(
    app: Flask, server: Server, figures: Figures, size: int
):
    world = populate(conversations=size)
    tabs = Tabs(server, world)
    for number, conversation_id in enumerate(world.conversation_ids):
        path, form = f"/links/{conversation_id}", tabs.form()
        replies = WAYS[number % len(WAYS)](tabs, path, form)
        assert [reply.status for reply in replies] == [303] * len(replies)
        tabs.visitors[0].cookie = replies[-1].cookie or ""
        assert "Linked <" in tabs.visitors[0].get(path).text
        tabs.visitors[0].cookie = tabs.visitors[1].cookie
        assert link_state(conversation_id).link_version == 1
    heal()
    for conversation_id in world.conversation_ids:
        assert len(trail(conversation_id)) == 1
    tabs.close()
    figures("operations repeated in four ways, each of them one event and one answer", size)


@sizes(short=4, full=500)
def test_the_same_operation_with_other_content_is_refused_clearly(
    app: Flask, server: Server, figures: Figures, size: int
):
    world = populate(conversations=size + 1)
    tabs = Tabs(server, world)
    *conversations, elsewhere = world.conversation_ids
    for conversation_id in conversations:
        path, form = f"/links/{conversation_id}", tabs.form()
        other = {**form, "customer_id": str(world.customer_ids[1]), "overwrite": "1"}
        with ThreadPoolExecutor(2) as pool:
            both = pool.map(Visitor.post, tabs.visitors, [path, path], [form, other])
            replies = sorted(both, key=lambda reply: reply.status)
        assert [reply.status for reply in replies] == [303, 409]
        assert USED_BEFORE in replies[1].text
        unlinked = tabs.visitors[0].post(f"{path}/unlink", {**form, "confirm": "1"})
        assert (unlinked.status, USED_BEFORE in unlinked.text) == (409, True)
        moved = tabs.visitors[0].post(f"/links/{elsewhere}", form)
        assert (moved.status, USED_BEFORE in moved.text) == (409, True)
        assert link_state(conversation_id).link_version == 1
    assert link_state(elsewhere).link_version == 0
    tabs.close()
    figures("operations sent again with other content, all refused", 3 * size)
