"""Exports and erases what is held about a person. It uses all other parts."""

from flask import Flask

from console.person.commands import person


def init_app(app: Flask) -> None:
    """Add `flask person`."""
    app.cli.add_command(person)
