"""Users, instructors, memberships and channel accounts: looking them up and making them."""

from dataclasses import dataclass
from functools import cache
from typing import Any
from uuid import UUID

from argon2 import PasswordHasher
from argon2.exceptions import InvalidHashError, VerifyMismatchError
from sqlalchemy import Connection, bindparam, insert, select, update
from sqlalchemy.exc import IntegrityError

from console.database import new_id, now, reading, writing
from console.models import ChannelAccount, Instructor, Membership, User
from console.permissions import Actor, Role
from console.permissions import Membership as ActorMembership

_hasher = PasswordHasher()


class AccountError(Exception):
    """A change to accounts that can't be made; the message says why."""


@dataclass(frozen=True, slots=True)
class Credentials:
    """What a sign-in needs to know of a user."""

    id: UUID
    password_hash: str


_ACTOR = (
    select(User.id, User.email, User.name, Membership.instructor_id, Instructor.name, Membership.role)
    .outerjoin(Membership, Membership.user_id == User.id)
    .outerjoin(Instructor, Instructor.id == Membership.instructor_id)
    .where(User.id == bindparam("user_id"), User.active.is_(True))
    .order_by(Instructor.name, Instructor.id)
)


def load_actor(user_id: UUID) -> Actor | None:
    """Return the active user with this id and their memberships, in one statement; None for nobody."""
    with reading() as connection:
        rows = connection.execute(_ACTOR, {"user_id": user_id}).all()
    if not rows:
        return None
    memberships = tuple(ActorMembership(row[3], row[4], Role(row[5])) for row in rows if row[3] is not None)
    return Actor(id=rows[0][0], email=rows[0][1], name=rows[0][2], memberships=memberships)


def authenticate(*, email: str, password: str) -> UUID | None:
    """Return the id of the active user with this address and password; None for every kind of mismatch."""
    statement = select(User.id, User.password_hash).where(
        User.email == _address(email), User.active.is_(True)
    )
    with reading() as connection:
        row = connection.execute(statement).one_or_none()
    known = Credentials(*row) if row else None
    nobodys_hash = _nobodys_hash()  # made for both, so that even a worker's first answer costs both the same
    try:
        _hasher.verify(known.password_hash if known else nobodys_hash, password)
    except (VerifyMismatchError, InvalidHashError):
        return None
    return known.id if known else None


def add_instructor(*, name: str) -> UUID:
    """Create an instructor and return the id."""
    if not name.strip():
        raise AccountError("an instructor needs a name")
    instructor_id = new_id()
    with writing() as connection:
        connection.execute(insert(Instructor).values(id=instructor_id, name=name.strip(), created_at=now()))
    return instructor_id


def add_user(*, email: str, name: str, instructor_id: UUID, role: Role, password: str) -> UUID:
    """Create a user with a membership, or give an existing one a further membership; return the user's id.

    An existing user keeps name and password, and the call has to know that password.
    Raises AccountError.
    """
    email = _address(email)
    if not _looks_like_an_address(email):
        raise AccountError("that is not an e-mail address: it takes name@example.org")
    if not name.strip():
        raise AccountError("a user needs a name")
    if not password:
        raise AccountError("the password is empty: it is read from the first line of stdin")
    try:
        with writing() as connection:
            _require_instructor(connection, instructor_id)
            user_id = _existing(connection, email, password)
            if user_id is None:
                user_id = new_id()
                values = {
                    "id": user_id,
                    "email": email,
                    "name": name.strip(),
                    "active": True,
                    "created_at": now(),
                }
                connection.execute(insert(User).values(password_hash=hash_password(password), **values))
            connection.execute(
                insert(Membership).values(user_id=user_id, instructor_id=instructor_id, role=role.value)
            )
    except IntegrityError:
        raise AccountError("that user is a member for this instructor already") from None
    return user_id


def disable_user(*, email: str) -> UUID:
    """Shut a user out from their next request on; return the id. Raises AccountError for nobody."""
    with writing() as connection:
        statement = update(User).where(User.email == _address(email)).values(active=False).returning(User.id)
        row = connection.execute(statement).one_or_none()
    if row is None:
        raise AccountError("there is no user with that address")
    user_id: UUID = row[0]
    return user_id


def add_channel(*, channel: str, account_id: str, instructor_id: UUID) -> str:
    """Say that a channel's account belongs to an instructor; return the account id. Raises AccountError."""
    try:
        with writing() as connection:
            _require_instructor(connection, instructor_id)
            values = {"channel": channel, "account_id": account_id, "instructor_id": instructor_id}
            connection.execute(insert(ChannelAccount).values(**values))
    except IntegrityError:
        raise AccountError("that account belongs to an instructor already") from None
    return account_id


@cache
def _nobodys_hash() -> str:
    """Return what is verified where there is no such user: a start needn't wait for it to be made."""
    return _hasher.hash("nobody signs in with this")


def hash_password(password: str) -> str:
    """Hash with Argon2id."""
    return _hasher.hash(password)


def _existing(connection: Connection, email: str, password: str) -> UUID | None:
    row: Any = connection.execute(
        select(User.id, User.password_hash).where(User.email == email)
    ).one_or_none()
    if row is None:
        return None
    try:
        _hasher.verify(row.password_hash, password)
    except (VerifyMismatchError, InvalidHashError):
        raise AccountError("that address is taken by a user with another password") from None
    user_id: UUID = row.id
    return user_id


def _require_instructor(connection: Connection, instructor_id: UUID) -> None:
    if connection.execute(select(Instructor.id).where(Instructor.id == instructor_id)).one_or_none() is None:
        raise AccountError("there is no instructor with that id")


def _address(email: str) -> str:
    return email.strip().lower().replace("\0", "\ufffd")  # PostgreSQL takes no NUL, and no address has one


def _looks_like_an_address(email: str) -> bool:
    local, _, host = email.rpartition("@")
    return bool(local and host) and email.isprintable() and " " not in email and len(email) <= 254
