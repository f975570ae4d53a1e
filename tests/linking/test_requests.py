"""What a request to change a link asks for, the digest of its content, and what the database may answer."""

from typing import Any
from uuid import UUID, uuid4

import pytest
from sqlalchemy.exc import IntegrityError

from console.linking.service import LinkRequest, OperationReused
from testkit.databases import POSTGRESQL, SQLITE, execute
from testkit.factories import Desk, link_state, operations, trail

CUSTOMER = UUID(int=3)


def request(**asked: Any) -> LinkRequest:
    """Return a request of one operator for one conversation."""
    fixed: dict[str, Any] = {
        "conversation_id": UUID(int=1),
        "actor_id": UUID(int=2),
        "reason": "said so",
        "seen_version": 4,
        "operation_id": UUID(int=5),
    }
    return LinkRequest(**{**fixed, **asked})


@pytest.mark.parametrize(
    "asked",
    [
        {},
        {"customer_id": CUSTOMER, "create": True},
        {"customer_id": CUSTOMER, "unlink": True},
        {"create": True, "unlink": True},
    ],
)
def test_a_request_asks_for_exactly_one_thing(asked: dict[str, object]):
    with pytest.raises(ValueError, match=r"^a customer, create or unlink$"):
        request(**asked)


@pytest.mark.shows("CM-2.3.8")
@pytest.mark.parametrize(
    ("asked", "digest"),
    [
        ({"customer_id": CUSTOMER}, "6b95dd7ef79ad997b57fa165f43bc2d9ba308bcf4314a50f87977d3f92a845b9"),
        ({"create": True}, "1c654e6f1956521cf3b6650dd66111655d910c7d95eababa6d81fac043d37eab"),
        ({"unlink": True}, "ae224d28d2dacb089df833cc3c5302086401feb2aa34f167a7f0dcdb1591b088"),
    ],
)
def test_an_operation_has_the_same_digest_in_every_release(asked: dict[str, object], digest: str):
    assert request(**asked).digest == digest


REFUSING_LINKS = {
    SQLITE: (
        "CREATE TRIGGER refuse BEFORE UPDATE OF customer_id ON conversations"
        " BEGIN SELECT RAISE(ABORT, 'no'); END"
    ),
    POSTGRESQL: "ALTER TABLE conversations ADD CONSTRAINT refuse CHECK (customer_id IS NULL)",
}


def test_only_a_missing_customer_is_told_as_one(anna: Desk, engine: str):
    conversation_id = anna.conversation("393331234567")
    execute(REFUSING_LINKS[engine])
    with pytest.raises(IntegrityError):
        anna.link(conversation_id)
    assert link_state(conversation_id).link_version == 0


@pytest.mark.shows("CM-2.3.8")
def test_an_operation_id_that_is_taken_is_the_reason_given_whatever_else_is_wrong(anna: Desk, bruno: Desk):
    taken = uuid4()
    bruno.link(bruno.conversation("447700900123"), operation_id=taken)
    conversation_id, other = anna.conversation("393331234567"), anna.customer("393330000000")
    anna.link(conversation_id)
    linked_to = link_state(conversation_id).customer_id
    asked: list[dict[str, Any]] = [
        {"customer_id": other, "confirmed": True},
        {"customer_id": other},
        {"customer_id": other, "confirmed": True, "seen_version": 0},
        {"customer_id": linked_to},
        {"customer_id": bruno.customer("447700900124"), "confirmed": True},
        {"create": True, "confirmed": True},
    ]
    before = link_state(conversation_id), trail(), operations()
    for each in asked:
        with pytest.raises(OperationReused):
            anna.link(conversation_id, operation_id=taken, **each)
    assert (link_state(conversation_id), trail(), operations()) == before
