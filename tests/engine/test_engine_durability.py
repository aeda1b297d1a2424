"""An engine on a folder, after the machine went down: nothing of what it returned is lost, or it says what is."""

import numpy as np
import pytest
from journalled import small_model

from beliefd.engine import Engine, boot, enginejournal
from beliefd_proto.errors import InvalidArgument, PopulationExists

AGENTS = 300
MODEL = small_model(2)


def steps(count, seed=0):
    rng = np.random.default_rng(seed)
    for _ in range(count):
        observations = [rng.integers(-1, n, AGENTS) for n in MODEL.num_obs]
        yield observations, {"reset": rng.random(AGENTS) < 0.1}


def assert_same(one, other):
    left, right = one.read(want=("beliefs", "vfe", "observations")), other.read(want=("beliefs", "vfe", "observations"))
    for name in ("tick", "actions", "vfe", "observations"):
        np.testing.assert_array_equal(getattr(left, name), getattr(right, name))
    for name, tensors in one.parameters().items():
        for mine, theirs in zip(tensors, other.parameters()[name], strict=True):
            np.testing.assert_array_equal(mine, theirs)


def power_loss(engine, folder, monkeypatch):
    """The machine goes down: the process is gone, what was in memory is noise, and the next boot has another name."""
    engine._lock.release()
    store = engine._store
    store.bytes[:] = np.random.default_rng(1).integers(0, 256, store.bytes.shape)
    next_boot = f"after {boot.boot_id()}"
    monkeypatch.setattr(boot, "boot_id", lambda: next_boot)
    assert boot.is_stale(folder / "populations" / ("e" * 16))


@pytest.mark.parametrize("threads", [1, 2])
def test_nothing_is_lost_with_the_power(tmp_path, monkeypatch, threads):
    monkeypatch.setattr(enginejournal, "CHECKPOINT_BYTES", 10_000)
    engine = Engine(MODEL, AGENTS, data=tmp_path, threads=threads, durability="disk")
    twin = Engine(MODEL, AGENTS)
    for observations, options in steps(32):
        engine.step(observations, **options)
        twin.step(observations, **options)
    checkpoints = list((tmp_path / "populations").glob("*/checkpoints/*"))
    assert len(checkpoints) == 1
    assert int(checkpoints[0].name) > 1
    power_loss(engine, tmp_path, monkeypatch)
    again = Engine(MODEL, AGENTS, data=tmp_path, durability="disk")
    assert again.rebuilt.whole
    assert again.rebuilt.steps > 0
    assert_same(again, twin)
    for observations, options in steps(5, seed=1):
        again.step(observations, **options)
        twin.step(observations, **options)
    assert_same(again, twin)
    power_loss(again, tmp_path, monkeypatch)
    with Engine(MODEL, AGENTS, data=tmp_path, durability="disk") as third:
        assert_same(third, twin)


def test_without_a_journal_the_last_checkpoint_is_what_is_left(tmp_path, monkeypatch):
    engine = Engine(MODEL, AGENTS, data=tmp_path)
    twin = Engine(MODEL, AGENTS)
    for observations, options in steps(5):
        engine.step(observations, **options)
        twin.step(observations, **options)
    engine.checkpoint()
    for observations, options in steps(3, seed=1):
        engine.step(observations, **options)
    power_loss(engine, tmp_path, monkeypatch)
    with pytest.warns(UserWarning, match="after the checkpoint of 20"):
        again = Engine(MODEL, AGENTS, data=tmp_path)
    assert not again.rebuilt.whole
    assert_same(again, twin)
    power_loss(again, tmp_path, monkeypatch)
    for checkpoint in (tmp_path / "populations").glob("*/checkpoints/*/agents.bin"):
        checkpoint.unlink()
    with pytest.warns(UserWarning, match="there was no checkpoint"):
        assert Engine(MODEL, AGENTS, data=tmp_path).read().tick.max() == 0


@pytest.mark.parametrize("durability", ["process", "disk"])
def test_a_close_in_good_order_needs_no_recovery_in_any_boot(tmp_path, monkeypatch, durability):
    twin = Engine(MODEL, AGENTS)
    for seed in range(3):
        monkeypatch.setattr(boot, "boot_id", lambda seed=seed: f"boot {seed}")
        with Engine(MODEL, AGENTS, data=tmp_path, durability=durability) as engine:
            assert engine.rebuilt is None
            for observations, options in steps(2, seed):
                engine.step(observations, **options)
                twin.step(observations, **options)
            assert_same(engine, twin)


def test_what_cannot_be_promised_is_refused(tmp_path):
    for arguments in ({"durability": "disk"}, {"durability": "ram"}, {"durability": "", "data": tmp_path}):
        with pytest.raises(InvalidArgument) as caught:
            Engine(MODEL, 3, **arguments)
        assert caught.value.field == "durability"
    Engine(MODEL, 3, data=tmp_path).close()
    with pytest.raises(PopulationExists) as caught:
        Engine(MODEL, 3, data=tmp_path, durability="disk")
    assert caught.value.field == "durability"
    with pytest.raises(InvalidArgument):
        Engine(MODEL, 3).checkpoint()
