"""A signal's handler that raises in a call of the client, such as Ctrl-C, harms no other call, in whatever moment."""

import sys
import threading
from functools import partial
from pathlib import Path

import numpy as np
import pytest

import beliefd
from beliefd.worlds import tmaze
from beliefd_proto.errors import BeliefdError

pytestmark = pytest.mark.system

HERE = str(Path(beliefd.__file__).parent)
MANY, TWO = np.zeros((5000, 3), np.int64), np.zeros((2, 3), np.int64)  # MANY: more than goes into a header


class InterruptedHere(BaseException):
    pass


def interrupted(call, moment):
    """Make a call that is interrupted in its so-maniest moment; returns whether it has as many.

    A moment is where the interpreter looks for signals: as a function of the SDK begins, and after one in C has ended.
    """
    left = moment

    def look(frame, event, _):
        nonlocal left
        if event in ("call", "c_return") and frame.f_code.co_filename.startswith(HERE):
            left -= 1
            if not left:
                raise InterruptedHere

    sys.setprofile(look)
    try:
        call()
    except InterruptedHere:
        return True
    finally:
        sys.setprofile(None)
    return left <= 0


def ended(future):
    """Whether a future ends in time, in a result or in an error of the tree."""
    try:
        future.result(timeout=30)
    except BeliefdError:
        return True
    return future.done()


@pytest.mark.parametrize("endpoint", ["local_endpoint", "endpoint"])
@pytest.mark.parametrize("way", ["step", "submit", "step.beside.a.future"])
def test_whatever_moment_of_a_call_is_interrupted_the_next_one_works(stack, name, way, endpoint):
    with beliefd.connect(getattr(stack, endpoint)) as client:
        ours, others = (client.create_population(f"{name}.{n}"[-100:], tmaze(), agents=n) for n in (len(MANY), 2))
        for _ in range(20):
            ours.step(MANY)
        submitted = []

        def submit(*arguments, **options):
            submitted.append(ours.submit(*arguments, **options))

        moment, more = 0, True
        while more:
            moment += 1
            made = []
            if way == "step.beside.a.future":
                others.submit(TWO).result()  # since who waits drives, the next one is left to us too for a moment
                made = [others.submit(TWO, timeout_s=2.0)]
            more = interrupted(partial(submit if way == "submit" else ours.step, MANY, timeout_s=2.0), moment)
            made += submitted
            submitted.clear()
            for future in made:
                assert ended(future), moment
            assert len(ours.step(MANY).tick) == len(MANY), moment
        assert moment > 30
        closing = threading.Thread(target=client.close, daemon=True)
        closing.start()
        closing.join(30)
        assert not closing.is_alive(), "somebody who is not there drives still"


def test_what_fails_at_the_end_of_a_future_is_told_by_it_alone(client, name, monkeypatch):
    ours, others = (client.create_population(f"{name}.{n}", tmaze(), agents=n) for n in (1, 2))
    with monkeypatch.context() as short:
        short.setattr(ours, "_finish", lambda *_: np.empty(2**50))
        future = ours.submit(np.zeros((1, 3), np.int64))
        with pytest.raises(MemoryError):
            future.result(timeout=30)
    assert ours.step(np.zeros((1, 3), np.int64)).tick.tolist() == [2]  # free again, from where it is found
    assert others.submit(TWO).result(timeout=30).tick.tolist() == [1, 1]
    assert others.step(TWO).tick.tolist() == [2, 2]
