"""The pages instructors read: conversations, one conversation, badges. GET only."""

from collections.abc import Sequence
from typing import Any
from uuid import UUID

from flask import Blueprint, abort, make_response, redirect, render_template, request, url_for
from flask.typing import ResponseReturnValue

from console.conversations import queries
from console.conversations.badges import Badge, badges
from console.conversations.cursors import Cursor
from console.database import id_text, read_id, reading
from console.permissions import ActorMembership, Permission, requires
from console.web.current import scope, settings
from console.web.guard import actor, membership

blueprint = Blueprint("conversations", __name__)

_MAX_BADGES = 100

# The parts of the list's address that a conversation's address repeats, for the way back to the same page.
_PLACE = ("q", "page")


@blueprint.get("/")
@requires(Permission.CONVERSATIONS_READ)
def home() -> ResponseReturnValue:
    """Go to the conversations."""
    return redirect(url_for("conversations.inbox"))


@blueprint.get("/conversations")
@requires(Permission.CONVERSATIONS_READ)
def inbox() -> ResponseReturnValue:
    """Show one instructor's conversations, newest message first."""
    return _inbox("conversations/list.html")


@blueprint.get("/conversations/rows")
@requires(Permission.CONVERSATIONS_READ)
def rows() -> ResponseReturnValue:
    """Show the rows of that list alone, with the title and the address of the page they belong to."""
    answer = make_response(_inbox("conversations/_found.html"))
    shown: dict[str, Any] = {
        name: request.args[name] for name in ("instructor", "q") if request.args.get(name)
    }
    answer.headers["HX-Push-Url"] = url_for("conversations.inbox", **shown)
    return answer


@blueprint.get("/conversations/<id:conversation_id>")
@requires(Permission.CONVERSATIONS_READ)
def detail(conversation_id: UUID) -> ResponseReturnValue:
    """Show one conversation: who, where, its newest messages, its badge."""
    return _thread(conversation_id, "conversations/detail.html")


@blueprint.get("/conversations/<id:conversation_id>/messages")
@requires(Permission.CONVERSATIONS_READ)
def messages(conversation_id: UUID) -> ResponseReturnValue:
    """Show a page of that conversation's messages alone."""
    return _thread(conversation_id, "conversations/_messages.html")


@blueprint.get("/badges")
@requires(Permission.CONVERSATIONS_READ)
def show_badges() -> ResponseReturnValue:
    """Show the badges of the conversations asked for, and nothing else."""
    if not badge_is_on():
        abort(404)
    try:
        asked = [id_text(value) for value in request.args.getlist("id")]
    except ValueError:
        abort(400)
    if not 1 <= len(asked) <= _MAX_BADGES:
        abort(400)
    with reading(scope()) as connection:
        visible = actor().instructor_ids(Permission.CONVERSATIONS_READ)
        found = queries.subjects(connection, conversation_ids=asked, instructor_ids=visible)
        shown = badges(connection, found)
    return render_template("conversations/_badges.html", badges=shown)


def badge_is_on() -> bool:
    """Say whether the badge's feature flag is on."""
    return settings().customer_badge


def chosen_instructor(permission: Permission) -> ActorMembership | None:
    """Return the membership the address names, the first that grants `permission` where it names none.

    Answers 404 for an instructor the actor is no member of, 403 where the role lacks `permission`.
    """
    asked = request.args.get("instructor")
    if asked:
        try:
            return membership(permission, read_id(asked))
        except ValueError:
            abort(404)
    return next(iter(actor().instructors(permission)), None)


def cursor() -> Cursor | None:
    """Return where the page asked for starts; answers 400 for an invalid cursor."""
    given = request.args.get("before")
    try:
        return Cursor.parse(given) if given else None
    except ValueError:
        abort(400)


def _inbox(template: str) -> str:
    instructor = chosen_instructor(Permission.CONVERSATIONS_READ)
    q = request.args.get("q", "")
    before = cursor()
    if instructor is None:
        return render_template(template, instructor=None, page=queries.Page([], None), q=q, badges={})
    with_badge = badge_is_on()
    with reading(scope()) as connection:
        page = queries.inbox(
            connection, instructor_id=instructor.instructor_id, q=q, before=before, with_link=with_badge
        )
        shown = badges_at_once(connection, page.rows)
    place = {"instructor": instructor.instructor_id, "q": q or None, "before": before}
    return render_template(
        template,
        instructor=instructor,
        page=page,
        with_badge=with_badge,
        badges=shown,
        q=q,
        searched=queries.is_search(q),
        before=before,
        place=place,
    )


def _thread(conversation_id: UUID, template: str) -> str:
    before = cursor()
    with_badge = badge_is_on()
    visible = actor().instructor_ids(Permission.CONVERSATIONS_READ)
    with reading(scope()) as connection:
        found = queries.conversation(
            connection, conversation_id=conversation_id, instructor_ids=visible, with_link=with_badge
        )
        if found is None:
            abort(404)
        page = queries.messages(
            connection, conversation_id=conversation_id, instructor_id=found.instructor_id, before=before
        )
        shown = badges_at_once(connection, [found])
    place = {name: request.args[name] for name in _PLACE if request.args.get(name)}
    return render_template(
        template,
        conversation=found,
        author=membership(Permission.CONVERSATIONS_READ, found.instructor_id).instructor_name,
        page=page,
        with_badge=with_badge,
        badges=shown,
        before=before,
        place=place,
    )


def badges_at_once(
    connection: Any,
    shown: Sequence[queries.ConversationRow | queries.ConversationHead],
    *,
    unrepeatable: bool = False,
) -> dict[str, Badge]:
    """Return the badges that come with a page, for a browser without scripting (docs/decisions/0007).

    Such a browser asks for the page again, with `plain`. An `unrepeatable` page has them at once.
    """
    plain = "plain" in request.args or (unrepeatable and "HX-Request" not in request.headers)
    if not (plain and badge_is_on()):
        return {}
    drawn = badges(connection, [row.subject for row in shown])
    return {badge.conversation_id: badge for badge in drawn}
