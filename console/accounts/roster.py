"""Lists and names of users and instructors, and many users at once from a CSV file."""

import csv
import secrets
from collections.abc import Iterable
from typing import Any
from uuid import UUID

from sqlalchemy import insert, select, update
from sqlalchemy.exc import IntegrityError

from console.accounts import passwords
from console.accounts.service import AccountError, is_email, new_user, normalize_email, require_name, user_row
from console.database import command_scope, new_id, reading, writing
from console.models import Instructor, Membership, User
from console.permissions import Role

_COLUMNS = ["email", "name", "instructor", "role", "password"]


class InvalidRows(AccountError):
    """What is wrong with a file's rows, one text for each fault. Nothing was written."""

    def __init__(self, *faults: str) -> None:
        super().__init__("nothing was written")
        self.faults = faults


def list_instructors() -> list[dict[str, Any]]:
    """Return every instructor's id and name, by name."""
    statement = select(Instructor.id, Instructor.name).order_by(Instructor.name, Instructor.id)
    with reading(command_scope()) as connection:
        return [{"id": str(row.id), "name": row.name} for row in connection.execute(statement)]


def list_users() -> list[dict[str, Any]]:
    """Return every user with their memberships, by e-mail address."""
    of_users = select(User.id, User.email, User.name, User.active).order_by(User.email)
    with reading(command_scope()) as connection:
        found = {
            row.id: {"id": str(row.id), "email": row.email, "name": row.name, "active": row.active}
            | {"memberships": []}
            for row in connection.execute(of_users)
        }
        columns = (Membership.user_id, Membership.instructor_id, Membership.role)
        for member in connection.execute(select(*columns).order_by(Membership.instructor_id)):
            about = {"instructor_id": str(member.instructor_id), "role": member.role}
            found[member.user_id]["memberships"].append(about)
    return list(found.values())


def rename_user(*, email: str, name: str) -> UUID:
    """Give a user another name; return the id. Raises AccountError."""
    require_name(name, "a user")
    with writing(command_scope()) as connection:
        renamed = update(User).values(name=name.strip()).returning(User.id)
        user_id: UUID = user_row(connection, email, renamed).id
    return user_id


def rename_instructor(*, instructor_id: UUID, name: str) -> UUID:
    """Give an instructor another name; return the id. Raises AccountError."""
    require_name(name, "an instructor")
    with writing(command_scope()) as connection:
        changed = update(Instructor).where(Instructor.id == instructor_id).values(name=name.strip())
        if connection.execute(changed).rowcount == 0:
            raise AccountError("there is no instructor with that id")
    return instructor_id


def add_users(lines: Iterable[str]) -> list[dict[str, Any]]:
    """Add the users and memberships of a CSV file, all or none; return the membership of each row.

    A user who has an account gets a further membership and keeps name and password. A new user without a
    password signs in through the provider, or once `flask user password` has set one. Raises InvalidRows.
    """
    rows = _read(lines)
    with reading(command_scope()) as connection:
        known = dict(connection.execute(select(User.email, User.id)).all())
        instructors = set(connection.scalars(select(Instructor.id)))
        pairs = connection.execute(select(Membership.user_id, Membership.instructor_id))
        members = {(user_id, instructor_id) for user_id, instructor_id in pairs}
    new: list[tuple[UUID, dict[str, str]]] = []
    memberships: list[dict[str, Any]] = []
    faults: list[str] = []
    for number, row in rows:
        email = normalize_email(row["email"])
        if fault := _fault(row, email in known, instructors):
            faults.append(f"line {number}: {fault}")
            continue
        if email not in known:
            known[email] = new_id()
            new.append((known[email], row))
        pair = (known[email], UUID(row["instructor"]))
        if pair in members:
            faults.append(f"line {number}: that user is a member for this instructor already")
        members.add(pair)
        memberships.append({"user_id": pair[0], "instructor_id": pair[1], "role": row["role"]})
    if faults:
        raise InvalidRows(*faults)
    users = [
        new_user(user_id, row["email"], row["name"], row["password"] or secrets.token_urlsafe())
        for user_id, row in new
    ]
    try:
        with writing(command_scope()) as connection:
            for model, values in ((User, users), (Membership, memberships)):
                if values:
                    connection.execute(insert(model), values)
    except IntegrityError:
        raise InvalidRows("accounts changed meanwhile: run it again") from None
    return memberships


def _read(lines: Iterable[str]) -> list[tuple[int, dict[str, str]]]:
    reader = csv.DictReader(lines, strict=True)
    try:
        if reader.fieldnames != _COLUMNS:
            raise InvalidRows(f"line 1: it takes the columns {','.join(_COLUMNS)}")
        rows = [(reader.line_num, row) for row in reader]
    except csv.Error as error:
        raise InvalidRows(f"line {reader.line_num}: {error}") from None
    # A field too many has the key None, one too few the value None.
    if invalid := [number for number, row in rows if None in row or None in row.values()]:
        raise InvalidRows(*(f"line {number}: it takes {len(_COLUMNS)} fields" for number in invalid))
    return rows


def _fault(row: dict[str, str], has_account: bool, instructors: set[UUID]) -> str | None:
    """Say what is wrong with a row by itself; None where nothing is."""
    email = normalize_email(row["email"])
    if not is_email(email):
        return "that is not an e-mail address: it takes name@example.org"
    if row["role"] not in set(Role):
        return f"the role is one of {', '.join(Role)}"
    try:
        there = UUID(row["instructor"]) in instructors
        require_name(row["name"], "a user")
    except ValueError:
        return "the instructor is an id: it takes a UUID"
    except AccountError as error:
        return str(error)
    if not there:
        return "there is no instructor with that id"
    if row["password"] and has_account:
        return "that user has an account: leave the password empty"
    return passwords.fault(row["password"], email=email, name=row["name"]) if row["password"] else None
