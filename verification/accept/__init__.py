"""The design documents as a test run: every rule with the tests that show it, and their result.

rules.py       the rules of docs/design, and the tests that claim to show each
guards.py      the guards of guards.toml, and how each is removed in a copy of the project
__main__.py    runs the tests and prints the table: `make accept`
"""
