"""Error pages: what went wrong, what can be done, and what was typed."""

import sqlite3

import structlog
from flask import Flask, render_template, request
from flask.typing import ResponseReturnValue
from flask_wtf.csrf import CSRFError
from sqlalchemy.exc import DatabaseError, DataError, DBAPIError, IntegrityError, InterfaceError
from sqlalchemy.exc import TimeoutError as PoolTimeoutError
from werkzeug.exceptions import HTTPException, InternalServerError

log = structlog.get_logger()

# By status: the heading of the page, and a sentence on what people can do.
_WORDS = {
    400: ("This link is broken", "Part of the address is invalid. Start again from the conversations."),
    403: ("Not allowed", "Your account can’t open this. The console’s administrator can change that."),
    404: ("Not found", "There is nothing here, or it isn’t yours to see."),
    405: ("Not possible", "This address doesn’t answer that kind of request."),
    411: ("Not a form", "A form says how long it is before it is sent. Nothing was saved."),
    413: ("Too large", "What was sent is larger than the console takes. Nothing was saved."),
    415: ("Not a form", "The console takes what its own forms send, and nothing else. Nothing was saved."),
    500: ("Something failed", "The fault is the console’s and has been logged."),
    503: ("The database can’t be used right now", "Try again in a moment."),
}
# The failure may have come after the commit. A form that changes something is one operation (CM-2.3).
_PERHAPS_SAVED = "We can’t tell whether this was saved. Try again: it can’t be saved twice."
_FORM_EXPIRED = ("This form has expired", "Nothing was saved. Open the form again and save again.")


def init_app(app: Flask) -> None:
    """Answer every failure with a page."""
    app.register_error_handler(HTTPException, show_http_error)
    app.register_error_handler(InternalServerError, show_failure)
    app.register_error_handler(CSRFError, show_expired_form)
    for failure in (DatabaseError, InterfaceError, PoolTimeoutError, sqlite3.Error):
        app.register_error_handler(failure, show_unavailable)


def show_http_error(error: HTTPException) -> ResponseReturnValue:
    """Show the page for an HTTP error; it is the same for every address and every user."""
    if cause := getattr(error, "cause", None):
        log.warning("request_refused", cause=cause)
    status = error.code or InternalServerError.code
    known = _WORDS.get(status, (error.name, "Start again from the conversations."))
    heading, advice = getattr(error, "words", known)
    answer = render_template("error.html", heading=heading, advice=advice)
    headers = {name: value for name, value in error.get_headers() if name == "Allow"}
    return answer, status, headers


def show_expired_form(_error: CSRFError) -> ResponseReturnValue:
    """Say that a form's token has expired, and give back what was typed."""
    log.warning("request_refused", cause="form token")
    heading, advice = _FORM_EXPIRED
    typed = _typed()
    advice += " Your reason is below." if typed else ""
    return render_template("error.html", heading=heading, advice=advice, typed=typed), 400


def show_unavailable(error: Exception) -> ResponseReturnValue:
    """Say that the database can't be reached or used; a form can be sent again as it was."""
    if isinstance(error, IntegrityError | DataError):
        raise error  # a fault of the console, not of the database
    cause = error.orig if isinstance(error, DBAPIError) else error
    log.error(
        "database_unavailable", kind=type(cause).__name__, route=request.url_rule and request.url_rule.rule
    )
    return _perhaps_saved(503)


def show_failure(_error: InternalServerError) -> ResponseReturnValue:
    """Say that the console failed, perhaps after a commit; a form can be sent again as it was."""
    return _perhaps_saved(500)


def _perhaps_saved(status: int) -> ResponseReturnValue:
    heading, advice = _WORDS[status]
    form = _form()
    retry = form if "password" not in form else {}
    if retry:
        advice = _PERHAPS_SAVED
    return render_template("error.html", heading=heading, advice=advice, typed=_typed(), retry=retry), status


def _typed() -> dict[str, str]:
    reason = _form().get("reason")
    return {"Reason": reason} if reason else {}


def _form() -> dict[str, str]:
    """Return the form that was sent; nothing if it is too large or invalid."""
    try:
        return request.form.to_dict()
    except HTTPException:
        return {}
