"""Customer Memory: the one place where the parts meet."""

import sys

from flask import Flask
from flask_migrate import Migrate
from flask_wtf import CSRFProtect

from console import accounts, conversations, database, ingestion, linking, operations, permissions
from console.config import ROOT, ConfigurationError, Settings, load

MAX_BODY_BYTES = 3 * 1024 * 1024


def create_app(settings: Settings | None = None) -> Flask:
    """Build the WSGI application from `settings`, by default those of the environment.

    Ends the process with one line where a setting of the environment can't be used.
    """
    if settings is None:
        try:
            settings = load()
        except ConfigurationError as error:
            sys.exit(str(error))

    app = Flask("console", template_folder=str(ROOT / "templates"), static_folder=str(ROOT / "static"))
    app.config.update(
        CONSOLE=settings,
        SECRET_KEY=settings.secret_key,
        SESSION_COOKIE_SAMESITE="Lax",
        WTF_CSRF_TIME_LIMIT=None,
        MAX_CONTENT_LENGTH=MAX_BODY_BYTES,
    )
    app.jinja_options = {"trim_blocks": True, "lstrip_blocks": True}

    app.url_map.converters["id"] = permissions.IdConverter

    database.init_app(app, settings)
    Migrate(app, database.db, directory=str(ROOT / "migrations"))
    operations.init_app(app, settings)
    accounts.init_app(app)
    ingestion.init_app(app)
    conversations.init_app(app)
    linking.init_app(app)
    permissions.guard(app)
    CSRFProtect(app).exempt(ingestion.webhooks)
    return app
