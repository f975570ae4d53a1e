"""Users, instructors, memberships and channel accounts: looking them up and making them."""

import re
import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import cache
from threading import BoundedSemaphore
from typing import Any
from uuid import UUID

from argon2 import PasswordHasher
from argon2.exceptions import InvalidHashError, VerifyMismatchError
from sqlalchemy import Connection, bindparam, case, delete, insert, select, update
from sqlalchemy.exc import IntegrityError, SQLAlchemyError

from console.accounts import passwords
from console.database import Scope, command_scope, insert_ignoring, new_id, open_snapshot, reading, writing
from console.models import ChannelAccount, Instructor, Membership, User
from console.permissions import Actor, ActorMembership, Role
from console.text import MAX_NAME, is_name

_ACCOUNT_ID = re.compile("[0-9]{1,64}")

hasher = PasswordHasher()

_SIGN_OUT_WAIT_MS = 5000
"""How long a sign-out waits for a locked database, in milliseconds."""
MAX_EPOCH = 2**31 - 1
"""The last epoch of sessions: one of its sessions can't be ended any more, only its user be disabled."""
MAX_SIGN_INS = 4
"""How many sign-ins a process has under way: its other threads go on with pages."""
MAX_HASH_WAIT_SECONDS = 5
"""How long a sign-in waits for its turn to hash: one hash takes 64 MiB and up to four cores."""

_places = BoundedSemaphore(MAX_SIGN_INS)
_turn = BoundedSemaphore(1)

_USER = select(User.id, User.name)
_NEXT_EPOCH = case((User.session_epoch < MAX_EPOCH, User.session_epoch + 1), else_=User.session_epoch)


class AccountError(Exception):
    """A change to accounts that can't be made; the message says why."""


class TooBusy(Exception):
    """So many sign-ins are under way that this one has to be tried again."""


class SessionsGoOn(Exception):
    """A user's other sessions could not be ended."""


@dataclass(frozen=True, slots=True)
class Account:
    """An active user, as a sign-in needs them."""

    id: UUID
    session_epoch: int
    password_hash: str = field(repr=False)


_ACTOR = (
    select(User.id, User.email, User.name, Membership.instructor_id, Instructor.name, Membership.role)
    .outerjoin(Membership, Membership.user_id == User.id)
    .outerjoin(Instructor, Instructor.id == Membership.instructor_id)
    .where(
        User.id == bindparam("user_id"),
        User.active.is_(True),
        # A standby that lags may still have an earlier epoch than the session.
        User.session_epoch <= bindparam("epoch"),
    )
    .order_by(Instructor.name, Instructor.id)
)


def load_actor(scope: Scope, user_id: UUID, epoch: int) -> Actor | None:
    """Return the active user and their memberships, in one statement; None where the session is over.

    The page that they asked for reads on in the same snapshot.
    """
    rows = open_snapshot(scope).execute(_ACTOR, {"user_id": user_id, "epoch": epoch}).all()
    if not rows:
        return None
    memberships = tuple(ActorMembership(row[3], row[4], Role(row[5])) for row in rows if row[3] is not None)
    return Actor(id=rows[0][0], email=rows[0][1], name=rows[0][2], memberships=memberships)


def find_account(scope: Scope, *, email: str) -> Account | None:
    """Return the active user with this address; None if there is none or the address is invalid."""
    return _account(scope, normalize_email(email)) if is_email(email) else None


def authenticate(account: Account | None, password: str) -> bool:
    """Say whether this is the account's password.

    Each call costs one verification, whether there is an account or not. Raises TooBusy.
    """
    # One sign-in hashes at a time, a few wait for their turn, and all others are refused for now.
    with _holding(_places, blocking=False), _holding(_turn, timeout=MAX_HASH_WAIT_SECONDS):
        # Made whether there is an account or not, so that a worker's first answer costs both the same.
        hash_of_no_account = _hash_of_no_account()
        matches = _verify(account.password_hash if account else hash_of_no_account, password)
    return matches and account is not None


@contextmanager
def _holding(lock: BoundedSemaphore, **wait: Any) -> Iterator[None]:
    if not lock.acquire(**wait):
        raise TooBusy
    try:
        yield
    finally:
        lock.release()


def user_for_verified_email(scope: Scope, *, email: str) -> Account | None:
    """Return the active user with an address that a provider has verified; None if there is none."""
    # Only ASCII: lower() would turn the kelvin sign into a k, which is another address.
    given = "".join(letter.lower() if letter.isascii() else letter for letter in email)
    return _account(scope, given)


def _account(scope: Scope, email: str) -> Account | None:
    statement = select(User.id, User.session_epoch, User.password_hash)
    with reading(scope) as connection:
        row = connection.execute(statement.where(User.email == email, User.active.is_(True))).one_or_none()
    return Account(*row) if row else None


def end_sessions(scope: Scope, user_id: UUID, epoch: int) -> int | None:
    """End every session of a user who signs out of a session of this epoch; return the epoch that begins.

    Returns None, and ends nothing, where that session is over. Raises SessionsGoOn where the others can't be
    ended.
    """
    statement = update(User).where(User.id == user_id, User.session_epoch <= epoch)
    try:
        with writing(scope, wait_ms=_SIGN_OUT_WAIT_MS) as connection:
            raised = statement.values(session_epoch=_NEXT_EPOCH).returning(User.session_epoch)
            epoch_now: int | None = connection.execute(raised).scalar_one_or_none()
    except (SQLAlchemyError, sqlite3.Error) as error:
        raise SessionsGoOn(type(error).__name__) from error
    if epoch_now == MAX_EPOCH:
        raise SessionsGoOn("MAX_EPOCH")
    return epoch_now


def add_instructor(*, name: str) -> UUID:
    """Create an instructor and return the id."""
    require_name(name, "an instructor")
    added = insert(Instructor).values(name=name.strip()).returning(Instructor.id)
    with writing(command_scope()) as connection:
        return connection.execute(added).scalar_one()


def add_user(*, email: str, name: str, instructor_id: UUID, role: Role, password: str) -> UUID:
    """Create a user with a membership, or give an existing one a further membership; return the user's id.

    An existing user keeps name and password, and `password` has to be theirs.
    Raises AccountError, also for a password that is refused.
    """
    email = normalize_email(email)
    if not is_email(email):
        raise AccountError("that is not an e-mail address: it takes name@example.org")
    require_name(name, "a user")
    if not password:
        raise AccountError("the password is empty: it is read from the first line of stdin")
    try:
        with writing(command_scope()) as connection:
            _require_instructor(connection, instructor_id)
            known = select(User.id, User.password_hash).where(User.email == email)
            if row := connection.execute(known).one_or_none():
                if not _verify(row.password_hash, password):
                    raise AccountError("that address is taken by a user with another password")
                user_id: UUID = row.id
            else:
                _require_good(password, email=email, name=name)
                user_id = new_id()
                connection.execute(insert(User), new_user(user_id, email, name, password))
            connection.execute(
                insert(Membership).values(user_id=user_id, instructor_id=instructor_id, role=role.value)
            )
    except IntegrityError:
        raise AccountError(
            "that user is a member for this instructor already: flask membership set changes the role"
        ) from None
    return user_id


def new_user(user_id: UUID, email: str, name: str, password: str) -> dict[str, Any]:
    """Return the row of a new user; hashes the password."""
    kept = {"id": user_id, "email": normalize_email(email), "name": name.strip()}
    return {**kept, "password_hash": hash_password(password)}


def set_membership(*, email: str, instructor_id: UUID, role: Role) -> UUID:
    """Give a user this role for an instructor, whatever it was before; return the user's id.

    Holds from the user's next request on. Raises AccountError.
    """
    with writing(command_scope()) as connection:
        _require_instructor(connection, instructor_id)
        user_id: UUID = user_row(connection, email).id
        key = {"user_id": user_id, "instructor_id": instructor_id}
        insert_ignoring(connection, Membership, [{**key, "role": role.value}], list(key))
        connection.execute(update(Membership).filter_by(**key).values(role=role.value))
    return user_id


def remove_membership(*, email: str, instructor_id: UUID) -> UUID:
    """Take a membership away, from the user's next request on; return the user's id. Raises AccountError."""
    with writing(command_scope()) as connection:
        user_id: UUID = user_row(connection, email).id
        removed = delete(Membership).filter_by(user_id=user_id, instructor_id=instructor_id)
        if connection.execute(removed).rowcount == 0:
            raise AccountError("that user is not a member for this instructor")
    return user_id


def change_password(*, email: str, password: str) -> UUID:
    """Give a user another password, which ends every session; return the id. Raises AccountError."""
    with writing(command_scope()) as connection:
        _require_good(password, email=normalize_email(email), name=user_row(connection, email).name)
    return end_sessions_of(email, password_hash=hash_password(password))


def end_sessions_of(email: str, **changes: Any) -> UUID:
    """End every session of a user, and change columns with it; return the id. Raises AccountError."""
    changed = update(User).values(session_epoch=_NEXT_EPOCH, **changes)
    with writing(command_scope()) as connection:
        row = user_row(connection, email, changed.returning(User.id, User.session_epoch))
        if row.session_epoch == MAX_EPOCH and changes != {"active": False}:
            raise AccountError(
                "that user's sessions can't be ended any more: disable the user and add another"
            )
    user_id: UUID = row.id
    return user_id


def user_row(connection: Connection, email: str, statement: Any = _USER) -> Any:
    """Return the row that a statement gives of a user, by default id and name. Raises AccountError."""
    row = connection.execute(statement.where(User.email == normalize_email(email))).one_or_none()
    if row is None:
        raise AccountError("there is no user with that address")
    return row


def require_name(name: str, whose: str) -> None:
    """Raise AccountError for an invalid name, UnicodeEncodeError for one that is not UTF-8."""
    name.encode()
    if not is_name(name.strip()):
        raise AccountError(f"{whose} needs a name: one line of at most {MAX_NAME} characters, all printable")


def add_channel(*, channel: str, account_id: str, instructor_id: UUID) -> str:
    """Say that a channel's account belongs to an instructor; return the account id. Raises AccountError."""
    if not _ACCOUNT_ID.fullmatch(account_id):
        raise AccountError("that is not a phone_number_id: it takes 1 to 64 digits")
    try:
        with writing(command_scope()) as connection:
            _require_instructor(connection, instructor_id)
            values = {"channel": channel, "account_id": account_id, "instructor_id": instructor_id}
            connection.execute(insert(ChannelAccount).values(**values))
    except IntegrityError:
        raise AccountError("that account belongs to an instructor already") from None
    return account_id


@cache
def _hash_of_no_account() -> str:
    """Return the hash that is verified if there is no such user; it is made at the first sign-in."""
    return hasher.hash("the password of no account")


def hash_password(password: str) -> str:
    """Hash with Argon2id."""
    return hasher.hash(passwords.composed(password))


def _verify(password_hash: str, password: str) -> bool:
    try:
        return hasher.verify(password_hash, passwords.composed(password))
    except (VerifyMismatchError, InvalidHashError):
        return False


def _require_instructor(connection: Connection, instructor_id: UUID) -> None:
    if connection.execute(select(Instructor.id).where(Instructor.id == instructor_id)).one_or_none() is None:
        raise AccountError("there is no instructor with that id")


def _require_good(password: str, *, email: str, name: str) -> None:
    if fault := passwords.fault(password, email=email, name=name):
        raise AccountError(fault)


def normalize_email(email: str) -> str:
    """Return an e-mail address as it is kept."""
    return email.strip().lower().replace("\0", "\ufffd")  # PostgreSQL takes no NUL, and no address has one


def is_email(email: str) -> bool:
    """Say whether this could be an e-mail address."""
    kept = normalize_email(email)
    local, _, host = kept.rpartition("@")
    return bool(local and host) and email.strip().isprintable() and " " not in kept and len(kept) <= 254
