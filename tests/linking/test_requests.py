"""What a request to change a link asks for, the digest of its content, and what the database may answer."""

from typing import Any
from uuid import UUID

import pytest
from sqlalchemy.exc import IntegrityError

from console.linking.service import LinkRequest
from testkit.databases import POSTGRESQL, SQLITE, execute
from testkit.factories import Desk, link_state

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
