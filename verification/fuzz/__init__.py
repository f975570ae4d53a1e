"""Fuzzing: `normalize_identifier` (CM-1) and the webhook's parser, on bytes that make them do something new.

`make fuzz` goes on from the corpus and keeps in it what reaches new code, and what fails; the suite runs the
corpus (test_corpus.py).

    targets.py     what has to hold for any bytes
    mutation.py    changes a payload as JSON, where changes to its bytes would only break it
    run.py         one target under the fuzzer, in a process that the fuzzer ends
    corpus/        inputs that each reach something the others don't, one JSON string a line
"""
