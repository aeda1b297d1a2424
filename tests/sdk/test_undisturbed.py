"""Ctrl-C is put off for the length of a call: it wakes the one that waits, and is raised once."""

import signal
import threading

import pytest

from beliefd.interrupts import Undisturbed, raise_interrupt


def press():
    signal.raise_signal(signal.SIGINT)


def undisturbed(*calls):
    """Make calls one after the other, as one; what a wait was woken by is not told."""
    with Undisturbed(lambda: None):
        for call in calls:
            call()


def test_it_wakes_the_innermost_and_is_raised_at_the_end_of_the_outermost():
    told = []

    def outer():
        with Undisturbed(lambda: told.append("outer")):
            with Undisturbed(lambda: told.append("inner")):
                press()
            told.append("inner is over")

    with pytest.raises(KeyboardInterrupt):
        outer()
    assert told == ["inner", "inner is over"]
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler


def test_after_an_inner_one_the_outer_one_is_woken():
    told = []

    def outer():
        with Undisturbed(lambda: told.append("outer")):
            undisturbed()
            press()

    with pytest.raises(KeyboardInterrupt):
        outer()
    assert told == ["outer"]


def test_what_was_raised_within_is_not_raised_again():
    with pytest.raises(KeyboardInterrupt):
        undisturbed(press, raise_interrupt)
    undisturbed(raise_interrupt)


def test_what_comes_twice_is_raised_at_once_and_forgotten_afterwards():
    after = []
    with pytest.raises(KeyboardInterrupt):
        undisturbed(press, press, lambda: after.append("not at once"))
    assert not after
    undisturbed(raise_interrupt)


def test_another_thread_neither_puts_it_off_nor_raises_it():
    raised = []

    def other():
        try:
            undisturbed(raise_interrupt)
            assert signal.getsignal(signal.SIGINT) is not signal.default_int_handler  # as the main thread has it
        except BaseException as error:
            raised.append(error)

    thread = threading.Thread(target=other)
    with pytest.raises(KeyboardInterrupt):
        undisturbed(press, thread.start, thread.join)
    assert not raised
