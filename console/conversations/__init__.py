"""Conversations: what instructors read. Nothing in here writes."""

from flask import Flask

from console.config import Settings
from console.conversations import commands, display, routes


def init_app(app: Flask, settings: Settings) -> None:
    """Add the pages, the filters of their templates, and the commands."""
    display.init_app(app, settings.time_zone)
    app.register_blueprint(routes.blueprint)
    app.cli.add_command(commands.identifier)
    app.cli.add_command(commands.badge)
