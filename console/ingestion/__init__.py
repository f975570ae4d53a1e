"""Ingestion: from a channel's payload to conversations and messages. It knows nothing of customers."""

from flask import Flask

from console.ingestion import commands, routes

webhooks = routes.blueprint


def init_app(app: Flask) -> None:
    """Add the webhook, `flask ingest` and `flask rejected`."""
    app.register_blueprint(webhooks)
    app.cli.add_command(commands.ingest)
    app.cli.add_command(commands.rejected_payloads)
