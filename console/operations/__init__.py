"""Operations: what whoever runs the console sees of it."""

from flask import Flask

from console.config import Settings
from console.operations import (
    asking,
    compression,
    demo,
    errors,
    health,
    incoming,
    logs,
    metrics,
    responses,
    roles,
)


def init_app(app: Flask, settings: Settings) -> None:
    """Add logs, headers, compression, error pages, health and metrics."""
    app.extensions["asking"] = asking.Asking(app)
    logs.init_app(app, settings)
    metrics.init_app(app)
    incoming.check_host(app, settings)
    # What is added first sees an answer last.
    compression.init_app(app)
    responses.init_app(app, settings)
    errors.init_app(app)
    app.register_blueprint(health.blueprint)
    app.register_blueprint(metrics.blueprint)
    app.cli.add_command(demo.demo)
    app.cli.add_command(roles.database)
