"""Everything that fuzzing has kept, run again."""

import pytest

from verification.fuzz import corpus
from verification.fuzz.mutation import mutate
from verification.fuzz.targets import TARGETS


@pytest.mark.parametrize("target", TARGETS)
def test_every_input_of_the_corpus_holds(target):
    inputs = corpus.read(corpus.path(target))
    assert len(inputs) > 20
    for raw in inputs:
        TARGETS[target](raw)


def test_the_corpus_keeps_every_byte(tmp_path):
    everything = [b"", bytes(range(256)), b'{"a": "\\u0000"}', b"\xed\xa0\x80"]
    corpus.keep(tmp_path / "any", [*everything, *everything])
    assert corpus.read(tmp_path / "any") == sorted(everything, key=len)


def test_a_payload_is_changed_as_json_and_other_bytes_are_left_alone():
    inputs = [payload for payload in corpus.read(corpus.path("payloads")) if payload.startswith(b'{"entry"')]
    changed = {mutate(raw, seed) for raw in inputs[-10:] for seed in range(20)}
    assert len(changed) > 100
    assert mutate(b"\xff", 1) is None
    assert mutate(b"{}", 1) is None
