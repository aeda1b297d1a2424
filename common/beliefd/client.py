"""The synchronous client: a connection and a clock around `beliefd.session`."""

from __future__ import annotations

import contextlib
import math
import os
import threading
import time
import warnings
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import Any

import msgspec

from beliefd import peragent
from beliefd.agents import new_ids, some_ids
from beliefd.background import GRACE_S, Collectors, left_s
from beliefd.call import checked_header, deadline_after
from beliefd.connection import Refused
from beliefd.endpoint import DEFAULT_ENDPOINT, ENDPOINTS, open_connection
from beliefd.interrupts import Undisturbed, raise_interrupt
from beliefd.keys import Keys
from beliefd.model import Model
from beliefd.population import Population
from beliefd.session import Pending, Session
from beliefd_proto import Arrays, Command, Message
from beliefd_proto import messages as m
from beliefd_proto.errors import BeliefdError, Disconnected, InvalidArgument, TooLarge, Unauthenticated

DEFAULT_TIMEOUT_S = 10.0
_MOST_RECEIVED = 1000
"""Messages between two looks at the time: whoever speaks without end puts off no deadline."""


def connect(
    endpoint: str | None = None, timeout_s: float = DEFAULT_TIMEOUT_S, keys: Keys | str | Path | None = None
) -> Client:
    """Connect to a broker.

    Parameters
    ----------
    endpoint : str, optional
        ``tcp://HOST:PORT`` or, on the broker's machine, ``unix://PATH``. By default ``BELIEFD_ENDPOINT``, else
        ``tcp://127.0.0.1:5757``.
    timeout_s : float
        How long to wait for the broker, in seconds.
    keys : Keys, str or Path, optional
        What the broker's operator made for this client with ``beliefd-keys``, or the file that holds it. By default
        the file that ``BELIEFD_CLIENT_KEY`` names, else none: such a broker serves its own machine only.

    Returns
    -------
    Client
        Use it in a ``with`` statement, or call its `close`.

    Raises
    ------
    Disconnected
        No broker answered in time; or these keys are for another one.
    Unauthenticated
        The broker wants keys, or does not know these.
    VersionMismatch
        The broker speaks another version of the protocol.
    InvalidArgument
        The endpoint has a form that cannot be connected to.
    """
    if endpoint is None:
        endpoint = os.environ.get("BELIEFD_ENDPOINT") or DEFAULT_ENDPOINT
    if keys is None:
        keys = os.environ.get("BELIEFD_CLIENT_KEY") or None
    client = Client(endpoint, keys if keys is None or isinstance(keys, Keys) else Keys.read(keys))
    try:
        client.wait_connected(timeout_s)
    except BaseException:
        client.close()
        raise
    return client


class Client:
    """A connection to a broker. Safe to use from several threads.

    Whoever waits for an answer drives the socket; while somebody does, the others wait for their answer only. Futures
    from `Population.submit` are driven by whoever waits for one, and by a thread of the client's own while nobody does.
    Their callbacks run on whichever thread drives, and may use the client; while one of them waits, others run on its
    thread.
    """

    def __init__(self, endpoint: str, keys: Keys | None = None) -> None:
        if not isinstance(endpoint, str):
            raise InvalidArgument("an endpoint is text", field="endpoint", value=endpoint, allowed=ENDPOINTS)
        self.endpoint = endpoint
        self._wake_fd, self._wake_write_fd = os.pipe2(os.O_NONBLOCK | os.O_CLOEXEC)
        try:
            self._connection = open_connection(endpoint, keys, self._wake_fd)
        except BaseException:
            self._close_pipe()
            raise
        self._session = Session(
            client=f"beliefd-python pid {os.getpid()}",
            token=keys.token if keys else "",
            letterbox=self._connection.letterbox,
        )
        # Guards the session, `_driver` and `_collectors`. The connection belongs to the thread `_driver`, lock or no
        # lock, and it alone resolves what has ended.
        self._lock = threading.RLock()
        self._turn = threading.Condition(self._lock)
        self._driver: int | None = None
        self._followers = 0
        self._collectors = Collectors()
        self._unattended = threading.Condition(self._lock)
        self._closed = False
        self._process = os.getpid()
        self._pump: threading.Thread | None = None

    def create_population(
        self,
        name: str,
        model: Model,
        agents: int | None = None,
        *,
        seed: int = 0,
        exist_ok: bool = False,
        durability: str = "process",
        agent_ids: Sequence[str] | None = None,
        per_agent: Mapping[str, Any] | None = None,
        timeout_s: float = 60.0,
    ) -> Population:
        """Make a population of agents that share a model.

        Parameters
        ----------
        name : str
            1 to 128 of letters, digits, dot, underscore and hyphen.
        model : Model
        agents : int, optional
            How many; the length of `agent_ids` where that is given.
        seed : int
            Of all stochastic draws of the population, 0 .. 2**63 - 1.
        exist_ok : bool
            Attach to a population of this name, model and seed if there is one, with the agents that it has: `agents`,
            `agent_ids` and `per_agent` are those of a new one.
        durability : str
            ``"process"``: what was acknowledged survives the death of any process; a power loss takes what came after
            the last checkpoint. ``"disk"``: it survives a power loss too: a step is acknowledged after a journal of it
            was synced.
        agent_ids : sequence of str, optional
            The caller's own names of the agents, each once.
        per_agent : mapping, optional
            Parameters of each agent's own, as the model has them with an axis of agents before the others: ``"C"``,
            ``"D"``, ``"pA"``, ``"pB"`` lists with None for what is the model's, ``"E"``, ``"gamma"``, ``"alpha"``
            arrays. An agent's A and B are then the means of its pA and pB. Those that do not fit into one message make
            the agents come in several: who looks meanwhile sees a part of them.

        Raises
        ------
        PopulationExists
            The name is taken; with `exist_ok`, by a population of another model or seed.
        CorruptStore
            The name is taken by a population that is damaged.
        DiskFull
            The data folder has no room for it; the message says how many bytes it takes.
        """
        if agents is None and agent_ids is None:
            raise InvalidArgument("say how many agents, or their ids", field="agents", allowed="1 or more")
        if not isinstance(model, Model):
            raise InvalidArgument("not a model", field="model", value=type(model).__name__, allowed="beliefd.Model")
        ids = new_ids(agent_ids)
        count = len(ids["id_ends"]) if agents is None else agents
        deadline_s = deadline_after(timeout_s)
        own = peragent.of_model(per_agent, model, count)
        first, *others = peragent.pieces(own, count, self.limits.frame_bytes)
        header = checked_header(
            m.Create,
            name=name,
            spec=msgspec.msgpack.encode(model.spec()),
            hash=model.hash,
            agents=first.stop,
            seed=seed,
            durability=durability,
            exist_ok=exist_ok,
        )
        arrays = {**model.tensors(), **some_ids(ids, first), **peragent.to_message(own, first)}
        population = Population(self, self.request(Command.CREATE, header, arrays, timeout_s))
        if others and population.uid == m.population_uid(header.id):
            try:
                population.add_pieces(others, ids, own, deadline_s)
            except BeliefdError:
                population.drop()
                raise
        return population

    def restore_population(self, snapshot: str, name: str, timeout_s: float = 60.0) -> Population:
        """Make a population from a snapshot, which `Population.snapshot` made or which was put into var/snapshots.

        A snapshot of other kernels, or of another kind of CPU, goes on within the tolerance of its type, and a warning
        says so.

        Parameters
        ----------
        snapshot : str
        name : str
            Of the new population, as in `create_population`.

        Raises
        ------
        PopulationExists
        InvalidArgument
            There is no such snapshot.
        CorruptStore
            The snapshot is not what was written.
        DiskFull
        """
        header = checked_header(m.Restore, snapshot=snapshot, name=name)
        restored = Population(self, self.request(Command.RESTORE, header, {}, timeout_s))
        if restored.rebuilt is not None and not restored.rebuilt.same_kernels:
            warnings.warn(
                f"{snapshot} was made by other kernels or on another CPU: the agents go on within the tolerance of "
                f"{restored.info.dtype}, not bit for bit",
                stacklevel=2,
            )
        return restored

    def population(self, name: str, timeout_s: float = DEFAULT_TIMEOUT_S) -> Population:
        """Find a population by its name.

        Raises
        ------
        UnknownPopulation
        """
        return Population(self, self.request(Command.ATTACH, checked_header(m.Attach, name=name), {}, timeout_s))

    def populations(self, timeout_s: float = DEFAULT_TIMEOUT_S) -> list[m.PopulationInfo]:
        """All populations that the broker serves."""
        answer = self.request(Command.LIST, checked_header(m.List), {}, timeout_s).header
        assert isinstance(answer, m.Populations)
        return list(answer.populations)

    def status(self, timeout_s: float = DEFAULT_TIMEOUT_S) -> m.StatusReport:
        """What the broker says of itself, its workers and its populations."""
        answer = self.request(Command.STATUS, checked_header(m.Status), {}, timeout_s).header
        assert isinstance(answer, m.StatusReport)
        return answer

    def close(self) -> None:
        """End what has no answer yet with `Disconnected`, and let go of the socket.

        In a process that was forked from the client's own it does nothing: all that is the parent's.
        """
        if self._process != os.getpid():
            return
        with self.undisturbed():
            with self._lock:
                if self._closed:
                    return
                self._closed = True
                self._session.close("the client was closed")
                self._wake()
                self._turn.notify_all()
                self._unattended.notify_all()
                while self._driver not in (None, threading.get_ident()):
                    self._turn.wait()
            self._resolve_ended()
            if self._pump is not None and self._pump is not threading.current_thread():
                self._pump.join()
            self._connection.close()
            self._close_pipe()

    def __enter__(self) -> Client:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    # What populations build on.

    @property
    def limits(self) -> m.Limits:
        """What the broker accepts."""
        return self._session.limits

    def request(self, command: Command, header: m.Request, arrays: Arrays, timeout_s: float) -> Message:
        """Send a request and wait for its answer."""
        self.check_size(arrays)
        with self.undisturbed():
            pending = Pending(command, header, arrays, deadline_after(timeout_s))
            self.send(pending)
            self.drive(pending.done)
            return pending.result()

    def undisturbed(self) -> Undisturbed:
        """For the length of a call: Ctrl-C, which wherever it fell might harm others, interrupts it where it waits."""
        return Undisturbed(self._wake)

    def check_size(self, arrays: Arrays) -> None:
        """Refuse a request that the broker would not take.

        Raises
        ------
        InvalidArgument, TooLarge
        """
        most_bytes, open_bytes = self._session.limits.frame_bytes, self._session.limits.open_bytes
        all_bytes = 0
        for array in arrays.values():
            all_bytes += array.nbytes
            if array.nbytes > most_bytes:
                raise InvalidArgument(
                    "one array, or the list of ids, is larger than the broker takes in a frame",
                    field="arrays",
                    value=f"{array.nbytes} bytes",
                    allowed=f"{most_bytes} bytes",
                )
        if 2 * all_bytes > open_bytes:  # as the broker would say once it had read it
            raise TooLarge(
                "this request is too large for this server; ask for fewer agents at once",
                field="bytes",
                value=all_bytes,
                allowed=f"{open_bytes // 2}",
            )

    def send(self, pending: Pending) -> None:
        """Hand a request, whose size was checked, to the session. Somebody has to drive."""
        self._check_process()
        with self._lock:
            if self._closed:
                raise Disconnected("the client is closed", field="client")
            self._session.submit(pending)
            if self._driver is not None:
                self._wake()

    def cancel(self, requests: Iterable[Pending]) -> None:
        """Take back what of these requests no worker has been given."""
        self._check_process()
        with self.undisturbed():
            with self._lock:
                for pending in requests:
                    self._session.cancel(pending)
                if self._driver is not None:
                    self._wake()
            self.drive_in_background()

    def drive_in_background(self) -> None:
        """Have a thread of the client's own drive while something is open and nobody waits for it."""
        with self._lock:
            if not self._closed and (self._pump is None or not self._pump.is_alive()):  # a callback's exception ends it
                self._pump = threading.Thread(target=self._pump_loop, name="beliefd-client", daemon=True)
                self._pump.start()
            if not self._collectors.expected:
                self._unattended.notify()
                return
            if self._driver is not None or self._closed:
                return  # who drives was woken, and sends
            self._driver = threading.get_ident()
        try:
            self._send_outgoing(time.monotonic())
        except BaseException:
            self._ask_again()
            raise
        finally:
            self._stop_driving(None)

    def collect(self, done: Callable[[], bool], until_s: float) -> None:
        """Wait for a future of `Population.submit`: drive until it is `done`, in place of the client's own thread."""
        self._check_process()
        with self._lock:
            in_callback = self._driver == threading.get_ident()
            if not in_callback:
                self._collectors.waiting += 1
                if self._driver is not None:
                    self._wake()
        try:
            self.drive(done, until_s)
        finally:
            if not in_callback:
                with self._lock:
                    self._collectors.leave()

    def wait_connected(self, timeout_s: float) -> None:
        """Wait until the broker has welcomed this client."""
        self.request(Command.LIST, checked_header(m.List), {}, timeout_s)

    def drive(self, done: Callable[[], bool], until_s: float = math.inf) -> None:
        """Move messages until `done`, or wait for the thread that moves them; not longer than `until_s`."""
        me, outer, driving = threading.get_ident(), None, False
        try:
            with self._lock:
                # Before `done` is asked: the driver looks for followers after it has resolved something.
                self._followers += 1
                try:
                    while self._driver not in (None, me) and not done() and (left := left_s(until_s)) != 0:
                        self._turn.wait(left)
                        raise_interrupt()
                finally:
                    self._followers -= 1
                if self._closed or done() or self._driver not in (None, me):
                    return
                # Callbacks run on the driving thread: where one of them waits for an answer, this thread is `outer`.
                outer, driving = self._driver, True
                self._driver = me
            while not self._closed and not done() and left_s(until_s) != 0:
                self._exchange_once(until_s)
                if self._followers:
                    with self._lock:
                        self._turn.notify_all()
                if outer is None:  # else callbacks would be left out
                    raise_interrupt()
        finally:
            if driving:
                self._stop_driving(outer)

    def _check_process(self) -> None:
        """Refuse what a forked process asks. Before the lock: a thread that does not exist in it may hold that."""
        if self._process != os.getpid():
            raise InvalidArgument(
                "this client belongs to the process that forked this one; connect again here",
                field="client",
                value=self._process,
                allowed=str(os.getpid()),
            )

    def _stop_driving(self, outer: int | None) -> None:
        with self._lock:
            self._driver = outer
            if self._followers or self._closed:  # `close` waits without being one
                self._turn.notify_all()

    def _exchange_once(self, until_s: float) -> None:
        """Send what has to be sent, wait for something, take what arrived. For the driving thread only."""
        if not self._session.ended:
            try:
                self._exchange(until_s)
            except BaseException:
                self._ask_again()
                raise
        if self._session.ended:
            self._resolve_ended()

    def _ask_again(self) -> None:
        """Something unforeseen, such as MemoryError, struck while messages moved: who knows which were sent or read."""
        with self._lock:
            self._session.introduce()

    def _resolve_ended(self) -> None:
        # Off the queue once it is resolved: where that raises, as `sys.exit` in a callback, it is resolved again. One
        # by one: a callback that drives resolves the others, which it may be waiting for, after its own again.
        ended = self._session.ended
        while ended:
            pending = ended[0]
            pending.resolve()
            if ended and ended[0] is pending:
                ended.popleft()

    def _exchange(self, until_s: float) -> None:
        session, now_s = self._session, time.monotonic()
        due_s = min(self._send_outgoing(now_s), until_s)
        anew = self._connection.wait(math.ceil(max(due_s - now_s, 0.0) * 1000))
        now_s = time.monotonic()
        with self._lock:
            if anew:
                session.introduce()
            for _ in range(_MOST_RECEIVED):
                frames = self._connection.receive()
                if frames is None:
                    break
                session.receive(frames, now_s)
                if session.idle:  # nothing more is awaited, and to be told that there is nothing more is dear
                    break
            if now_s >= due_s:
                session.tick(now_s)

    def _send_outgoing(self, now_s: float) -> float:
        """Send what has to be sent; returns when there is more to do if nothing arrives."""
        with self._lock:
            outgoing = self._session.take_outgoing(now_s)
            due_s = self._session.next_wakeup_s(now_s)
        try:
            for frames in outgoing:
                self._connection.send(frames)
        except Refused:
            with self._lock:
                self._session.give_up(_refused(self.endpoint))
            return now_s
        return due_s

    def _pump_loop(self) -> None:
        while True:
            with self._lock:
                while not self._closed:
                    # Asked once: it ends by time alone, and whoever waits without one must be told of the next request.
                    expected = self._collectors.expected
                    if not (expected or self._idle()):
                        break
                    self._unattended.wait(GRACE_S if expected else None)
                if self._closed:
                    return
            self.drive(self._attended)

    def _attended(self) -> bool:
        """Whether the client's own thread has nothing to drive."""
        return self._idle() or self._collectors.expected

    def _idle(self) -> bool:
        """Whether nobody waits for anything: a callback that raised may have left some of what ended unresolved."""
        return self._session.idle and not self._session.ended

    def _close_pipe(self) -> None:
        write_fd, self._wake_write_fd = self._wake_write_fd, -1  # before its number may be another's
        os.close(write_fd)
        os.close(self._wake_fd)

    def _wake(self) -> None:
        with contextlib.suppress(OSError):  # it is full, so that whoever waits will wake; or the client was closed
            os.write(self._wake_write_fd, b"\0")


def _refused(endpoint: str) -> Unauthenticated:
    return Unauthenticated(
        "what listens here refused the connection: it wants keys, does not know these, or is no broker",
        field="keys",
        value=endpoint,
        allowed="keys that the broker's operator made with beliefd-keys; connect again with them",
    )
