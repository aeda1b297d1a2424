"""A silence is found whoever had it, with its beginning, and a fault waits until nobody has one."""

from nemesis.checker import Verdict
from nemesis.silence import Silence, is_answered, longest_silence


def herds(**served_s):
    return {name: Verdict(served_s=times_s) for name, times_s in served_s.items()}


def test_a_silence_begins_with_the_last_answer_before_the_fault_and_ends_with_the_next_fault():
    mice = herds(mice=[1.0, 2.0, 2.5, 9.0])
    assert longest_silence(mice, 2.25, 4.0) == Silence(1.5, "mice", 0.25)
    assert longest_silence(mice, 1.5, 2.75) == Silence(1.0, "mice", -0.5)
    assert longest_silence(mice, 3.0, 9.5) == Silence(6.5, "mice", -0.5)
    assert longest_silence(herds(mice=[]), 3.0, 9.5).lasted_s == 0.0


def test_the_longest_of_all_herds_counts():
    two = herds(mice=[1.0, 1.5, 2.0, 2.5], walkers=[1.0, 2.25])
    assert longest_silence(two, 1.25, 2.5) == Silence(1.25, "walkers", -0.25)
    assert str(longest_silence(two, 1.25, 2.5)) == "walkers had no answer for 1.250 s, from 0.250 s before it"


def test_who_was_not_answered_lately_is_not_answered():
    two = herds(mice=[1.0, 3.0], walkers=[2.0])
    assert is_answered(two, 1.5)
    assert not is_answered(two, 2.5)
    assert not is_answered(herds(mice=[1.0], walkers=[]), 0.0)
