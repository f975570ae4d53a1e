"""Mutation testing: does a test fail for each small change of the code that decides?

requirements.in   mutmut, in an environment of its own; requirements.txt locks it with hashes
mutate.py         prints mutmut's mutants of a file, as JSON lines; runs in that environment
runner.py         runs the tests on each mutant, in a process forked for it
plugin.py         what pytest does meanwhile: which tests, in which order, on which database
equivalent.toml   the mutants that no test can tell from the code, and why
__main__.py       runs it all, compares the survivors with that list and prints the score: `make mutants`
"""
