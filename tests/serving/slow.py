"""The console, which takes four seconds longer to load, and as long to be freed."""

import atexit
import time

from console import create_app

time.sleep(4)
atexit.register(time.sleep, 4)
app = create_app()
