"""The console's gunicorn for a peer: the same server and settings, without what the console does in it."""

import runpy

globals().update(
    {
        name: runpy.run_path("gunicorn.conf.py")[name]
        for name in ("workers", "threads", "timeout", "keepalive", "worker_class", "worker_tmp_dir")
    }
)
