"""Long suites: faults, failover, fuzzing, an installation, and a world whose truth is known.

`make test` runs short forms.
"""
