"""Who may do what: permissions, the roles that hold them, and the marks that views carry."""

from collections.abc import Callable
from dataclasses import dataclass
from enum import StrEnum
from typing import Any, TypeVar
from uuid import UUID


class Permission(StrEnum):
    """What a view lets its visitor do, as `scope:action`."""

    CONVERSATIONS_READ = "conversations:read"
    LINKS_READ = "links:read"
    LINKS_WRITE = "links:write"


class Role(StrEnum):
    """What a user is for one instructor, by their membership."""

    INSTRUCTOR = "instructor"
    OPERATOR = "operator"


GRANTS: dict[Role, frozenset[Permission]] = {
    Role.INSTRUCTOR: frozenset({Permission.CONVERSATIONS_READ}),
    Role.OPERATOR: frozenset(Permission),
}
"""What each role may do."""


@dataclass(frozen=True, slots=True)
class ActorMembership:
    """One instructor whom a user works for, and as what."""

    instructor_id: UUID
    instructor_name: str
    role: Role


@dataclass(frozen=True)
class Actor:
    """The signed-in, active user behind a request, as loaded at its start."""

    is_authenticated = True  # what Flask-Login asks of a user

    id: UUID
    email: str
    name: str
    memberships: tuple[ActorMembership, ...]

    def instructors(self, permission: Permission) -> tuple[ActorMembership, ...]:
        """Return the memberships that grant `permission`, by instructor name."""
        return tuple(found for found in self.memberships if permission in GRANTS[found.role])

    def instructor_ids(self, permission: Permission) -> tuple[UUID, ...]:
        """Return the ids of the instructors for whom `permission` is granted."""
        return tuple(found.instructor_id for found in self.instructors(permission))


View = TypeVar("View", bound=Callable[..., Any])


def requires(permission: Permission) -> Callable[[View], View]:
    """State what a view needs; the guard refuses users who hold it for no instructor."""

    def mark(view: View) -> View:
        view.permission = permission  # type: ignore[attr-defined]
        return view

    return mark


def public(view: View) -> View:
    """State that a view is open to everyone."""
    view.public = True  # type: ignore[attr-defined]
    return view
