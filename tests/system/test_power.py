"""Power loss, snapshots and forks of a running stack: each result equals that of an engine that nothing happened to."""

import threading

import numpy as np
import pytest

import beliefd
from beliefd.engine import Engine
from beliefd_proto.errors import CorruptStore, InvalidArgument, PopulationExists, TickGap
from models import random_model, with_counts

pytestmark = pytest.mark.system
AGENTS = 400


def learning_model(seed):
    rng = np.random.default_rng(seed)
    model = random_model(rng, dtype="float32", action_selection="stochastic", num_iter=3)
    return with_counts(rng, model, learn_E=False, fr_pA=0.9)


class Twins:
    """A population and an engine that are told the same."""

    def __init__(self, client, name, seed, durability, agents=AGENTS):
        self.rng = np.random.default_rng(seed)
        self.model = learning_model(seed)
        self.agents = agents
        self.mice = client.create_population(name, self.model, agents=agents, seed=seed, durability=durability)
        self.local = Engine(self.model, agents=agents, seed=seed)

    def inputs(self):
        observations = [self.rng.integers(-1, n, self.agents) for n in self.model.num_obs]
        if self.rng.random() < 0.5:
            observations[0] = self.rng.dirichlet(np.ones(self.model.num_obs[0]), self.agents)
        executed = np.stack([self.rng.integers(-1, n, self.agents) for n in self.model.num_controls], axis=1)
        return observations, {"reset": self.rng.random(self.agents) < 0.1, "executed_actions": executed}

    def step(self, count=1):
        for _ in range(count):
            observations, options = self.inputs()
            served = self.mice.step(observations, timeout_s=60, **options)
            np.testing.assert_array_equal(served.actions, self.local.step(observations, **options).actions)

    def compare(self, population):
        assert_same(state(population), state(self.local))


def state(agents):
    """All that can be read of a population, or of an engine."""
    read = agents.read(want=("beliefs", "vfe"))
    learned = [tensor for tensors in agents.parameters().values() for tensor in tensors if tensor is not None]
    return [read.tick, read.actions, read.vfe, *read.beliefs, *learned]


def assert_same(one, other):
    for mine, theirs in zip(one, other, strict=True):
        np.testing.assert_array_equal(mine, theirs)


def power_loss(stack, boot="another boot of the machine"):
    """Everything is killed, live files are noise where they were not written back, and the boot is another one."""
    stack.kill_supervisord()
    for folder in (stack.data / "populations").glob("[0-9a-f]*"):
        (folder / "boot").write_text(boot)
        live = folder / "agents.bin"
        content = live.read_bytes()
        noise = np.random.default_rng(1).integers(0, 256, len(content) - 4096, np.uint8).tobytes()
        live.write_bytes(content[:4096] + noise)
    stack.start()


def test_power_loss_takes_nothing_from_disk_and_says_what_it_takes_from_process(own_stack):
    with beliefd.connect(own_stack.endpoint) as client:
        kept = Twins(client, "kept", 1, "disk")
        other = Twins(client, "other", 2, "process")
        kept.step(10)
        other.step(5)
        other.mice.checkpoint()
        before = state(other.local)
        other.step(3)
        numbers = kept.mice.add_agents(20)
        kept.mice.remove_agents(numbers[:5])
        kept.mice.checkpoint()
        kept.mice.remove_agents(numbers[5:])
        kept.step(10)
        power_loss(own_stack)
        found = client.population("kept")
        kept.compare(found)
        found.refresh()
        assert found.rebuilt.whole
        assert (found.rebuilt.checkpoint, found.rebuilt.steps) == (1, 10 * AGENTS)
        kept.mice = found
        kept.step(5)
        kept.compare(found)
        lost = client.population("other")
        assert_same(state(lost), before)
        lost.refresh()
        assert not lost.rebuilt.whole
        assert "after the checkpoint of" in lost.rebuilt.lost
        log = (own_stack.data / "log" / "broker.log").read_text()
        assert log.count("population_rebuilt") == 2
        with pytest.raises(TickGap):
            other.step()
    # Stopped in good order, nothing is rebuilt in the next boot.
    own_stack.stop()
    assert (own_stack.data / "clean").exists()
    for folder in (own_stack.data / "populations").glob("[0-9a-f]*"):
        (folder / "boot").write_text("an earlier boot")
    (own_stack.data / "clean").write_text("an earlier boot")
    own_stack.start()
    with beliefd.connect(own_stack.endpoint) as client:
        kept.mice = client.population("kept")
        kept.compare(kept.mice)
        kept.step(3)
        assert (own_stack.data / "log" / "broker.log").read_text().count("population_rebuilt") == 2
    assert not (own_stack.data / "clean").exists()


def test_a_journal_without_its_beginning_is_told_and_keeps_its_name(own_stack):
    with beliefd.connect(own_stack.endpoint) as client:
        twins = Twins(client, "kept", 3, "disk")
        twins.step(3)
        twins.mice.checkpoint()
    for records in own_stack.data.glob("populations/*/checkpoints/*/agents.bin"):
        records.write_bytes(records.read_bytes()[:-1])
    for journal in own_stack.data.glob("populations/*/journal/00000000"):
        journal.rename(journal.with_name(".gone"))
    power_loss(own_stack)
    with beliefd.connect(own_stack.endpoint) as client:
        for _ in range(2):
            with pytest.raises(CorruptStore, match="snapshot"):
                client.population("kept", timeout_s=20).read(timeout_s=20)
        with pytest.raises(CorruptStore):
            client.create_population("kept", twins.model, agents=3)


def test_snapshots_and_forks_of_a_population_under_load(stack, client, name):
    twins = Twins(client, name, 4, "disk")
    past = {}
    for tick in range(1, 13):
        twins.step()
        if tick in (4, 9):
            twins.mice.checkpoint()
        past[tick] = state(twins.local)
    failed, stop = [], threading.Event()

    def load():
        try:
            with beliefd.connect(stack.endpoint) as busy:
                twins.mice = busy.population(name)
                while not stop.is_set():
                    twins.step()
        except BaseException as error:
            failed.append(error)

    thread = threading.Thread(target=load)
    thread.start()
    try:
        found = client.population(name)
        for tick in (2, 7, 12):
            fork = found.fork(f"{name}.{tick}", at_tick=tick)
            assert_same(state(fork), past[tick])
            assert fork.rebuilt.why == "forked"
        found.snapshot(name)
        with pytest.raises(InvalidArgument, match="snapshot of this name"):
            found.snapshot(name)
        now = found.fork(f"{name}.now")
    finally:
        stop.set()
        thread.join()
    assert not failed
    restored = client.restore_population(name, f"{name}.restored")
    assert restored.rebuilt.why == "restored"
    assert restored.rebuilt.same_kernels
    replay = Twins(client, f"{name}.replay", 4, "process")
    for herd in (restored, now):
        ticks = herd.read(want=()).tick
        assert len(set(ticks.tolist())) == 1, "a copy is of one moment"
        assert ticks[0] >= 12
    replay.step(int(restored.read(want=()).tick[0]))
    replay.compare(restored)
    replay.mice = restored
    replay.step(3)
    replay.compare(restored)
    with pytest.raises(PopulationExists):
        client.restore_population(name, name)
    with pytest.raises(InvalidArgument, match="no snapshot"):
        client.restore_population("nobody", "else")
    with pytest.raises(InvalidArgument, match="only what is journalled"):
        client.population(f"{name}.replay").fork("x", at_tick=1)


@pytest.mark.parametrize("worker", ["worker_00", "worker_01"])
def test_a_worker_killed_while_it_journals(stack, client, name, worker):
    twins = Twins(client, name, 5, "disk")
    done = []

    def kill():
        stack.wait_ready(2)
        for _ in range(2):
            stack.kill_worker(worker)
            stack.wait_ready(2)
        done.append(True)

    thread = threading.Thread(target=kill)
    thread.start()
    while thread.is_alive():
        twins.step()
    thread.join()
    assert done
    twins.step(5)
    twins.compare(twins.mice)
    fork = twins.mice.fork(f"{name}.again", at_tick=2**40)
    twins.compare(fork)
    assert fork.rebuilt.whole
