"""Conversations: what instructors read. Nothing in here writes."""

from flask import Flask

from console.conversations import commands, display, drawing, routes


def init_app(app: Flask) -> None:
    """Add the pages, the filters of their templates, and the commands."""
    display.init_app(app)
    drawing.init_app(app)
    app.register_blueprint(routes.blueprint)
    for command in commands.commands:
        app.cli.add_command(command)
