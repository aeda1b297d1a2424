"""The client over a real socket: threads, futures, callbacks, deadlines and the end, against a peer of a few lines."""

import os
import signal
import threading
import time
from concurrent.futures import ThreadPoolExecutor, wait

import numpy as np
import pytest
from peer import Peer, error, frames, population, stepped, until, values

import beliefd
import beliefd.session
from beliefd.background import Collected, Collectors
from beliefd.letterbox import Post
from beliefd_proto import Applied, Command
from beliefd_proto import messages as m
from beliefd_proto.errors import (
    DeadlineExceeded,
    Disconnected,
    InvalidArgument,
    InvalidObservation,
    TickTaken,
    TooLarge,
    UnknownPopulation,
    VersionMismatch,
)

NOW = 30.0
"""Seconds in which everything that happens at all has happened."""


@pytest.fixture(params=["tcp", "unix"])
def peer(request, tmp_path):
    with Peer(path=None if request.param == "tcp" else tmp_path / "clients") as running:
        yield running


@pytest.fixture
def client(peer):
    with beliefd.connect(peer.endpoint) as connected:
        yield connected


@pytest.fixture
def mice(client):
    return client.population("mice")


def test_a_step_asks_where_the_agents_are_once_and_then_counts(peer, mice):
    for tick in (1, 2, 3):
        step = mice.step(np.zeros(8, int))
        assert step.tick.tolist() == [tick] * 8
        assert step.control.tolist() == [1] * 8
    assert peer.count(m.Read) == 1
    assert [h.tick for h in peer.heard if isinstance(h, m.Step)] == [1, 2, 3]


def test_a_step_of_which_workers_tell_all_ends_without_a_word_of_the_broker(tmp_path):
    post = Post()

    def answer(header):
        if not isinstance(header, m.Step):
            return Peer.default(header)
        (hello,) = [each for each in peer.heard if isinstance(each, m.Hello)]
        for start in (5, 0):
            part = m.SteppedPart(id=header.id, start=start, count=5 if start == 0 else 3)
            actions = np.arange(start, start + part.count, dtype=np.int8)[:, None]
            post.put(hello.letterbox, frames(Command.STEPPED_PART, part, {"actions": actions}))
        return None

    with Peer(answer, path=tmp_path / "clients") as peer, beliefd.connect(peer.endpoint) as client:
        step = client.population("mice").step(np.zeros(8, int), timeout_s=NOW)
        assert step.control.tolist() == list(range(8))
    post.close()


def test_over_tcp_a_client_has_no_letterbox():
    with Peer() as peer, beliefd.connect(peer.endpoint):
        assert [each.letterbox for each in peer.heard if isinstance(each, m.Hello)] == [None]


def test_what_no_broker_takes_is_told_before_anything_is_sent(tmp_path):
    limits = m.Limits(open_bytes=100)
    with Peer(limits=limits, path=tmp_path / "clients") as peer, beliefd.connect(peer.endpoint) as client:
        mice = client.population("mice")
        with pytest.raises(TooLarge, match="50") as caught:
            mice.step([np.full((8, 4), 0.25)])
        assert caught.value.applied.tolist() == [Applied.NO] * 8
        assert peer.count(m.Step) == 0
        assert mice.step(np.zeros(8, int)).tick.tolist() == [1] * 8


def test_the_next_broker_on_this_machine_is_told_at_once_who_asks_what(tmp_path, monkeypatch):
    """Not by silence, nor because it says that it does not know us."""
    monkeypatch.setattr(beliefd.session, "SILENCE_S", 1000.0)
    path = tmp_path / "clients"
    with Peer(path=path) as first:
        client = beliefd.connect(first.endpoint)
        mice = client.population("mice")
        mice.step(np.zeros(8, int))
        first.hold.set()
        asked = mice.submit(np.zeros(8, int))
        first.wait_for(m.Step, 2)
    with Peer(path=path) as second:
        assert asked.result(timeout=NOW).control.tolist() == [1] * 8
        assert isinstance(second.heard[0], m.Hello)
        assert second.count(m.Hello) == 1
    client.close()


def test_agents_that_are_no_neighbours_count_on_too(peer, mice):
    mice.step(np.zeros(8, int))
    for tick in (2, 3):
        assert mice.step(np.zeros(3, int), agents=[6, 0, 3]).tick.tolist() == [tick] * 3
    assert mice.step(np.zeros(8, int)).tick.tolist() == [4, 2, 2, 4, 2, 2, 4, 2]


def test_threads_step_at_once_through_one_client(peer, client):
    herds = [client.population("mice") for _ in range(6)]

    def run(herd):
        return [herd.step(np.zeros(8, int), timeout_s=NOW).tick[0] for _ in range(30)]

    with ThreadPoolExecutor(6) as pool:
        assert list(pool.map(run, herds)) == [list(range(1, 31))] * 6
    assert len({h.id for h in peer.heard}) == len(peer.heard)


def test_threads_that_wait_do_not_depend_on_the_one_that_drives(peer, client):
    """The driver's own answer comes first; the others must get theirs all the same."""
    first, second = client.population("mice"), client.population("mice")
    for herd in (first, second):
        herd.step(np.zeros(8, int))
    peer.hold.set()
    with ThreadPoolExecutor(2) as pool:
        waiting = [pool.submit(herd.step, np.zeros(8, int), timeout_s=NOW) for herd in (first, second)]
        peer.wait_for(m.Step, 4)
        peer.hold.clear()
        assert [future.result(NOW).tick[0] for future in waiting] == [2, 2]


def test_a_request_does_not_wait_for_the_driver_to_wake_up(monkeypatch):
    """Another thread drives, its own answer does not come, and nothing else would end its sleep."""
    monkeypatch.setattr(beliefd.session, "SILENCE_S", 1000.0)
    lost = []

    def answer(header):
        if isinstance(header, m.Step) and not lost:
            lost.append(header)
            return None
        return Peer.default(header)

    with Peer(answer) as peer, beliefd.connect(peer.endpoint) as client, ThreadPoolExecutor(1) as pool:
        first, second = client.population("mice"), client.population("mice")
        waiting = pool.submit(first.step, np.zeros(8, int), timeout_s=NOW)
        peer.wait_for(m.Step)
        assert second.step(np.zeros(8, int), timeout_s=NOW / 2).tick[0] == 1
        client.close()
        assert isinstance(waiting.exception(NOW), Disconnected)


def test_futures_work_with_what_concurrent_futures_offers(peer, mice):
    mice.step(np.zeros(8, int))
    peer.hold.set()
    futures = [mice.submit([0], agents=[agent]) for agent in range(8)]
    assert not wait(futures, timeout=0).done
    with pytest.raises(InvalidArgument, match="without an answer"):
        mice.submit([0], agents=[3])
    peer.hold.clear()
    done, late = wait(futures, timeout=NOW)
    assert not late
    assert sorted(future.result().tick[0] for future in done) == [2] * 8
    assert not futures[0].cancel()
    assert mice.step(np.zeros(8, int)).tick.tolist() == [3] * 8


def test_who_waits_for_a_future_drives_in_place_of_the_clients_own_thread(peer, client, mice):
    mice.step(np.zeros(8, int))
    peer.hold.set()
    future = mice.submit(np.zeros(8, int), timeout_s=NOW)
    seen = []
    future.add_done_callback(lambda _: seen.append(threading.get_ident()))
    waiting = threading.Thread(target=future.result)
    waiting.start()
    until(lambda: client._driver == waiting.ident)
    peer.hold.clear()
    waiting.join(NOW)
    assert seen == [waiting.ident]


def test_futures_that_nobody_waits_for_end_after_others_that_were_waited_for(peer, mice):
    for tick in range(1, 20):
        assert mice.submit(np.zeros(8, int), timeout_s=NOW).result().tick[0] == tick
    ended = threading.Event()
    mice.submit(np.zeros(8, int), timeout_s=NOW).add_done_callback(lambda _: ended.set())
    assert ended.wait(NOW / 2)  # before its deadline ends it


def test_who_was_expected_to_drive_when_the_clients_own_thread_looked_is_not_waited_for(client, mice, monkeypatch):
    """Twice it is likely that a caller comes, and from then on it is not: the thread looks again by itself."""
    mice.step(np.zeros(8, int))
    likely = iter([True, True])
    monkeypatch.setattr(Collectors, "expected", property(lambda _: next(likely, False)))
    ended = threading.Event()
    mice.submit(np.zeros(8, int), timeout_s=NOW).add_done_callback(lambda _: ended.set())
    assert ended.wait(NOW / 2)  # before its deadline ends it


@pytest.mark.parametrize("driver", ["the client's thread", "a thread that steps"])
def test_a_callback_may_use_the_client(peer, client, driver):
    """It runs on the thread that drives, and waits there for an answer that only this thread can fetch."""
    mice, rats = client.population("mice"), client.population("mice")
    mice.step(np.zeros(8, int))
    seen = []
    finished = threading.Event()

    def then(future):
        try:
            seen.append(future.result().tick[0])
            seen.append(rats.step(np.zeros(8, int), timeout_s=NOW).tick[0])
            again = rats.submit(np.zeros(8, int), timeout_s=NOW)
            again.add_done_callback(lambda f: (seen.append(f.result().tick[0]), finished.set()))
        except BaseException as failure:
            seen.append(failure)
            finished.set()

    peer.hold.set()
    mice.submit(np.zeros(4, int), agents=range(4), timeout_s=NOW).add_done_callback(then)
    peer.wait_for(m.Step, 2)
    peer.hold.clear()
    if driver == "a thread that steps":
        mice.step(np.zeros(4, int), agents=range(4, 8), timeout_s=NOW)
    assert finished.wait(NOW)
    assert seen == [2, 1, 2]


def test_callbacks_that_wait_do_not_hold_up_each_other(peer, client):
    """Several answers arrive together, and every callback waits for one more."""
    herds = [client.population("mice") for _ in range(5)]
    for herd in herds:
        herd.step(np.zeros(8, int))
    seen = []

    def then(herd):
        def step(future):
            seen.append(herd.step(np.zeros(8, int), timeout_s=NOW).tick[0] - future.result().tick[0])

        return step

    peer.hold.set()
    for herd in herds:
        herd.submit(np.zeros(8, int), timeout_s=NOW).add_done_callback(then(herd))
    peer.wait_for(m.Step, 10)
    peer.hold.clear()
    until(lambda: len(seen) == 5)
    assert seen == [1] * 5


def test_close_ends_what_waits(peer, client):
    mice = client.population("mice")
    mice.step(np.zeros(8, int))
    peer.hold.set()
    with ThreadPoolExecutor(2) as pool:
        waiting = [pool.submit(mice.step, [0], agents=[agent], timeout_s=NOW) for agent in (0, 1)]
        future = mice.submit([0], agents=[2], timeout_s=NOW)
        peer.wait_for(m.Step, 4)
        client.close()
        for failed in (*waiting, future):
            caught = failed.exception(NOW)
            assert isinstance(caught, Disconnected)
            assert caught.applied.tolist() == [Applied.UNKNOWN]
    client.close()
    with pytest.raises(Disconnected, match="closed"):
        mice.step([0], agents=[4])


def test_a_callback_may_close_the_client(peer, client):
    mice = client.population("mice")
    closed = threading.Event()
    future = mice.submit(np.zeros(8, int))
    future.add_done_callback(lambda _: (client.close(), closed.set()))
    assert closed.wait(NOW)
    assert future.result(NOW).tick[0] == 1


def test_a_client_leaves_nothing_behind(peer):
    def descriptors():
        return len(os.listdir("/proc/self/fd"))

    beliefd.connect(peer.endpoint).close()
    before, threads = descriptors(), threading.active_count()
    for _ in range(5):
        with beliefd.connect(peer.endpoint) as client:
            client.population("mice").submit(np.zeros(8, int)).result(NOW)
    until(lambda: descriptors() <= before)
    assert threading.active_count() == threads


def test_a_deadline_leaves_the_agents_usable_and_a_retry_settles_it():
    lost = set()

    def answer(header):
        if isinstance(header, m.Step) and header.id not in lost:
            lost.add(header.id)
            return None
        return Peer.default(header)

    with Peer(answer) as peer, beliefd.connect(peer.endpoint) as client:
        mice, seen = client.population("mice"), np.zeros(8, np.int8)
        with pytest.raises(DeadlineExceeded) as caught:
            mice.step(seen, timeout_s=0.2)
        assert set(caught.value.applied) == {Applied.UNKNOWN}
        seen[:] = 1  # what is sent again is what was checked
        step = mice.retry(caught.value)
        assert step.tick.tolist() == [1] * 8
        first, again = (h for h in peer.heard if isinstance(h, m.Step))
        assert (first.id, first.arrays) == (again.id, again.arrays)
        with pytest.raises(InvalidArgument, match="not an error of a step of this population"):
            mice.retry(beliefd.BeliefdError("?"))


@pytest.mark.parametrize(("code", "reads"), [("deadline_exceeded", 1), ("stale_tick", 2)])
def test_who_was_not_stepped_for_want_of_time_is_not_asked_where_it_stands(code, reads):
    refused = []

    def answer(header):
        if isinstance(header, m.Step) and not refused:
            refused.append(header.id)
            return frames(
                Command.ERROR, m.Error(id=header.id, code=code, message=code), {"applied": np.zeros(8, np.uint8)}
            )
        return Peer.default(header)

    with Peer(answer) as peer, beliefd.connect(peer.endpoint) as client:
        mice = client.population("mice")
        with pytest.raises(beliefd.BeliefdError):
            mice.step(np.zeros(8, int), timeout_s=NOW)
        assert mice.step(np.zeros(8, int), timeout_s=NOW).tick.tolist() == [1] * 8
        assert peer.count(m.Read) == reads


@pytest.mark.parametrize("timeout_s", [0, -1, float("nan"), float("inf"), 1e9])
def test_a_refused_timeout_leaves_the_agents_free(peer, mice, timeout_s):
    """Also when nothing had to be asked first, so that the step itself is what could not be sent."""
    for _ in range(2):
        with pytest.raises(InvalidArgument) as caught:
            mice.step(np.zeros(8, int), timeout_s=timeout_s)
        assert caught.value.field == "timeout_s"
        with pytest.raises(InvalidArgument):
            mice.submit(np.zeros(8, int), timeout_s=timeout_s)
        mice.step(np.zeros(8, int))


def test_an_interrupted_step_leaves_the_agents_free(client, mice, monkeypatch):
    mice.step(np.zeros(8, int))
    with monkeypatch.context() as patched:
        patched.setattr(client, "drive", _interrupt)
        with pytest.raises(KeyboardInterrupt):
            mice.step(np.zeros(8, int))
    assert len(mice.step(np.zeros(8, int)).actions) == 8


def _interrupt(done):
    raise KeyboardInterrupt


def test_bad_input_is_refused_before_anything_is_sent(peer, mice):
    sent = len(peer.heard)
    for call, kind in (
        (lambda: mice.step(np.full(8, 4)), InvalidObservation),
        (lambda: mice.step(np.zeros(8, int), reset=[True]), InvalidArgument),
        (lambda: mice.step(np.zeros(8, int), want=["nothing"]), InvalidArgument),
        (lambda: mice.submit(np.zeros(8, int), agents=[0] * 8), InvalidArgument),
    ):
        with pytest.raises(kind):
            call()
    assert len(peer.heard) == sent
    mice.step(np.zeros(8, int))


def test_a_large_call_travels_in_chunks_and_comes_back_in_order():
    def answer(header):
        match header:
            case m.Attach():
                return population(header.id, rows=100)
            case m.Step():
                return stepped(header, action=header.first // 10 % 4)
            case m.Read():
                return values(header, tick=header.first)
        return Peer.default(header)

    with Peer(answer, m.Limits(chunk_agents=10)) as peer, beliefd.connect(peer.endpoint) as client:
        mice = client.population("mice")
        step = mice.submit(np.zeros(100, int)).result(NOW)
        np.testing.assert_array_equal(step.control, np.repeat(np.arange(10) % 4, 10))
        np.testing.assert_array_equal(step.tick, np.repeat(np.arange(0, 100, 10), 10) + 1)


def test_an_answer_between_two_callbacks_is_not_lost():
    """Chunks end on the driving thread while `submit` still registers: the future ends all the same."""
    with Peer(limits=m.Limits(chunk_agents=1)) as own, beliefd.connect(own.endpoint) as connected:
        mice, rats = connected.population("mice"), connected.population("mice")
        with ThreadPoolExecutor(1) as pool:
            for _ in range(30):
                other = pool.submit(rats.step, np.zeros(8, int), timeout_s=NOW)
                mice.submit(np.zeros(8, int), timeout_s=NOW).result(NOW)
                other.result(NOW)


def test_a_conflict_is_told_per_agent_and_the_next_step_asks_anew():
    taken = []

    def answer(header):
        if isinstance(header, m.Step) and not taken:
            taken.append(header)
            return error(header.id, "tick_taken", field="tick")
        if isinstance(header, m.Read):
            return values(header, tick=9 if taken else 0)
        return Peer.default(header)

    with Peer(answer) as peer, beliefd.connect(peer.endpoint) as client:
        mice = client.population("mice")
        with pytest.raises(TickTaken) as caught:
            mice.step(np.zeros(8, int))
        assert caught.value.applied.tolist() == [Applied.UNKNOWN] * 8
        assert mice.step(np.zeros(8, int)).tick.tolist() == [10] * 8
        assert peer.count(m.Read) == 2


def test_errors_of_the_broker_are_raised_as_what_they_are():
    def answer(header):
        if isinstance(header, m.Attach):
            return error(header.id, "unknown_population", field="name", value="mice")
        if isinstance(header, m.Status):
            return error(header.id, "of_a_later_version")
        return Peer.default(header)

    with Peer(answer) as peer, beliefd.connect(peer.endpoint) as client:
        with pytest.raises(UnknownPopulation) as caught:
            client.population("mice")
        assert caught.value.field == "name"
        with pytest.raises(beliefd.BeliefdError, match="of_a_later_version"):
            client.status()


def test_no_broker_is_told_by_the_deadline_and_a_bad_endpoint_at_once(tmp_path):
    started_s = time.monotonic()
    with pytest.raises(Disconnected, match="is it running"):
        beliefd.connect(f"unix://{tmp_path}/nobody", timeout_s=0.1)
    assert time.monotonic() - started_s >= 0.1
    for endpoint in (
        "nonsense",
        "tcp://127.0.0.1",
        "http://127.0.0.1:1",
        "ipc:///tmp/x",
        "unix://",
        "unix:///" + 108 * "x",
    ):
        with pytest.raises(InvalidArgument) as caught:
            beliefd.connect(endpoint)
        assert caught.value.field == "endpoint"


def test_a_broker_of_another_version_is_told_long_before_the_deadline():
    def answer(header):
        raise AssertionError("nothing is asked before HELLO is answered")

    class Newer(Peer):
        def _serve(self):
            while not self._stop.is_set():
                for route, _ in self._clients.messages():
                    self._clients.send(route, [b"bd\x02\x81", b"\x80"])

    with Newer(answer) as peer, pytest.raises(VersionMismatch):
        beliefd.connect(peer.endpoint, timeout_s=600.0)


def test_a_forked_process_is_told_to_connect_again(peer, client, mice):
    """The socket and its threads stayed with the parent: without the check the child would wait for ever."""
    mice.step(np.zeros(8, int))
    future = Collected(client.collect, lambda: client.cancel([]), client.undisturbed)
    child = os.fork()
    if child == 0:
        signal.alarm(30)  # whoever waits for a thread of the parent waits for ever
        refused = 0
        client._driver = 1  # a thread of the parent, which would have to end before this process could close
        try:
            for use in (lambda: mice.step(np.zeros(8, int)), future.result, future.cancel):
                try:
                    use()
                except InvalidArgument as error:
                    refused += error.field == "client"
            client.close()
        finally:
            os._exit(refused)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 3
    assert mice.step(np.zeros(8, int)).tick.tolist() == [2] * 8


def test_a_step_that_could_not_learn_its_ticks_was_not_made():
    def answer(header):
        return None if isinstance(header, m.Read) else Peer.default(header)

    with Peer(answer) as peer, beliefd.connect(peer.endpoint) as client:
        mice = client.population("mice")
        with pytest.raises(DeadlineExceeded) as caught:
            mice.step(np.zeros(8, int), timeout_s=0.2)
        assert caught.value.applied.tolist() == [Applied.NO] * 8
        assert peer.count(m.Step) == 0
        with pytest.raises(InvalidArgument, match="make it again"):
            mice.retry(caught.value)


@pytest.mark.parametrize("endpoint", [5, b"tcp://127.0.0.1:1", ""])
def test_an_endpoint_that_is_none(endpoint):
    with pytest.raises(InvalidArgument) as caught:
        beliefd.connect(endpoint)
    assert caught.value.field == "endpoint"


def test_arguments_of_another_kind_are_named(client, mice):
    with pytest.raises(InvalidArgument) as caught:
        client.create_population("rats", None, agents=1)
    assert caught.value.field == "model"
    with pytest.raises(InvalidArgument) as caught:
        mice.retry(ValueError())
    assert caught.value.field == "error"


def test_a_refresh_never_becomes_another_population():
    asked = []

    def answer(header):
        if isinstance(header, m.Attach):
            asked.append(header)
            return population(header.id, uid="a" * 16 if len(asked) < 3 else "b" * 16)
        return Peer.default(header)

    with Peer(answer) as peer, beliefd.connect(peer.endpoint) as client:
        mice = client.population("mice")
        mice.refresh()
        with pytest.raises(UnknownPopulation) as caught:
            mice.refresh()
        assert caught.value.field == "population"
        assert mice.uid == "a" * 16
