"""The console, which takes four seconds longer to load, and as long to be freed."""

import atexit
import sys
import time

from console import create_app

sys.stderr.write("loads\n")
time.sleep(4)
sys.stderr.write("loaded\n")
atexit.register(time.sleep, 4)
app = create_app()
