"""Ctrl-C in a call of the client harms no other call, in whatever moment it comes."""

import contextlib
import os
import signal
import socket
import sys
import threading
import time
from concurrent.futures import wait
from functools import partial
from unittest import mock

import numpy as np
import pytest

import beliefd
from beliefd.background import Collected
from beliefd.client import Client
from beliefd.worlds import tmaze
from beliefd_proto import Command
from beliefd_proto import messages as m
from beliefd_proto.errors import Cancelled, DeadlineExceeded, Disconnected

pytestmark = pytest.mark.system

MANY, TWO = np.zeros((5000, 3), np.int64), np.zeros((2, 3), np.int64)  # MANY: more than goes into a header


def interrupted(call, moment):
    """Make a call, and press Ctrl-C in its so-maniest moment; returns whether it has as many.

    A moment is where the interpreter looks for signals: as a function begins, and after one in C has ended.
    """
    left, forgotten = moment, []

    def look(_frame, event, _):
        nonlocal left
        if event in ("call", "c_return"):
            left -= 1
            if not left:
                signal.raise_signal(signal.SIGINT)

    with mock.patch.object(
        sys, "unraisablehook", forgotten.append
    ):  # of what Python itself forgets, as in a destructor
        try:
            sys.setprofile(look)
            call()
        except KeyboardInterrupt:
            assert left <= 0
            return True
        finally:
            sys.setprofile(None)
    assert left > 0 or forgotten, f"Ctrl-C at moment {moment} was forgotten"
    return left <= 0


@pytest.mark.parametrize("endpoint", ["local_endpoint", "endpoint"])
@pytest.mark.parametrize("way", ["step", "submit", "result", "done", "cancel", "retry", "status"])
def test_whatever_moment_is_interrupted_no_other_call_is_harmed(stack, name, way, endpoint):
    with beliefd.connect(getattr(stack, endpoint)) as client:
        ours, others = (client.create_population(f"{name}.{n}", tmaze(), agents=n) for n in (len(MANY), 2))
        made, unsettled = [], []

        def submit():
            made.append(ours.submit(MANY))
            return made[-1]

        def late():
            with pytest.raises(DeadlineExceeded) as caught:
                ours.step(MANY, timeout_s=1e-9)
            unsettled.append(caught.value)
            return caught.value

        prepare = {
            "step": lambda: partial(ours.step, MANY),
            "submit": lambda: submit,
            "result": lambda: submit().result,
            "done": lambda: submit().done,
            "cancel": lambda: submit().cancel,
            "retry": lambda: partial(ours.retry, late()),
            "status": lambda: client.status,
        }
        for _ in range(20):
            ours.step(MANY)
        moment, more = 0, True
        while more:
            moment += 1
            call = prepare[way]()
            made.append(others.submit(TWO))
            more = interrupted(call, moment)
            for future in made:
                error = future.exception(timeout=30)
                assert error is None or (way == "cancel" and isinstance(error, Cancelled)), (moment, error)
            made.clear()
            while unsettled:
                assert len(ours.retry(unsettled.pop()).tick) == len(MANY), moment
            assert len(ours.step(MANY).tick) == len(MANY), moment
        assert moment > 10
        closing = threading.Thread(target=client.close, daemon=True)
        closing.start()
        closing.join(30)
        assert not closing.is_alive(), "somebody who is not there drives still"


@pytest.mark.parametrize("way", ["step", "result"])
def test_another_threads_steps_go_on(stack, name, way):
    with beliefd.connect(stack.local_endpoint) as client:
        ours, others = (client.create_population(f"{name}.{n}", tmaze(), agents=n) for n in (1, 2))
        over, failed, begun = threading.Event(), [], threading.Event()

        def live():
            try:
                while not over.is_set():
                    others.step(TWO)
                    begun.set()
            except BaseException as error:
                failed.append(error)

        other = threading.Thread(target=live)
        other.start()
        begun.wait(30)
        one = np.zeros((1, 3), np.int64)
        try:
            for moment in range(1, 400):
                future = ours.submit(one) if way == "result" else None
                interrupted(future.result if future is not None else partial(ours.step, one), moment)
                assert future is None or future.result(timeout=30)
                assert not failed, moment
                ours.step(one)
        finally:
            over.set()
            other.join(30)
        assert not failed
        assert not other.is_alive()


def test_a_close_that_is_interrupted_ends_what_is_open_all_the_same(stack, name):
    moment, more = 0, True
    while more:
        moment += 1
        client = beliefd.connect(stack.local_endpoint)
        future = client.create_population(f"{name}.{moment}", tmaze(), agents=2).submit(TWO)
        more = interrupted(client.close, moment)
        client.close()
        error = future.exception(timeout=30)
        assert error is None or isinstance(error, Disconnected), moment
    assert moment > 10


@pytest.fixture
def silent(tmp_path):
    """A client of a broker that says nothing."""
    path = str(tmp_path / "socket")
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(path)
        listener.listen()
        client = Client(f"unix:/{path}")
        yield client
        client.close()


def ask(client):
    client.request(Command.LIST, m.List(id=os.urandom(16), deadline_ms=0), {}, 3600.0)


def until(condition):
    give_up_s = time.monotonic() + 30
    while not condition():
        assert time.monotonic() < give_up_s
        time.sleep(0.001)


def press_when(condition):
    """Press Ctrl-C as soon as this holds."""

    def press():
        until(condition)
        os.kill(os.getpid(), signal.SIGINT)

    pressing = threading.Thread(target=press, daemon=True)
    pressing.start()
    return pressing


def test_who_waits_for_the_broker_is_interrupted(silent):
    pressing = press_when(lambda: silent._driver is not None)
    with pytest.raises(KeyboardInterrupt):
        ask(silent)
    pressing.join(30)


def test_who_waits_for_another_thread_that_waits_is_interrupted(silent):
    def other():
        with pytest.raises(Disconnected):
            ask(silent)

    waiting = threading.Thread(target=other)
    waiting.start()
    until(lambda: silent._driver is not None)
    pressing = press_when(lambda: silent._followers)
    with pytest.raises(KeyboardInterrupt):
        ask(silent)
    pressing.join(30)
    silent.close()
    waiting.join(30)
    assert not waiting.is_alive()


def test_a_result_is_waited_for_as_long_as_was_said_whoever_drives(silent):
    def result():
        future = Collected(silent.collect, lambda: None, silent.undisturbed)
        with pytest.raises(TimeoutError):
            future.result(timeout=0.01)

    def other():
        with pytest.raises(Disconnected):
            ask(silent)

    result()
    waiting = threading.Thread(target=other)
    waiting.start()
    until(lambda: silent._driver is not None)
    result()
    assert silent._driver == waiting.ident
    silent.close()
    waiting.join(30)
    assert not waiting.is_alive()


def test_a_second_time_interrupts_at_once(client, name):
    population, hung = client.create_population(name, tmaze(), agents=2), []

    def hang(_):
        if signal.getsignal(signal.SIGINT) is not signal.default_int_handler and in_main_thread():
            hung.append(True)
            for _ in range(2):
                os.kill(os.getpid(), signal.SIGINT)
            threading.Event().wait(3600)

    while not hung:  # until it is us who move the message, and not the client's own thread
        future = population.submit(TWO)
        future.add_done_callback(hang)
        with contextlib.suppress(KeyboardInterrupt):
            future.result()
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler
    assert len(population.step(TWO).tick) == 2


def in_main_thread():
    return threading.current_thread() is threading.main_thread()


def test_who_waits_in_a_callback_is_interrupted_after_all_callbacks(client, name):
    ours, others = (client.create_population(f"{name}.{n}", tmaze(), agents=n) for n in (1, 2))
    told = []

    def wait_on(_):
        if signal.getsignal(signal.SIGINT) is not signal.default_int_handler and in_main_thread():
            os.kill(os.getpid(), signal.SIGINT)
            told.append(len(ours.step(np.zeros((1, 3), np.int64)).tick))

    while not told:  # until it is us who move the message, and not the client's own thread
        future, second = others.submit(TWO), []
        future.add_done_callback(wait_on)
        future.add_done_callback(second.append)
        with contextlib.suppress(KeyboardInterrupt):
            future.result()
    assert told == [1]
    assert second == [future]


def test_a_handler_of_somebody_else_stays(client, name):
    population, seen = client.create_population(name, tmaze(), agents=2), []
    before = signal.signal(signal.SIGINT, lambda *_: seen.append(signal.getsignal(signal.SIGINT)))
    try:
        with pytest.raises(AssertionError, match="forgotten"):
            interrupted(partial(population.step, TWO), 20)
        assert len(seen) == 1
    finally:
        signal.signal(signal.SIGINT, before)


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


def test_an_answer_that_was_lost_to_an_error_is_asked_for_again_though_others_come(client, name, monkeypatch):
    ours, others = (client.create_population(f"{name}.{n}", tmaze(), agents=n) for n in (1, 2))
    receive, one = client._session.receive, np.zeros((1, 3), np.int64)

    def lose(*_):
        monkeypatch.setattr(client._session, "receive", receive)
        raise MemoryError

    others.submit(TWO).result()  # so that the next one, too, is left to us for a moment
    monkeypatch.setattr(client._session, "receive", lose)
    future = others.submit(TWO)
    with pytest.raises(MemoryError):
        future.result()
    give_up_s = time.monotonic() + 30
    while not future.done():  # and it is not quiet: silence would have the client ask
        assert len(ours.step(one).tick) == 1
        assert time.monotonic() < give_up_s
    assert len(future.result().tick) == 2


@pytest.mark.filterwarnings("ignore::pytest.PytestUnhandledThreadExceptionWarning")
def test_a_callback_that_ends_the_clients_own_thread_does_not_end_the_futures_to_come(client, name):
    population, ended = client.create_population(name, tmaze(), agents=2), []

    def end(_):
        if not in_main_thread():
            ended.append(True)
            sys.exit()

    while not ended:
        future = population.submit(TWO)
        future.add_done_callback(end)
        wait([future], timeout=30)
    until(lambda: not client._pump.is_alive())
    assert not wait([population.submit(TWO)], timeout=30).not_done
