"""The linking desk: the pages and forms through which people link, relink and unlink."""

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from functools import partial
from typing import Any
from urllib.parse import urlencode
from uuid import UUID

from flask import Blueprint, abort, flash, g, redirect, render_template, request, url_for
from flask.typing import ResponseReturnValue

from console.conversations.queries import ConversationRow, Page, inbox
from console.conversations.routes import chosen_instructor, cursor
from console.database import new_id, reading
from console.linking import history, queries, service
from console.linking.forms import LinkForm, UnlinkForm, WriteForm, as_uuid
from console.linking.queries import LinkView
from console.linking.service import Outcome
from console.permissions import Permission, actor, membership, requires

blueprint = Blueprint("linking", __name__)

MAX_REASONS = 5

# What of the desk's address goes with a conversation, so that the queue keeps its place.
_PLACE = ("instructor", "linked", "find", "before")
_DONE = {
    Outcome.LINKED: "Linked.",
    Outcome.UNLINKED: "Link removed.",
    Outcome.UNCHANGED: "Nothing to change: it is so already.",
}
_REFUSED: dict[type[service.LinkError], tuple[int, str]] = {
    service.CustomerNotFound: (
        422,
        "That is not one of this instructor’s customers. Choose one from the list.",
    ),
    service.CustomerNotCreatable: (
        422,
        "No customer can be created here: the identifier names nobody, or its customer is on record already.",
    ),
    service.ReasonMissing: (
        422,
        "Give a reason: it is kept in the audit trail.",
    ),
    service.LinkChanged: (
        409,
        "Somebody changed this link after you opened it. Nothing was saved: compare, and send again.",
    ),
    service.OperationReused: (
        409,
        "This form was used before, for something else. Nothing was saved: check it, and send again.",
    ),
}
_DAMAGED = "What the form carried unseen can’t be read. Nothing was saved: check it, and send again."
_WITHOUT_PRECONDITION = (
    "The form came without the state you saw. Nothing was saved: check it, and send again."
)


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
    with reading() as connection:
        queue = _queue(connection, instructor.instructor_id, q)
    place = _place() | ({"find": q} if q else {})
    first = next((_address(row, place) for row in queue.rows), None)
    return render_template(
        "linking/list.html", instructor=instructor, queue=queue, place=place, following=first
    )


@blueprint.get("/links/<id:conversation_id>")
@requires(Permission.LINKS_READ)
def detail(conversation_id: UUID) -> ResponseReturnValue:
    """Show the link form, the current link, and its history."""
    return _form_page(conversation_id)


@blueprint.get("/links/<id:conversation_id>/customers")
@requires(Permission.LINKS_READ)
def customers(conversation_id: UUID) -> ResponseReturnValue:
    """Show the customers whose identifier contains `q`, to choose from; one chosen already stays."""
    q = request.args.get("q", "")
    chosen = as_uuid(request.args.get("customer_id"))
    with reading() as connection:
        view = _visible(
            queries.link_view(connection, conversation_id=conversation_id, instructor_ids=_members())
        )
        found = queries.customers(connection, view, q, chosen=chosen)
    return render_template("linking/_customers.html", customers=found, chosen=chosen, q=q)


@blueprint.post("/links/<id:conversation_id>")
@requires(Permission.LINKS_WRITE)
def link(conversation_id: UUID) -> ResponseReturnValue:
    """Link or relink, as the person asked."""
    form = LinkForm()
    change = partial(
        service.link,
        customer_id=as_uuid(form.customer_id.data),
        create=form.create.data,
        overwrite=form.overwrite.data,
    )
    return _write(conversation_id, form, change)


@blueprint.post("/links/<id:conversation_id>/unlink")
@requires(Permission.LINKS_WRITE)
def unlink(conversation_id: UUID) -> ResponseReturnValue:
    """Take the customer away, as the person asked."""
    form = UnlinkForm()
    return _write(conversation_id, form, partial(service.unlink, confirm=form.confirm.data))


def _write(conversation_id: UUID, form: WriteForm, change: Callable[..., Outcome]) -> ResponseReturnValue:
    """Check what came, ask the service, and show what came of it; what was typed is never lost."""
    if form.lacks_precondition:
        return _form_page(conversation_id, form, Answer(428, _WITHOUT_PRECONDITION))
    if not form.validate():
        notice = _DAMAGED if form.damaged else None
        return _form_page(conversation_id, form, Answer(422, notice, keep_precondition=not form.damaged))
    try:
        outcome = change(
            conversation_id=conversation_id,
            actor_id=actor().id,
            reason=form.reason.data,
            seen_version=form.seen,
            operation_id=as_uuid(form.operation_id.data),
            context={"request_id": g.request_id},
        )
    except service.ConversationNotFound:
        abort(404)
    except service.NotAllowed:
        abort(403)
    except service.NotConfirmed:
        return _form_page(conversation_id, form, Answer(409, confirming=True, keep_precondition=True))
    except service.LinkError as error:
        status, notice = _REFUSED[type(error)]
        return _form_page(conversation_id, form, Answer(status, notice))
    flash(_DONE[outcome])
    form_address = url_for("linking.detail", conversation_id=conversation_id)
    place = urlencode(_place())
    return redirect(f"{form_address}?{place}" if place else form_address, 303)


def _form_page(
    conversation_id: UUID, form: WriteForm | None = None, answer: Answer = Answer()
) -> ResponseReturnValue:
    """Show the form page, with what was typed and why it came back, if it did."""
    chosen = as_uuid(form.customer_id.data) if isinstance(form, LinkForm) else None
    q = request.args.get("q", "")
    with reading() as connection:
        view = _visible(
            queries.link_view(connection, conversation_id=conversation_id, instructor_ids=_members())
        )
        seen = form.seen if form else None
        events = history.history(
            connection, view.id, outbox=view.outbox, version=view.link_version, seen=seen
        )
        found = queries.customers(connection, view, q, chosen=chosen, with_own=True)
        labels = queries.labels(
            connection,
            instructor_id=view.instructor_id,
            user_ids={event.actor_id for event in events or [] if event.actor_id},
            customer_ids={id_ for event in events or [] for id_ in event.customer_ids},
        )
        queue = _queue(connection, view.instructor_id, request.args.get("find", ""))
    own = view.normalized_identifier
    page = render_template(
        "linking/detail.html",
        view=view,
        instructor=membership(Permission.LINKS_READ, view.instructor_id),
        events=events,
        older=max(0, view.link_version - history.MAX_SHOWN),
        labels=labels,
        customers=found,
        creatable=own if own not in {customer.normalized_identifier for customer in found} else None,
        chosen=chosen,
        queue=queue,
        following=_following(queue, view),
        form=form,
        unlinking=isinstance(form, UnlinkForm),
        answer=answer,
        seen_version=form.seen_version.data if form and answer.keep_precondition else view.link_version,
        operation_id=form.operation_id.data if form and answer.keep_precondition else new_id(),
        place=_place(),
        reasons=_own_reasons(events or []),
        q=q,
    )
    return page, answer.status


def _visible(view: LinkView | None) -> LinkView:
    """Answer 404 for what isn't there or isn't the actor's to see, 403 for what they only read."""
    if view is None:
        abort(404)
    membership(Permission.LINKS_READ, view.instructor_id)
    return view


def _members() -> list[UUID]:
    return [one.instructor_id for one in actor().memberships]


def _queue(connection: Any, instructor_id: UUID, q: str) -> Page[ConversationRow]:
    linked = request.args.get("linked") == "yes"
    return inbox(connection, instructor_id=instructor_id, q=q, before=cursor(), with_link=True, linked=linked)


def _place() -> dict[str, Any]:
    return {name: request.args[name] for name in _PLACE if request.args.get(name)}


def _following(queue: Page[ConversationRow], view: LinkView) -> str | None:
    """Return where work goes on: below this conversation, else on the next page, else again from the top."""
    for row in queue.rows:
        if (row.last_message_at, row.id) < (view.last_message_at, str(view.id)):
            return _address(row, _place())
    if queue.next:
        q = request.args.get("find")
        linked = request.args.get("linked")
        return url_for("linking.desk", instructor=view.instructor_id, linked=linked, q=q, before=queue.next)
    return next((_address(row, _place()) for row in queue.rows if row.id != str(view.id)), None)


def _address(row: ConversationRow, place: dict[str, Any]) -> str:
    return url_for("linking.detail", conversation_id=row.id, **place)


def _own_reasons(events: Iterable[Any]) -> list[str]:
    """Return the reasons that this person gave in a conversation's events, to offer them again.

    They are read from the trail each time, so an erased reason is offered to nobody (docs/decisions/0172).
    """
    return list(dict.fromkeys(event.reason for event in events if event.actor_id == actor().id))[:MAX_REASONS]
