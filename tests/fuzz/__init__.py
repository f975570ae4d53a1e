"""Fuzzing: `normalize_identifier` (CM-1) and the webhook's parser, on whatever bytes make them do something new.

`make fuzz ARGS=--seconds=60` goes on from the corpus, and keeps in it what fails: the suite runs the corpus.

    targets.py     what has to hold for any bytes
    mutation.py    changes a payload as JSON, where changes to its bytes would only break it
    corpus/        inputs that each reach something the others don't
"""
