"""Linking: the only part that writes a conversation's customer, and the audit of that."""

from flask import Flask

from console.linking import commands, routes


def init_app(app: Flask) -> None:
    """Add the desk and the audit commands."""
    app.register_blueprint(routes.blueprint)
    app.cli.add_command(commands.audit_group)
