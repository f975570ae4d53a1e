"""The linking desk: the pages and forms through which people link, relink and unlink."""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any
from uuid import UUID

from flask import (
    Blueprint,
    abort,
    flash,
    get_flashed_messages,
    redirect,
    render_template,
    request,
    session,
    url_for,
)
from flask.typing import ResponseReturnValue

from console.conversations.cursors import Cursor
from console.conversations.queries import ConversationRow, Page, inbox, is_search
from console.conversations.routes import badge_is_on, badges_at_once, chosen_instructor, cursor
from console.database import new_id, reading
from console.identifiers import normalize_identifier
from console.linking import history, queries, service
from console.linking.forms import LinkForm, UnlinkForm, WriteForm, as_uuid
from console.linking.queries import LinkView
from console.linking.service import LinkOutcome
from console.permissions import Permission, requires
from console.text import MAX_REASON
from console.web.current import request_id, scope
from console.web.guard import actor, membership

blueprint = Blueprint("linking", __name__)

_MAX_REASONS = 5

_MAX_PAGES = 40
"""How many pages of the queue are passed over in one request where none of their rows can be linked."""

# The parts of the desk's address that a conversation's address repeats, so that the queue keeps its place.
_PLACE = ("instructor", "linked", "find", "before")
_REFUSED: dict[type[service.LinkError], tuple[int, str]] = {
    service.CustomerNotFound: (
        422,
        "That is not one of this instructor’s customers. Choose one from the list.",
    ),
    service.CustomerNotCreatable: (
        422,
        "No customer can be created from this number. It may be on record already: look below.",
    ),
    service.ReasonMissing: (422, "Give a reason: it is kept in the audit trail."),
    service.LinkChanged: (
        409,
        "Someone changed this link after you opened it. Nothing was saved. Compare below, then save again.",
    ),
    service.OperationReused: (
        409,
        "This form was already used for something else. Nothing was saved. Check it, then save again.",
    ),
}
_DAMAGED = "This form is damaged. Reload the page. Nothing was saved."
_WITHOUT_PRECONDITION = "This form is incomplete. Reload the page. Nothing was saved."


@dataclass(frozen=True, slots=True)
class Answer:
    """How the form page comes back after a write that was not done."""

    status: int = 200
    notice: str | None = None
    confirming: bool = False
    keep_precondition: bool = False


@blueprint.get("/links")
@requires(Permission.LINKS_READ)
def desk() -> ResponseReturnValue:
    """Show one instructor's conversations to work on, by default those without a customer."""
    instructor = chosen_instructor(Permission.LINKS_READ)
    if instructor is None:
        abort(403)
    q = request.args.get("q", "")
    with reading(scope()) as connection:
        done = _done(connection)
        shown = _queue(connection, instructor.instructor_id, q, unrepeatable=bool(done))
        left = queries.left(connection, instructor_id=instructor.instructor_id)
    place = _place() | ({"find": q} if q else {})
    return render_template(
        "linking/list.html",
        **shown,
        instructor=instructor,
        left=left,
        done=done,
        place=place,
        following=_following(shown["queue"], instructor.instructor_id, place),
    )


@blueprint.get("/links/next")
@requires(Permission.LINKS_READ)
def next_conversation() -> ResponseReturnValue:
    """Go to the conversation to work on after the one named, or to the first of the page of the queue."""
    after = as_uuid(request.args.get("after"))
    place = _place()
    with reading(scope()) as connection:
        view = _view(connection, after) if after else None
        chosen = membership(Permission.LINKS_READ, view.instructor_id) if view else None
        instructor = chosen or chosen_instructor(Permission.LINKS_READ) or abort(403)
        queue = _page(connection, instructor.instructor_id, place.get("find", ""), cursor())
        for _ in range(_MAX_PAGES):  # not by redirects, of which a browser follows only some twenty
            if any(map(_linkable, _below(queue, view))) or not queue.next:
                break
            view, place["before"] = None, queue.next
            queue = _page(connection, instructor.instructor_id, place.get("find", ""), queue.next)
    desk = url_for("linking.desk", instructor=instructor.instructor_id, linked=place.get("linked"))
    return redirect(_following(queue, instructor.instructor_id, place, view) or desk)


@blueprint.get("/links/<id:conversation_id>")
@requires(Permission.LINKS_READ)
def detail(conversation_id: UUID) -> ResponseReturnValue:
    """Show the link form, the current link, and its history."""
    return _form_page(conversation_id)


@blueprint.get("/links/<id:conversation_id>/customers")
@requires(Permission.LINKS_READ)
def customers(conversation_id: UUID) -> ResponseReturnValue:
    """Show the customers whose identifier contains `q`, and the one that is chosen already."""
    q = request.args.get("q", "")
    chosen = as_uuid(request.args.get("customer_id"))
    with reading(scope()) as connection:
        view = _view(connection, conversation_id)
        found = queries.customers(connection, view, q, chosen=chosen)
    return render_template("linking/_customers.html", view=view, choices=found, chosen=chosen, q=q)


@blueprint.post("/links/<id:conversation_id>")
@requires(Permission.LINKS_WRITE)
def link(conversation_id: UUID) -> ResponseReturnValue:
    """Link or relink, as the person asked; or, without scripting, look for customers."""
    form = LinkForm()
    if "search" in request.form:
        return _form_page(conversation_id, form, Answer(keep_precondition=True))
    customer_id, create = as_uuid(form.customer_id.data), form.create.data
    return _write(
        conversation_id, form, customer_id=customer_id, create=create, confirmed=form.overwrite.data
    )


@blueprint.post("/links/<id:conversation_id>/unlink")
@requires(Permission.LINKS_WRITE)
def unlink(conversation_id: UUID) -> ResponseReturnValue:
    """Take the customer away, as the person asked."""
    form = UnlinkForm()
    return _write(conversation_id, form, unlink=True, confirmed=form.confirm.data)


def _write(conversation_id: UUID, form: WriteForm, **asked: Any) -> ResponseReturnValue:
    """Check the form and ask the service. After a refusal the page comes back with what was typed."""
    if form.lacks_precondition:
        return _form_page(conversation_id, form, Answer(428, _WITHOUT_PRECONDITION))
    if not form.validate():
        notice = _DAMAGED if form.damaged else None
        return _form_page(conversation_id, form, Answer(422, notice, keep_precondition=not form.damaged))
    asked |= {"seen_version": form.seen, "operation_id": as_uuid(form.operation_id.data)}
    asked |= {"actor_id": actor().id, "reason": form.reason.data, "context": {"request_id": request_id()}}
    if len(members := _members()) == 1:
        asked["instructor_id"] = members[0]
    try:
        outcome = service.change(service.LinkRequest(conversation_id=conversation_id, **asked), scope())
    except service.ConversationNotFound:
        abort(404)
    except service.NotAllowed:
        abort(403)
    except service.NotConfirmed:
        return _form_page(conversation_id, form, Answer(409, confirming=True, keep_precondition=True))
    except service.LinkError as error:
        status, notice = _REFUSED[type(error)]
        return _form_page(conversation_id, form, Answer(status, notice))
    version = (form.seen or 0) + (outcome is not LinkOutcome.UNCHANGED)
    flash(f"{outcome} {conversation_id} {version}")
    session["then"] = request.form.get("then") == "next"
    if session["then"]:
        return redirect(url_for("linking.next_conversation", after=conversation_id, **_place()), 303)
    return redirect(url_for("linking.detail", conversation_id=conversation_id, **_place()), 303)


def _form_page(
    conversation_id: UUID, form: WriteForm | None = None, answer: Answer = Answer()
) -> ResponseReturnValue:
    """Show the form page, with what was typed and why it came back, if it did."""
    chosen = as_uuid(form.customer_id.data if isinstance(form, LinkForm) else request.args.get("customer_id"))
    q = request.form.get("q", request.args.get("q", ""))
    place = _place()
    with reading(scope()) as connection:
        work = queries.work(connection, conversation_id=conversation_id, instructor_ids=_members())
        if work is None:
            abort(404)
        view = _visible(work.view)
        seen = form.seen if form else None
        if answer.confirming and seen != view.link_version:  # changed since the service asked to confirm
            answer = Answer(*_REFUSED[service.LinkChanged])
        events, labels = _history(connection, view, view.link_version, seen)
        found = queries.customers(connection, view, q, chosen=chosen, with_own=True)
        done = _done(connection) if answer.status == 200 else []
        shown = _queue(
            connection, view.instructor_id, place.get("find", ""), unrepeatable=form is not None or bool(done)
        )
    own = view.normalized_identifier
    page = render_template(
        "linking/detail.html",
        **shown,
        view=view,
        left=work.left,
        thread=work.thread,
        statement=work.statement,
        instructor=membership(Permission.LINKS_READ, view.instructor_id),
        events=events,
        older=max(0, view.link_version - history.MAX_SHOWN),
        labels=labels,
        choices=found,
        creatable=own if own not in {customer.normalized_identifier for customer in found.rows} else None,
        chosen=chosen,
        following=_following(shown["queue"], view.instructor_id, place, view),
        form=form,
        unlinking=isinstance(form, UnlinkForm),
        answer=answer,
        done=done,
        seen_version=form.seen_version.data if form and answer.keep_precondition else view.link_version,
        operation_id=form.operation_id.data if form and answer.keep_precondition else new_id(),
        place=place,
        reasons=_own_reasons(events or []),
        max_reason=MAX_REASON,
        then=request.form.get("then") == "next" if form else session.get("then"),
        q=q,
    )
    return page, answer.status


def _history(connection: Any, view: LinkView, version: int, seen: int | None) -> tuple[Any, queries.Labels]:
    events = history.history(
        connection, view.id, view.instructor_id, outbox=view.outbox, version=version, seen=seen
    )
    labels = queries.labels(
        connection,
        instructor_id=view.instructor_id,
        user_ids={event.actor_id for event in events or [] if event.actor_id},
        customer_ids={id_ for event in events or [] for id_ in event.customer_ids},
    )
    return events, labels


def _done(connection: Any) -> list[dict[str, Any]]:
    """Return what the last write did: to which conversation, and the event that says the rest."""
    done = []
    for message in dict.fromkeys(get_flashed_messages()):
        outcome, conversation_id, version = str(message).split()
        view = queries.link_view(connection, conversation_id=UUID(conversation_id), instructor_ids=_members())
        if view is None:
            continue
        events, labels = _history(connection, view, int(version), None)
        event = next((event for event in events or [] if event.sequence == int(version)), None)
        done.append({"outcome": outcome, "view": view, "event": event, "labels": labels})
    return done


def _view(connection: Any, conversation_id: UUID) -> LinkView:
    return _visible(queries.link_view(connection, conversation_id=conversation_id, instructor_ids=_members()))


def _visible(view: LinkView | None) -> LinkView:
    """Answer 404 for a conversation that the actor may not see, 403 for one that they may only read."""
    if view is None:
        abort(404)
    membership(Permission.LINKS_READ, view.instructor_id)
    return view


def _members() -> list[UUID]:
    return [member.instructor_id for member in actor().memberships]


def _queue(connection: Any, instructor_id: UUID, q: str, *, unrepeatable: bool) -> dict[str, Any]:
    """Return a page of the queue, its badges, and the ids of the rows with no number a customer can have."""
    queue = _page(connection, instructor_id, q, cursor())
    return {
        "queue": queue,
        "with_badge": badge_is_on(),
        "badges": badges_at_once(connection, queue.rows, unrepeatable=unrepeatable),
        "searched": is_search(q),
        "unlinkable": {row.id for row in queue.rows if not row.customer_id and not _linkable(row)},
    }


def _page(connection: Any, instructor_id: UUID, q: str, before: Cursor | None) -> Page[ConversationRow]:
    page: dict[str, Any] = {"linked": request.args.get("linked") == "yes", "size": queries.QUEUE_SIZE}
    return inbox(connection, instructor_id=instructor_id, q=q, before=before, with_link=True, **page)


def _linkable(row: ConversationRow) -> bool:
    """Say whether a customer can have the conversation's own identifier (CM-1)."""
    return normalize_identifier(row.customer_identifier or "") is not None


def _place() -> dict[str, Any]:
    return {name: request.args[name] for name in _PLACE if request.args.get(name)}


def _following(
    queue: Page[ConversationRow], instructor_id: UUID, place: dict[str, Any], view: LinkView | None = None
) -> str | None:
    """Return the address to work on next: below this conversation, else on the next page, else from the top.

    Conversations without a number that a customer can have come last.
    """
    below = _below(queue, view)
    found = next(filter(_linkable, below), None)
    if not found and (queue.next or (view and place.get("before"))):
        page = {**place, "instructor": instructor_id, "before": queue.next}
        return url_for("linking.next_conversation", **page)
    if not found:
        shown = str(view.id) if view else None
        others = [row for row in queue.rows if row.id != shown]
        found = next(filter(_linkable, others), None) or next(iter(below or others), None)
    return url_for("linking.detail", conversation_id=found.id, **place) if found else None


def _below(queue: Page[ConversationRow], view: LinkView | None) -> list[ConversationRow]:
    """Return the rows of a page that come after a conversation, all of them where there is none."""
    if not view:
        return queue.rows
    last = (view.last_message_at, str(view.id))
    return [row for row in queue.rows if (row.last_message_at, row.id) < last]


def _own_reasons(events: Iterable[Any]) -> list[str]:
    """Return the reasons that this person gave in a conversation's events, to offer them again.

    They are read from the trail each time, so an erased reason is not offered (docs/decisions/0007).
    """
    return list(dict.fromkeys(event.reason for event in events if event.actor_id == actor().id))[
        :_MAX_REASONS
    ]
