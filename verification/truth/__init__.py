"""A world whose truth is known, and a judge who reads only what the console shows.

`make truth` runs it in full. test_truth.py runs a short form, and shows that the judge catches lies.
"""
