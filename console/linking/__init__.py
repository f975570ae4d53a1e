"""Linking: the only part that writes a conversation's customer, and the audit of that."""

import structlog
from flask import Flask
from sqlalchemy.exc import DBAPIError

from console.linking import commands, routes, service

log = structlog.get_logger()


def init_app(app: Flask) -> None:
    """Add the desk and the audit commands."""
    app.register_blueprint(routes.blueprint)
    for command in commands.commands:
        app.cli.add_command(command)


def catch_up(app: Flask) -> None:
    """Move audit events that still wait in conversations, as every start does (CM-2.5).

    A database that isn't ready stops no start: its pages say so, and the next write or drain moves them.
    """
    try:
        with app.app_context():
            service.move_waiting_events()
    except DBAPIError as error:
        log.error("audit_catch_up_failed", kind=type(error.orig).__name__)
