"""What an agent takes is known for sure only after many batches, lately, and whatever one of them took."""

import pytest

from beliefd_broker.pace import LEAST_MEASURED_AGENTS, TRUSTED_BATCHES, TRUSTED_S, Pace


def known(ns_per_agent=1000, batches=TRUSTED_BATCHES):
    pace = Pace()
    for _ in range(batches):
        pace.record(64, 64 * ns_per_agent, 0.0)
    return pace


def test_a_few_batches_or_old_ones_make_nothing_sure():
    assert known(batches=TRUSTED_BATCHES - 1).usual_ns(0.0) is None
    assert known().usual_ns(TRUSTED_S / 2) == pytest.approx(1000)
    assert known().usual_ns(TRUSTED_S) is None


def test_a_batch_of_a_few_agents_tells_nothing():
    pace = known()
    for _ in range(TRUSTED_BATCHES):
        pace.record(LEAST_MEASURED_AGENTS - 1, 10**9, TRUSTED_S)
    assert pace.ns == pytest.approx(1000)
    assert pace.usual_ns(TRUSTED_S) is None  # else a wrong one would be held to for ever


def test_a_batch_that_was_held_up_changes_the_average_and_hardly_what_is_usual():
    pace = known()
    pace.record(64, 10**9, 0.0)
    assert pace.ns > 1e6
    assert pace.usual_ns(0.0) <= 1100


def test_a_slow_first_batch_is_forgotten_before_anything_is_sure():
    pace = Pace()
    pace.record(64, 10**9, 0.0)
    for _ in range(TRUSTED_BATCHES - 1):
        pace.record(64, 64_000, 0.0)
    assert pace.usual_ns(0.0) < 20_000


def test_what_has_become_slower_or_quicker_is_followed():
    pace = known()
    for ns in (10_000, 100):
        for _ in range(2 * TRUSTED_BATCHES):
            pace.record(64, 64 * ns, 0.0)
        assert pace.usual_ns(0.0) == pytest.approx(ns, rel=0.1)
