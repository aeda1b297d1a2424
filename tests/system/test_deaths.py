"""What dies, comes back, and nobody notices: every result equals that of an engine that nothing happened to."""

import contextlib
import os
import re
import signal
import sys
import tempfile
import threading
import time
from functools import partial
from pathlib import Path

import numpy as np
import poisoned_worker
import pytest

import beliefd
from beliefd.engine import Engine
from beliefd.worlds import tmaze
from beliefd_proto import Applied
from beliefd_proto.errors import BeliefdError, DeadlineExceeded, Quarantined, StaleTick, TickTaken, WorkerCrashed
from beliefd_service.stack import Stack
from models import random_model, with_counts

pytestmark = pytest.mark.system
WANT = ("beliefs", "vfe")


class Run:
    """A simulator beside an engine that does the same undisturbed; `step` compares every action and belief."""

    def __init__(self, client, name, agents=12_000, seed=0, model=None):  # so many that two workers share them
        self.rng = np.random.default_rng(seed)
        self.model = model or tmaze()
        self.agents = agents
        self.mice = client.create_population(name, self.model, agents=agents, seed=seed)
        self.local = Engine(self.model, agents=agents, seed=seed)

    def observations(self):
        return np.stack([self.rng.integers(0, n, self.agents) for n in self.model.num_obs], axis=1)

    def step(self, timeout_s=60.0, want=WANT):
        observations = self.observations()
        served = self.mice.step(observations, want=want, timeout_s=timeout_s)
        expected = self.local.step(observations, want=want)
        self.compare(served, expected)
        return served, expected

    def compare(self, served, expected):
        np.testing.assert_array_equal(served.actions, expected.actions)
        np.testing.assert_array_equal(served.tick, expected.tick)
        np.testing.assert_array_equal(served.vfe, expected.vfe)
        for f, beliefs in enumerate(served.beliefs):
            np.testing.assert_array_equal(beliefs, expected.beliefs[f])


def until(condition, timeout_s=60.0):
    deadline_s = time.monotonic() + timeout_s
    while not condition():
        assert time.monotonic() < deadline_s, "this did not come about in time"
        time.sleep(0.01)


def ended(pid):
    """Whether the process is gone, or a zombie that supervisord has not buried yet."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] == "Z"
    except (FileNotFoundError, ProcessLookupError):
        return True


@pytest.fixture
def run(stack, client, name):
    stack.wait_ready(2)
    yield Run(client, name)
    stack.wait_ready(2)


def while_stepping(run, action, least_steps=20):
    """Do `action` in another thread while the simulator steps; go on for some steps afterwards."""
    failed = []

    def act():
        try:
            action()
        except BaseException as error:
            failed.append(error)

    thread = threading.Thread(target=act)
    run.step()
    thread.start()
    while thread.is_alive():
        run.step()
    thread.join()
    for _ in range(least_steps):
        run.step()
    assert not failed


def test_a_worker_killed_in_the_middle_of_steps(stack, run):
    def kill():
        for worker in (0, 1, 0):
            until(partial(ended, stack.kill_worker(f"worker_0{worker}")))  # else there are two until it has
            stack.wait_ready(2)

    while_stepping(run, kill)


def test_agents_that_learn_when_workers_die(stack, client, name):
    """What they learned, and how they judge their policies by it, is that of agents that nothing happened to."""
    stack.wait_ready(2)
    rng = np.random.default_rng(1)
    model = with_counts(rng, random_model(rng, dtype="float32", inference_algo="fpi"), learn_C=True)
    run = Run(client, name, agents=2000, model=model)
    want = (*WANT, "q_pi", "neg_efe")

    def same():
        served, expected = run.step(want=want)
        told, read = run.mice.parameters(timeout_s=60), run.mice.read(want=want, timeout_s=60)
        for found in (served, read):
            np.testing.assert_array_equal(found.q_pi, expected.q_pi)
            np.testing.assert_array_equal(found.neg_efe, expected.neg_efe)
        for name, arrays in run.local.parameters().items():
            for one, other in zip(told[name], arrays, strict=True):
                np.testing.assert_array_equal(one, other)

    same()
    for worker in (0, 1, 0):
        observations = run.observations()
        future = run.mice.submit(observations, want=want, timeout_s=60)
        stack.kill_worker(f"worker_0{worker}")
        run.compare(future.result(60), run.local.step(observations, want=want))
        same()
    stack.wait_ready(2)


def test_a_stub_killed_in_the_middle_of_steps(stack, run):
    def kill():
        for worker in (0, 1, 0):
            victim = stack.worker_pid(f"worker_0{worker}")
            stack.kill(f"worker:worker_0{worker}")
            until(partial(ended, victim))
            stack.wait_ready(2)

    while_stepping(run, kill)


def test_all_workers_killed_at_once(stack, run):
    while_stepping(run, lambda: [stack.kill_worker(f"worker_0{i}") for i in range(2)])


def test_supervisorctl_restart_is_not_noticed(stack, run):
    def restart():
        for worker in (0, 1):
            told = stack.ctl("restart", f"worker:worker_0{worker}")
            assert f"worker:worker_0{worker}: started" in told
            stack.wait_ready(2)

    while_stepping(run, restart)


def test_the_broker_killed_while_steps_are_in_flight(stack, run):
    while_stepping(run, lambda: stack.kill("broker"))


def test_a_stopped_worker_that_outlives_its_broker_writes_nothing_more(stack, run):
    """Only death fences: the new broker waits for nobody who may still write, and kills whom it cannot ask."""
    run.step()
    victim = stack.kill_worker("worker_00", signal.SIGSTOP)
    observations = run.observations()
    future = run.mice.submit(observations, want=WANT, timeout_s=60.0)
    stack.kill("broker")
    run.compare(future.result(60), run.local.step(observations, want=WANT))
    run.step()
    until(lambda: ended(victim))
    for _ in range(5):
        run.step()


@pytest.mark.parametrize("stopped", [0, 1])
def test_what_a_stopped_worker_has_not_begun_the_other_does(stack, run, stopped):
    """They share a piece, and nobody waits until the one that does not run is found to hang, and ended."""
    for _ in range(5):
        run.step()
    pids = [stack.worker_pid(f"worker_0{i}") for i in range(2)]
    os.kill(pids[stopped], signal.SIGSTOP)
    run.step()
    os.kill(pids[stopped], signal.SIGCONT)
    for _ in range(5):
        run.step()
    assert [stack.worker_pid(f"worker_0{i}") for i in range(2)] == pids


def test_a_worker_that_goes_on_after_its_broker_died_writes_nothing_of_the_old_batch(stack, run):
    """It is woken while the new broker waits for it: what it had in its hands is done once, by whomever."""
    for _ in range(3):
        run.step()
        stack.wait_ready(2)
        victim = stack.kill_worker("worker_00", signal.SIGSTOP)
        pidfd = os.pidfd_open(victim)
        observations = run.observations()
        future = run.mice.submit(observations, want=WANT, timeout_s=60.0)
        broker = stack.kill("broker")
        until(lambda broker=broker: stack.pid("broker") not in (None, broker))
        with contextlib.suppress(ProcessLookupError):
            signal.pidfd_send_signal(pidfd, signal.SIGCONT)
        os.close(pidfd)
        run.compare(future.result(60), run.local.step(observations, want=WANT))
        run.step()


def test_a_batch_that_kills_every_worker_is_quarantined_and_the_neighbours_go_on():
    with tempfile.TemporaryDirectory(prefix="bd-") as folder:
        own_stack = Stack(Path(folder), workers=2)
        workers = own_stack.data / "supervisor" / "workers.conf"
        command = f"{sys.executable} {Path(poisoned_worker.__file__).resolve()} %(program_name)s_%(process_num)02d"
        workers.write_text(re.sub("(?m)^command = .*$", f"command = {command}", workers.read_text()))
        with (
            own_stack,
            beliefd.connect(own_stack.endpoint) as client,
            beliefd.connect(own_stack.endpoint) as other,
        ):
            run = Run(other, "mice")
            rats = client.create_population(poisoned_worker.POISONED, tmaze(), agents=60)
            observations = np.zeros((60, 3), int)

            def poison():
                with pytest.raises(WorkerCrashed) as caught:
                    rats.step(observations, timeout_s=60.0)
                assert Applied.YES not in caught.value.applied
                with pytest.raises(Quarantined):
                    rats.step(observations)

            while_stepping(run, poison)
            status = client.status()
            assert [info.name for info in status.populations if info.quarantined] == [poisoned_worker.POISONED]
            assert status.counters["retried_batches"] >= 3
            assert (own_stack.data / "log" / "broker.log").read_text().count("worker_lost") == 3


def test_supervisorctl_restart_of_the_broker_loses_nothing_that_was_begun(stack, run):
    def restart():
        for _ in range(2):
            assert "broker: started" in stack.ctl("restart", "broker")
            stack.wait_ready(2)

    while_stepping(run, restart)
    log = (stack.data / "log" / "broker.log").read_text()
    assert log.count('"event": "leaving"') >= 2


@pytest.mark.parametrize("limit", [{"BELIEFD_WORKER_BATCHES": "50"}, {"BELIEFD_WORKER_MEMORY": "1"}])
def test_workers_over_their_limits_are_replaced_and_nobody_notices(limit):
    with (
        tempfile.TemporaryDirectory(prefix="bd-") as folder,
        Stack(Path(folder), workers=2, environment=limit) as own_stack,
        beliefd.connect(own_stack.endpoint) as client,
    ):
        run = Run(client, "mice")

        def all_replaced():
            until(lambda: all(worker.registrations > 1 for worker in client.status().workers))

        while_stepping(run, all_replaced)
        log = (own_stack.data / "log" / "broker.log").read_text()
        assert "worker_lost" not in log


def test_a_lost_answer_is_asked_for_again_and_not_applied_twice(stack, run):
    """The deadline passes while all workers are stopped: the outcome is unknown, and a retry settles it."""
    run.step()
    for worker in (0, 1):
        stack.kill_worker(f"worker_0{worker}", signal.SIGSTOP)
    observations = run.observations()
    with pytest.raises(DeadlineExceeded) as caught:
        run.mice.step(observations, want=WANT, timeout_s=0.3)
    assert set(caught.value.applied) <= {Applied.UNKNOWN, Applied.NO}
    for worker in (0, 1):
        stack.kill_worker(f"worker_0{worker}", signal.SIGCONT)
    expected = run.local.step(observations, want=WANT)
    run.compare(run.mice.retry(caught.value, timeout_s=30), expected)
    run.compare(run.mice.retry(caught.value, timeout_s=30), expected)
    run.step()


def test_a_step_after_an_unknown_outcome_goes_on_from_where_the_agents_are(stack, run):
    run.step()
    for worker in (0, 1):
        stack.kill_worker(f"worker_0{worker}", signal.SIGSTOP)
    observations = run.observations()
    with pytest.raises(DeadlineExceeded):
        run.mice.step(observations, timeout_s=0.3)
    for worker in (0, 1):
        stack.kill_worker(f"worker_0{worker}", signal.SIGCONT)
    ticks = run.mice.read(want=(), timeout_s=30).tick
    lost = ticks == 2
    if lost.any():
        run.local.step(observations[lost], agents=np.flatnonzero(lost))
    run.step()


def test_a_deadline_without_any_worker_says_that_nothing_happened(stack, run):
    run.step()
    for worker in (0, 1):
        stack.ctl("stop", f"worker:worker_0{worker}")
    try:
        with pytest.raises(DeadlineExceeded) as caught:
            run.mice.step(run.observations(), timeout_s=0.5)
        assert set(caught.value.applied) == {Applied.NO}
        other = run.mice._client.population(run.mice.name)
        with pytest.raises(DeadlineExceeded) as caught:
            other.step(run.observations(), timeout_s=0.5)
        assert set(caught.value.applied) == {Applied.NO}
    finally:
        for worker in (0, 1):
            stack.ctl("start", f"worker:worker_0{worker}")
    run.step()


def test_two_simulators_on_one_population_are_told(stack, run):
    run.step()
    with beliefd.connect(stack.endpoint) as other:
        same = other.population(run.mice.name)
        observations = run.observations()
        run.compare(same.step(observations, want=WANT), run.local.step(observations, want=WANT))
        with pytest.raises((TickTaken, StaleTick)) as caught:
            run.mice.step(run.observations())
        assert set(caught.value.applied) == {Applied.NO}
    run.step()


def test_the_whole_stack_stopped_and_started_goes_on_bit_for_bit(own_stack):
    with beliefd.connect(own_stack.endpoint) as client:
        run = Run(client, "mice")
        for _ in range(3):
            run.step()
    own_stack.stop()
    own_stack.start()
    with beliefd.connect(own_stack.endpoint) as client:
        run.mice = client.population("mice")
        for _ in range(3):
            run.step()


def test_supervisord_killed_takes_all_with_it_and_can_be_started_again(own_stack):
    """What it started ends: the leases, the lock and the ports are free for its successor."""
    with beliefd.connect(own_stack.endpoint) as client:
        run = Run(client, "mice")
        run.step()
        children = [own_stack.pid(program) for program in ("broker", "gateway", "preload", "worker:worker_00")]
        own_stack.kill_supervisord()
        until(lambda: all(ended(pid) for pid in children))
        own_stack.start()
        for _ in range(3):
            run.step()


def test_a_client_killed_in_the_middle_of_a_request_harms_nobody(stack, run):
    """Its agents are where its last request left them, and another client goes on."""
    run.step()
    child = os.fork()
    if child == 0:
        try:
            with beliefd.connect(stack.endpoint) as client:
                mice = client.population(run.mice.name)
                mice.submit(run.observations())
                os.kill(os.getpid(), signal.SIGKILL)
        finally:
            os._exit(1)
    os.waitpid(child, 0)
    ticks = run.mice.read(want=(), timeout_s=30).tick
    assert set(ticks) <= {1, 2}
    with beliefd.connect(stack.endpoint) as client:
        mice = client.population(run.mice.name)
        step = mice.step(run.observations())
        assert set(step.tick - ticks) <= {1, 2}


def test_errors_are_of_one_tree(run):
    with pytest.raises(BeliefdError):
        run.mice.step([[99, 0, 0]], agents=[0])
    run.step()
