"""A person's right to see what is held about them, and to be forgotten. It reaches across the other parts."""

from flask import Flask

from console.person.commands import person


def init_app(app: Flask) -> None:
    """Add `flask person`."""
    app.cli.add_command(person)
