"""An instructor, operators, customers and conversations, put into the database past the console."""

from dataclasses import dataclass
from uuid import UUID

from sqlalchemy import insert

from console.accounts.service import hash_password
from console.database import new_id
from console.models import Conversation, Customer, Instructor, Membership, User
from testkit.databases import back_door
from testkit.factories import PASSWORD

CHANNEL = "whatsapp"


@dataclass(frozen=True)
class World:
    """One instructor with everything that links need."""

    instructor_id: UUID
    operator_ids: list[UUID]
    customer_ids: list[UUID]
    conversation_ids: list[UUID]


def populate(*, conversations: int, customers: int = 3, operators: int = 1) -> World:
    """Make an instructor whose every conversation has an identifier of its own, and no customer yet."""
    world = World(
        new_id(), *([new_id() for _ in range(count)] for count in (operators, customers, conversations))
    )
    with back_door() as connection:
        connection.execute(insert(Instructor), [{"id": world.instructor_id, "name": "Anna Kofler"}])
        password_hash = hash_password(PASSWORD)
        connection.execute(
            insert(User),
            [
                {
                    "id": operator_id,
                    "email": address(operator_id),
                    "name": f"Operator {number}",
                    "password_hash": password_hash,
                }
                for number, operator_id in enumerate(world.operator_ids)
            ],
        )
        connection.execute(
            insert(Membership),
            [
                {"user_id": operator_id, "instructor_id": world.instructor_id, "role": "operator"}
                for operator_id in world.operator_ids
            ],
        )
        connection.execute(
            insert(Customer),
            [
                {"id": customer_id, "normalized_identifier": f"447{number:09}", **_of(world)}
                for number, customer_id in enumerate(world.customer_ids)
            ],
        )
        connection.execute(
            insert(Conversation),
            [
                {"id": conversation_id, "customer_identifier": f"39{number:09}", **_of(world)}
                for number, conversation_id in enumerate(world.conversation_ids)
            ],
        )
    return world


def address(operator_id: UUID) -> str:
    """Return what an operator signs in with."""
    return f"{operator_id}@example.org"


def _of(world: World) -> dict[str, object]:
    return {"instructor_id": world.instructor_id, "channel": CHANNEL}
