"""The console, which takes four seconds longer to load."""

import time

from console import create_app

time.sleep(4)
app = create_app()
