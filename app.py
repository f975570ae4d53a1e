"""The WSGI application."""

import gc

# All that is loaded stays. Looking through it for garbage would take a tenth of the start.
gc.disable()

from console import create_app  # noqa: E402 (after that)

app = create_app()
gc.freeze()
gc.enable()
