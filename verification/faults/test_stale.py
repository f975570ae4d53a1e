"""Confirming over a link that changed meanwhile overwrites nothing, and tells who changed it and why."""

import random
import re
from uuid import UUID, uuid4

import pytest
from bs4 import BeautifulSoup
from flask import Flask
from werkzeug.test import TestResponse

from console.database import command_scope
from console.linking import service
from testkit.factories import PASSWORD, link_state
from testkit.pages import Browser, fields_of
from verification.faults.figures import Figures, sizes
from verification.faults.world import World, address, populate

CONVERSATIONS = 200
CONFIRMATIONS_EACH = 5
"""How many people confirm over what they saw before one change."""


class Colleague:
    """A person who changes links while others look at them."""

    def __init__(self, world: World, chance: random.Random) -> None:
        self.world = world
        self.chance = chance
        self.changes = 0

    def change(self, conversation_id: UUID) -> str:
        """Change a link, in one step or by way of another customer and back; return the last reason."""
        before = link_state(conversation_id).customer_id
        others = [item for item in [None, *self.world.customer_ids] if item != before]
        steps = [self.chance.choice(others)]
        if self.chance.random() < 0.5:
            steps.append(before)
        return [self._step(conversation_id, customer_id) for customer_id in steps][-1]

    def _step(self, conversation_id: UUID, customer_id: UUID | None) -> str:
        self.changes += 1
        reason = f"change {self.changes}"
        request = service.LinkRequest(
            conversation_id=conversation_id,
            customer_id=customer_id,
            unlink=customer_id is None,
            actor_id=self.world.operator_ids[1],
            reason=reason,
            seen_version=link_state(conversation_id).link_version,
            operation_id=uuid4(),
            confirmed=True,
        )
        service.change(request, command_scope())
        return reason


@pytest.fixture
def world(app: Flask) -> World:
    """Return a world with two operators."""
    return populate(conversations=CONVERSATIONS, operators=2)


@pytest.fixture
def marta(client: Browser, world: World) -> Browser:
    """Return the first operator, at a browser."""
    client.sign_in(address(world.operator_ids[0]), PASSWORD)
    return client


def confirm(
    browser: Browser, conversation_id: UUID, fields: dict[str, str], chance: random.Random
) -> TestResponse:
    """Send the form with every intent there is, to link or to unlink."""
    to = chance.choice(["", "/unlink"])
    sure = {"overwrite": "1", "confirm": "1"}
    return browser.http.post(f"/links/{conversation_id}{to}", data={**fields, **sure})


_TAG = re.compile("<[^>]*>")


@sizes(short=60, full=10_000)
def test_a_confirmation_over_an_older_version_overwrites_nothing_and_tells_why(
    marta: Browser, world: World, figures: Figures, size: int
):
    chance = random.Random(size)
    colleague = Colleague(world, chance)
    refused = without = 0
    for number in range(size // CONFIRMATIONS_EACH):
        conversation_id = chance.choice(world.conversation_ids)
        page = marta.http.get(f"/links/{conversation_id}").text
        (form,) = BeautifulSoup(page, "html.parser").select(
            f'form[method=post][action="/links/{conversation_id}"]'
        )
        opened = fields_of(form)
        why = colleague.change(conversation_id)
        now = link_state(conversation_id)
        for attempt in range(CONFIRMATIONS_EACH):
            typed = f"typed {number} {attempt}"
            customer_id = str(chance.choice(world.customer_ids))
            fields = {**opened, "reason": typed, "customer_id": customer_id, "operation_id": str(uuid4())}
            missing = chance.choice(["seen_version", "operation_id"]) if attempt == 0 else None
            if missing:
                del fields[missing]
            answer = confirm(marta, conversation_id, fields, chance)
            assert answer.status_code == (428 if missing else 409)
            assert f'value="{typed}"' in answer.text or f">{typed}</textarea>" in answer.text
            assert f'name="seen_version" value="{now.link_version}"' in answer.text
            assert link_state(conversation_id) == now
            without += bool(missing)
            if not missing:
                refused += 1
                told = " ".join(_TAG.sub("", answer.text).split())  # ten times as fast as to parse it
                assert "Someone changed this link" in told
                assert "Changed by Operator 1 on " in told
                assert f": {why}" in told
    figures("confirmations over an older version, 0 overwrites, all told who, when and why", refused)
    figures("confirmations without a precondition, all of them 428", without)
    figures("changes meanwhile, half of them there and back", colleague.changes)
