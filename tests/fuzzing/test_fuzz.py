"""The fuzzer itself: seeded, it alters what it sends, and a short run of it leaves a stack as it was."""

import random

import pytest

from beliefd.worlds import tmaze
from beliefd_proto import decode
from beliefd_proto.errors import BeliefdError
from beliefd_service.stack import Stack
from fuzzing.__main__ import _harm, fuzzed
from fuzzing.corpus import messages
from fuzzing.mutations import MUTATIONS, mutated, mutated_bytes

MODEL = tmaze()


def corpus(seed=0):
    return messages("a" * 16, MODEL, random.Random(seed))


def test_what_is_altered_was_valid_before():
    for frames in corpus():
        decode(frames)


def test_the_same_seed_sends_the_same():
    sent = [[mutated(frames, random.Random(3)) for frames in corpus(5)] for _ in range(2)]
    assert sent[0] == sent[1]
    assert mutated_bytes(b"abcdef" * 9, random.Random(3)) == mutated_bytes(b"abcdef" * 9, random.Random(3))


@pytest.mark.parametrize("mutation", MUTATIONS)
def test_every_mutation_takes_whatever_the_others_left(mutation):
    rng = random.Random(1)
    for _ in range(100):
        for frames in (*corpus(), [b""], [b"bd"], [b"bd\x01\x09\xc1", b""]):
            changed = mutation(list(frames), rng)
            assert changed
            assert all(isinstance(frame, bytes) for frame in changed)


def test_most_of_what_is_sent_is_malformed_and_some_gets_past_the_decoder():
    rng = random.Random(2)
    refused = total = 0
    for _ in range(20):
        for frames in corpus():
            total += 1
            try:
                decode(mutated(frames, rng))
            except BeliefdError:
                refused += 1
    assert 0.5 < refused / total < 0.98


def test_a_death_or_growth_is_a_violation():
    before = {"broker": (1, 50), "gateway": (2, 90), "worker_00": (3, 10)}
    assert _harm(before, before) == []
    after = {"broker": (1, 500), "gateway": (7, 90), "worker_00": (3, 900)}
    assert _harm(before, after) == ["gateway died", "broker grew from 50 to 500 MiB"]


@pytest.mark.system
def test_a_short_run_leaves_the_stack_as_it_was(tmp_path_factory):
    with Stack(tmp_path_factory.mktemp("fuzz"), 2, {"BELIEFD_POPULATIONS": "2", "BELIEFD_AGENTS": "10000"}) as stack:
        found = fuzzed(stack, 10_000, seed=7)
    assert found["violations"] == []
    assert found["frames"] >= 10_000
    assert found["steps of the canary"] > 10
    assert found["answers of the broker"] > 1_000
