"""What may go wrong, each as a context manager: it goes wrong, stays so for a while, and is put right again."""

from __future__ import annotations

import contextlib
import random
import signal
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from dataclasses import dataclass

from nemesis.atwork import stop_at_work
from nemesis.herds import HERDS
from nemesis.scene import WORKERS, Scene

_AGAIN = 4
_PATIENCE_S = 10.0
_FULL_S = 0.3
_STEPS_S = (-86_400.0, -61.0, -0.5, 0.5, 61.0, 86_400.0)

Do = Callable[[Scene, random.Random], AbstractContextManager[None]]


@dataclass(frozen=True)
class Kind:
    """A kind of fault: how often it is drawn, how long it lasts, and what a client may notice of it at most.

    `most_s` bounds the longest time in which a herd got no answer, from its last one before the fault to the next.
    Where the fault `silences`, it may get none as long as it lasts, and for `most_s` after that.
    """

    name: str
    do: Do
    weight: int
    most_s: float
    lasts_s: tuple[float, float] = (0.0, 0.0)
    silences: bool = False
    mounts: bool = False


def worker_name(draw: random.Random) -> str:
    return f"worker_{draw.randrange(WORKERS):02d}"


@contextlib.contextmanager
def nothing(scene: Scene, draw: random.Random) -> Iterator[None]:
    """What a client notices when nothing goes wrong: to compare the others with."""
    yield


@contextlib.contextmanager
def worker_killed(scene: Scene, draw: random.Random) -> Iterator[None]:
    """Half of the times in the middle of a batch."""
    pid = scene.stack.worker_pid(worker_name(draw))
    if pid is not None:
        if draw.random() < 0.5:
            stop_at_work(pid, draw)
        scene.kill(pid)
    yield


@contextlib.contextmanager
def worker_killed_again_and_again(scene: Scene, draw: random.Random) -> Iterator[None]:
    """As soon as it is back: supervisord waits longer every time."""
    name, killed = worker_name(draw), None
    deadline_s = time.monotonic() + _PATIENCE_S
    for _ in range(_AGAIN):
        while (pid := scene.stack.worker_pid(name)) in (None, killed) and time.monotonic() < deadline_s:
            time.sleep(0.02)
        if pid not in (None, killed):
            scene.kill(pid)
            killed = pid
    yield


@contextlib.contextmanager
def all_workers_killed(scene: Scene, draw: random.Random) -> Iterator[None]:
    kill_all_workers(scene)
    yield


@contextlib.contextmanager
def worker_stopped(scene: Scene, draw: random.Random) -> Iterator[None]:
    with stopped_at_work(scene, draw):
        yield


@contextlib.contextmanager
def stub_killed(scene: Scene, draw: random.Random) -> Iterator[None]:
    """Its worker goes with it."""
    name = worker_name(draw)
    worker = scene.stack.worker_pid(name)
    kill(scene, f"worker:{name}")
    yield
    if worker is not None:
        scene.expect_gone(worker, "its stub")


@contextlib.contextmanager
def broker_killed(scene: Scene, draw: random.Random) -> Iterator[None]:
    kill(scene, "broker")
    yield


@contextlib.contextmanager
def broker_stopped(scene: Scene, draw: random.Random) -> Iterator[None]:
    with stopped(scene, scene.stack.pid("broker")):
        yield


@contextlib.contextmanager
def broker_killed_beside_a_stopped_worker(scene: Scene, draw: random.Random) -> Iterator[None]:
    """The worker goes on under the next broker, with what the last one gave it."""
    broker = scene.stack.pid("broker")
    with stopped_at_work(scene, draw):
        if broker is not None:
            scene.kill(broker)
        yield


@contextlib.contextmanager
def broker_and_worker_killed(scene: Scene, draw: random.Random) -> Iterator[None]:
    broker, worker = scene.stack.pid("broker"), worker_name(draw)
    kill_worker(scene, worker)
    time.sleep(draw.uniform(0.0, 0.02))
    if broker is not None:
        scene.kill(broker)
    yield


@contextlib.contextmanager
def preload_killed(scene: Scene, draw: random.Random) -> Iterator[None]:
    """With a worker, which has to wait for the next one, or to load everything itself."""
    kill(scene, "preload")
    kill_worker(scene, worker_name(draw))
    yield


@contextlib.contextmanager
def gateway_killed(scene: Scene, draw: random.Random) -> Iterator[None]:
    kill(scene, "gateway")
    yield


@contextlib.contextmanager
def gateway_stopped(scene: Scene, draw: random.Random) -> Iterator[None]:
    with stopped(scene, scene.stack.pid("gateway")):
        yield


@contextlib.contextmanager
def supervisord_killed(scene: Scene, draw: random.Random) -> Iterator[None]:
    """All it started goes with it; an operator starts it again."""
    scene.stack.kill_supervisord()
    yield
    scene.stack.start()


@contextlib.contextmanager
def machine_restarted(scene: Scene, draw: random.Random) -> Iterator[None]:
    """All processes are gone, and of populations of durability "disk" all that was not synced: their live files.

    Half of the times the disk was full before: what was acknowledged then is in the journal all the same.
    """
    if scene.disk.mountable and draw.random() < 0.5:
        with scene.disk.full():
            time.sleep(_FULL_S)
    scene.stack.kill_supervisord()
    scene.lose_live_files(draw.randbytes)
    yield
    scene.stack.start()


@contextlib.contextmanager
def supervisord_stopped(scene: Scene, draw: random.Random) -> Iterator[None]:
    """A worker dies, and nobody starts another one."""
    with stopped(scene, scene.stack.supervisord_pid):
        kill_worker(scene, worker_name(draw))
        yield


@contextlib.contextmanager
def client_killed(scene: Scene, draw: random.Random) -> Iterator[None]:
    herd = draw.choice(HERDS)
    scene.kill_herd(herd)
    yield
    scene.start_herd(herd)


@contextlib.contextmanager
def connections_cut(scene: Scene, draw: random.Random) -> Iterator[None]:
    """At once, or in the middle of a message."""
    scene.proxy.cut(draw.choice([0, draw.randrange(1, 4_000)]))
    scene.proxy.wait_until_cut(_PATIENCE_S)
    yield


@contextlib.contextmanager
def connections_delayed(scene: Scene, draw: random.Random) -> Iterator[None]:
    scene.proxy.delay(draw.uniform(0.02, 0.6))
    yield
    scene.proxy.delay(0.0)


@contextlib.contextmanager
def connections_silent(scene: Scene, draw: random.Random) -> Iterator[None]:
    """Nothing passes for a while; then what was held back comes after all, or is lost."""
    scene.proxy.swallow(True)
    yield
    if draw.random() < 0.5:
        scene.proxy.cut()
    scene.proxy.swallow(False)


@contextlib.contextmanager
def disk_full(scene: Scene, draw: random.Random) -> Iterator[None]:
    """A worker or the broker dies at the same time, in half of the cases, and starts on the full disk."""
    with scene.disk.full():
        somebody_dies(scene, draw)
        yield


@contextlib.contextmanager
def folder_read_only(scene: Scene, draw: random.Random) -> Iterator[None]:
    with scene.disk.read_only("var/populations"):
        somebody_dies(scene, draw)
        yield


@contextlib.contextmanager
def clock_stepped(scene: Scene, draw: random.Random) -> Iterator[None]:
    """The time of day jumps forth or back, somebody dies or not, and it jumps back again.

    In half of the cases all workers die before: what clients ask then waits in the broker while it jumps.
    """
    nobody_works = draw.random() < 0.5
    if nobody_works:
        kill_all_workers(scene)
    scene.clock.step(draw.choice(_STEPS_S))
    if not nobody_works:
        somebody_dies(scene, draw)
    yield
    scene.clock.step(0.0)


_STALL_S = 0.25
"""One worker is left, and everything else."""
_RESTART_S = 3.0
"""The broker starts anew, or every worker does."""
_BACK_OFF_S = 5.0
"""The longest that supervisord waits here before it starts again what died young."""
_START_S = 8.0
"""The whole stack starts anew, and populations are rebuilt."""
_NOTICE_S = 2.25
"""A client asks after so long at the latest whether it is still known."""

KINDS = (
    Kind("nothing", nothing, 2, _STALL_S, (0.0, 0.5)),
    Kind("worker killed", worker_killed, 8, _STALL_S),
    Kind("worker killed 4 times in a row", worker_killed_again_and_again, 1, _STALL_S),
    Kind("all workers killed", all_workers_killed, 3, _BACK_OFF_S),
    Kind("worker stopped", worker_stopped, 4, _STALL_S, (0.05, 2.0), silences=True),
    Kind("stub killed", stub_killed, 3, _STALL_S),
    Kind("broker killed", broker_killed, 6, _RESTART_S),
    Kind("broker stopped", broker_stopped, 3, _STALL_S, (0.05, 2.0), silences=True),
    Kind("broker killed beside a stopped worker", broker_killed_beside_a_stopped_worker, 2, _RESTART_S, (0.05, 1.0)),
    Kind("broker and worker killed", broker_and_worker_killed, 2, _RESTART_S),
    Kind("preload and worker killed", preload_killed, 2, _STALL_S),
    Kind("gateway killed", gateway_killed, 2, _STALL_S),
    Kind("gateway stopped", gateway_stopped, 1, _STALL_S, (0.1, 1.0)),
    Kind("supervisord killed", supervisord_killed, 1, _START_S),
    Kind("supervisord stopped, worker killed", supervisord_stopped, 2, _STALL_S, (0.1, 1.0)),
    Kind("machine restarted", machine_restarted, 2, _START_S),
    Kind("client killed", client_killed, 5, _RESTART_S),
    Kind("connections cut", connections_cut, 5, 2 * _STALL_S),
    Kind("connections delayed", connections_delayed, 2, _NOTICE_S, (0.2, 1.5), silences=True),
    Kind("connections silent", connections_silent, 3, _NOTICE_S, (0.1, 3.0), silences=True),
    Kind("disk full", disk_full, 3, _RESTART_S, (0.1, 1.5), silences=True, mounts=True),
    Kind("folder read-only", folder_read_only, 3, _RESTART_S, (0.1, 1.5), silences=True, mounts=True),
    Kind("time of day stepped", clock_stepped, 3, _BACK_OFF_S, (0.1, 1.0)),
)


def somebody_dies(scene: Scene, draw: random.Random) -> None:
    match draw.randrange(4):
        case 0:
            kill(scene, "broker")
        case 1:
            kill_worker(scene, worker_name(draw))


def kill(scene: Scene, program: str) -> None:
    pid = scene.stack.pid(program)
    if pid is not None:
        scene.kill(pid)


def kill_all_workers(scene: Scene) -> None:
    for worker in range(WORKERS):
        kill_worker(scene, f"worker_{worker:02d}")


def kill_worker(scene: Scene, name: str) -> None:
    pid = scene.stack.worker_pid(name)
    if pid is not None:
        scene.kill(pid)


@contextlib.contextmanager
def stopped_at_work(scene: Scene, draw: random.Random) -> Iterator[None]:
    """A worker stands in the middle of a batch."""
    pid = scene.stack.worker_pid(worker_name(draw))
    if pid is not None:
        stop_at_work(pid, draw)
    with stopped(scene, pid):
        yield


@contextlib.contextmanager
def stopped(scene: Scene, pid: int | None) -> Iterator[None]:
    if pid is not None:
        scene.kill(pid, signal.SIGSTOP)
    try:
        yield
    finally:
        if pid is not None:
            scene.kill(pid, signal.SIGCONT)
