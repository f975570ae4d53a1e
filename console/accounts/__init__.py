"""Accounts: the users who sign in, and which instructors they work for."""

from flask import Flask
from flask_login import current_user

from console.accounts import commands, oidc, routes
from console.accounts.sessions import Sessions


def init_app(app: Flask) -> None:
    """Add sign-in and the account commands."""
    app.session_interface = Sessions()
    # Error pages don't look up who is signed in: the database may be what failed.
    routes.login_manager.init_app(app, add_context_processor=False)
    app.jinja_env.globals["current_user"] = current_user
    app.register_blueprint(routes.blueprint)
    app.register_blueprint(oidc.blueprint)
    for command in commands.commands:
        app.cli.add_command(command)
