"""Flask-Admin on the console's tables: the inbox as its documentation builds a list.

Last message and state come from column formatters, which are called for each row; sign-in is Flask-Login's.
"""

import os
from typing import Any
from uuid import UUID

from flask import Flask
from flask_admin import Admin
from flask_admin.contrib.sqla import ModelView
from flask_login import LoginManager, current_user, login_user
from flask_sqlalchemy import SQLAlchemy
from markupsafe import Markup
from sqlalchemy import func, select
from sqlalchemy.engine import URL

from console.config import database_url
from console.database import Base
from console.identifiers import normalize_identifier
from console.models import Conversation, Customer, Membership, Message, User

db = SQLAlchemy(metadata=Base.metadata)


class Person:
    """Who is signed in, as Flask-Login takes them."""

    is_authenticated = is_active = True
    is_anonymous = False

    def __init__(self, user_id: UUID, instructor_id: UUID) -> None:
        self.id, self.instructor_id = user_id, instructor_id

    def get_id(self) -> str:
        """Return what the session keeps."""
        return str(self.id)


def _last_message(_view: object, _context: object, conversation: Conversation, _name: str) -> str:
    of_conversation = db.session.query(Message).filter_by(conversation_id=conversation.id)
    last = of_conversation.order_by(Message.sent_at.desc(), Message.id.desc()).first()
    return (last.body or "")[:160] if last else "No messages"


def _state(_view: object, _context: object, conversation: Conversation, _name: str) -> Markup:
    return Markup('<span class="badge" data-state="{0}">{0}</span>').format(_state_of(conversation))


def _state_of(conversation: Conversation) -> str:
    if conversation.customer_id:
        return "known"
    key = {
        "instructor_id": conversation.instructor_id,
        "channel": conversation.channel,
        "normalized_identifier": normalize_identifier(conversation.customer_identifier or ""),
    }
    return "new" if db.session.query(Customer).filter_by(**key).first() else "unlinked"


class ConversationView(ModelView):
    """One instructor's conversations, newest first, fifty a page."""

    can_create = can_edit = can_delete = False
    column_list = ("customer_identifier", "channel", "status", "last_message_at", "last_message", "state")
    column_default_sort = ("last_message_at", True)
    column_formatters = {"last_message": _last_message, "state": _state}  # noqa: RUF012 (Flask-Admin's own way)
    page_size = 50

    def is_accessible(self) -> bool:
        """Let in who is signed in."""
        return bool(current_user.is_authenticated)

    def get_query(self) -> Any:
        """Keep to the instructor of who is signed in."""
        return super().get_query().filter(Conversation.instructor_id == current_user.instructor_id)

    def get_count_query(self) -> Any:
        """Count what `get_query` gives."""
        return (
            self.session.query(func.count("*"))
            .select_from(Conversation)
            .filter(Conversation.instructor_id == current_user.instructor_id)
        )


def application(url: URL) -> Flask:
    """Return the WSGI application; `GET /sign-in/<user id>` opens a session."""
    app = Flask(__name__)
    app.config.update(SQLALCHEMY_DATABASE_URI=url, SECRET_KEY="signs the peer's sessions")  # noqa: S106
    db.init_app(app)
    Admin(app, name="Console").add_view(ConversationView(Conversation, db.session))
    logins = LoginManager(app)

    @logins.user_loader
    def load(user_id: str) -> Person:
        of_user = select(User.id, Membership.instructor_id).join(Membership, Membership.user_id == User.id)
        return Person(*db.session.execute(of_user.where(User.id == UUID(user_id))).one())

    @app.get("/sign-in/<user_id>")
    def sign_in(user_id: str) -> str:
        login_user(load(user_id))
        return "signed in"

    return app


def serve() -> Flask:
    """Return the application on the database that the console would use."""
    return application(database_url(os.environ["CONSOLE_DATABASE_URL"]))
