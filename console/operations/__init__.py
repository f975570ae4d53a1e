"""Operations: health, metrics, demo data and database roles."""

from flask import Flask

from console.operations import demo, health, metrics, roles


def init_app(app: Flask) -> None:
    """Add health, metrics and their commands."""
    app.extensions["asking"] = health.Asking(app)
    app.register_blueprint(health.blueprint)
    app.register_blueprint(metrics.blueprint)
    app.cli.add_command(demo.demo)
    app.cli.add_command(roles.database)
