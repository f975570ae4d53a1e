"""The fault harness: does the write path survive crashes, a broken audit, races and repeats (CM-2.3, CM-2.5).

Tests that repeat something have a short form, which `make test` runs, and a full form, marked `faults`, which
`make test-faults` runs; that ends with a table of what was counted. Nothing of the console is replaced: what
fails, fails for real, in the database, in the process or in the file system.

    databases.py      the database under test, and the way into it past the console
    figures.py        the two forms of a test, and the table of figures
    world.py          an instructor, operators, conversations and customers, past the console
    boundaries.py     forks processes that kill themselves at a boundary of their transactions
    crashes.py        the crash sweep: every scenario, killed everywhere, then started again
    storm.py          processes under load, killed at any moment
    breakage.py       the ways in which the audit can be broken, and how each is repaired
    server.py         a real gunicorn, and a person at its forms
    operators.py      many operators at once, and the record of their calls
    history.py        what such a record holds
    checker.py        is a record linearizable, conversation by conversation
    load.py           processes that write links and messages into one SQLite file
    surroundings.py   a full disk, read-only files, a database that restarts
    test_model.py     the whole console against a simple model
    simulation.py     a link store in memory, right or with one of the bugs that the checker has to catch
"""
