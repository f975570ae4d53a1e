"""The design documents as a test run: every rule with the tests that show it, and their result.

rules.py       the rules of docs/design, and the tests that claim to show each
__main__.py    runs the tests and prints the table: `make accept`
"""
