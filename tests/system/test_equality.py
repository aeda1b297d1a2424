"""Through broker and workers = in this process, bit for bit, for every kind of model and input."""

import numpy as np
import pytest

import beliefd
from beliefd import peragent
from beliefd.engine import Engine
from beliefd.hierarchy import compose
from beliefd.worlds import grid, tmaze
from beliefd_proto.errors import InvalidArgument
from models import random_model, random_per_agent, with_counts

pytestmark = pytest.mark.system
PARTS = ("utility", "info_gain", "inductive", "novelty")
WANT = ("beliefs", "q_pi", "neg_efe", "vfe", "gamma", *PARTS)


def assert_same(served, local):
    np.testing.assert_array_equal(served.actions, local.actions)
    np.testing.assert_array_equal(served.tick, local.tick)
    for f, beliefs in enumerate(served.beliefs):
        np.testing.assert_array_equal(beliefs, local.beliefs[f])
    for name in ("q_pi", "neg_efe", "vfe", "gamma", *PARTS):
        np.testing.assert_array_equal(getattr(served, name), getattr(local, name))


def assert_same_counts(served, local):
    assert served.keys() == local.keys()
    for name in served:
        for one, other in zip(served[name], local[name], strict=True):
            assert (one is None) == (other is None)
            if one is not None:
                assert one.dtype == other.dtype
                np.testing.assert_array_equal(one, other)


def batch(rng, model, agents, categorical):
    """Observations of a call: random indices, some missing; a modality in two as distributions."""
    columns = []
    for m, num_obs in enumerate(model.num_obs):
        if categorical and m % 2 == 0:
            columns.append(rng.dirichlet(np.ones(num_obs), agents))
        else:
            columns.append(rng.integers(-1, num_obs, agents))
    return columns


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("case", range(6))
def test_random_models(client, name, case, dtype):
    """1 to 3 factors and modalities, coupled; resets, executed actions, categorical and missing observations."""
    rng = np.random.default_rng(case)
    model = random_model(rng, dtype=dtype, sharp=case % 2 == 1)
    agents = 300
    mice = client.create_population(name, model, agents=agents, seed=case)
    local = Engine(model, agents=agents, seed=case)
    for tick in range(6):
        observations = batch(rng, model, agents, categorical=tick % 2 == 1)
        reset = rng.random(agents) < 0.2
        executed = np.stack([rng.integers(-1, n, agents) for n in model.num_controls], axis=1).astype(np.int32)
        arguments = {"reset": reset, "executed_actions": executed, "want": WANT}
        assert_same(mice.step(observations, **arguments), local.step(observations, **arguments))
    mice.drop()


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("case", range(3))
def test_agents_that_learn_and_have_goals(client, name, case, dtype):
    rng = np.random.default_rng(100 + case)
    model = random_model(rng, dtype=dtype, sharp=case % 2 == 1, inference_algo="fpi")
    model = with_counts(rng, model, learn_C=True, use_inductive=True, use_param_info_gain=True, fr_pA=0.9, fr_pB=0.9)
    agents = 300
    mice = client.create_population(name, model, agents=agents, seed=case)
    local = Engine(model, agents=agents, seed=case)
    for tick in range(8):
        observations = batch(rng, model, agents, categorical=tick % 2 == 1)
        arguments = {"reset": rng.random(agents) < 0.2, "want": WANT}
        assert_same(mice.step(observations, **arguments), local.step(observations, **arguments))
    some = rng.permutation(agents)[:77]
    for chosen in (None, some):
        assert_same_counts(mice.parameters(chosen), local.parameters(chosen))
        assert_same(mice.read(chosen, want=WANT), local.read(chosen, want=WANT))
    mice.drop()


@pytest.mark.parametrize("algo", ["mmp", "vmp", "ovf"])
def test_agents_that_look_back(client, name, algo):
    rng = np.random.default_rng(200)
    coupled = False if algo == "ovf" else None
    model = random_model(rng, dtype="float32", coupled=coupled, inference_algo=algo, inference_horizon=3)
    model = with_counts(rng, model, learn_E=False)
    agents = 300
    mice = client.create_population(name, model, agents=agents, seed=1)
    local = Engine(model, agents=agents, seed=1)
    for tick in range(8):
        observations = batch(rng, model, agents, categorical=tick % 2 == 1)
        executed = np.stack([rng.integers(-1, n, agents) for n in model.num_controls], axis=1).astype(np.int32)
        arguments = {"reset": rng.random(agents) < 0.2, "executed_actions": executed, "want": WANT}
        assert_same(mice.step(observations, **arguments), local.step(observations, **arguments))
    mice.drop()


@pytest.mark.parametrize("profile", ["legacy", "spm"])
def test_agents_with_beliefs_under_each_policy(client, name, profile):
    rng = np.random.default_rng(202)
    options = {"inference_algo": "mmp", "inference_horizon": 3, "profile": profile, "update_gamma": profile == "spm"}
    while True:
        model = random_model(rng, dtype="float32", coupled=profile == "legacy", **options)
        if len(model.policies) <= 16:
            break
    model = with_counts(rng, model, learn_E=False, use_inductive=True)
    agents = 300
    mice = client.create_population(name, model, agents=agents, seed=1)
    local = Engine(model, agents=agents, seed=1)
    assert_same(mice.read(want=WANT), local.read(want=WANT))
    for tick in range(6):
        observations = batch(rng, model, agents, categorical=tick % 2 == 1)
        arguments = {"reset": rng.random(agents) < 0.2, "want": WANT}
        assert_same(mice.step(observations, **arguments), local.step(observations, **arguments))
        assert_same(mice.read(want=WANT), local.read(want=WANT))
    mice.drop()


@pytest.mark.parametrize(
    ("planner", "profile"), [("sophisticated", "pymdp"), ("sophisticated", "legacy"), ("mcts", "spm")]
)
def test_agents_that_search_a_tree(client, name, planner, profile):
    options = {"policy_len": 3, "num_simulations": 16} if planner == "mcts" else {}
    options["profile"] = profile
    model, rng, agents = tmaze(planner=planner, **options), np.random.default_rng(201), 150
    mice = client.create_population(name, model, agents=agents, seed=1)
    local = Engine(model, agents=agents, seed=1)
    for _ in range(3):
        observations = batch(rng, model, agents, categorical=False)
        assert_same(mice.step(observations, want=WANT), local.step(observations, want=WANT))
        assert_same(mice.read(want=WANT), local.read(want=WANT))
    mice.drop()


def test_agents_that_learn_nothing_have_no_counts(client, name):
    idle = client.create_population(name, tmaze(), agents=2)
    assert idle.parameters() == {}


def test_stochastic_marginal_actions(client, name):
    rng = np.random.default_rng(5)
    parts = random_model(rng, dtype="float32")
    model = type(parts)(
        A=parts.A,
        B=parts.B,
        A_dependencies=parts.A_dependencies,
        B_dependencies=parts.B_dependencies,
        policy_len=2,
        sampling_mode="marginal",
        action_selection="stochastic",
    )
    mice = client.create_population(name, model, agents=500, seed=77)
    local = Engine(model, agents=500, seed=77)
    for _ in range(5):
        observations = [rng.integers(0, n, 500) for n in model.num_obs]
        assert_same(mice.step(observations, want=WANT), local.step(observations, want=WANT))


def test_parts_of_a_population_in_any_order(client, name):
    rng = np.random.default_rng(6)
    model = tmaze()
    mice = client.create_population(name, model, agents=200, seed=1)
    local = Engine(model, agents=200, seed=1)
    for _ in range(20):
        chosen = rng.permutation(200)[: rng.integers(1, 200)]
        observations = np.stack([rng.integers(0, n, len(chosen)) for n in model.num_obs], axis=1)
        assert_same(
            mice.step(observations, agents=chosen, want=WANT), local.step(observations, agents=chosen, want=WANT)
        )
    np.testing.assert_array_equal(mice.read(want=("beliefs",)).tick, local.read(want=("beliefs",)).tick)


def test_more_agents_than_a_chunk(client, name):
    model = tmaze()
    agents = 100_000
    rng = np.random.default_rng(7)
    mice = client.create_population(name, model, agents=agents, seed=2)
    local = Engine(model, agents=agents, seed=2, threads=2)
    for _ in range(3):
        observations = np.stack([rng.integers(0, n, agents) for n in model.num_obs], axis=1)
        np.testing.assert_array_equal(mice.step(observations).actions, local.step(observations).actions)
    mice.drop()


def test_pipelining_over_populations_and_disjoint_agents(client, name):
    model = grid(size=3, policy_len=2) if "size" in grid.__code__.co_varnames else grid()
    rng = np.random.default_rng(8)
    herds = [client.create_population(f"{name}.{i}", model, agents=64, seed=i) for i in range(4)]
    local = [Engine(model, agents=64, seed=i) for i in range(4)]
    halves = [np.arange(32), np.arange(32, 64)]
    for _ in range(5):
        observations = [rng.integers(0, model.num_obs[0], 64) for _ in herds]
        futures = [
            [herd.submit(o[half], agents=half, want=WANT) for half in halves]
            for herd, o in zip(herds, observations, strict=True)
        ]
        for engine, o, parts in zip(local, observations, futures, strict=True):
            expected = engine.step(o, want=WANT)
            for half, future in zip(halves, parts, strict=True):
                np.testing.assert_array_equal(future.result(20).actions, expected.actions[half])


def test_agents_come_and_go(client, name):
    """Numbers are never used twice; who is new begins at D; the others go on as if nothing had happened."""
    model = tmaze()
    rng = np.random.default_rng(9)
    mice = client.create_population(name, model, agent_ids=[f"m{i}" for i in range(10)], seed=3)
    local = Engine(model, agents=2000, seed=3)

    def step(numbers):
        observations = np.stack([rng.integers(0, n, len(numbers)) for n in model.num_obs], axis=1)
        expected = local.step(observations, agents=numbers, want=WANT)
        assert_same(mice.step(observations, agents=numbers, want=WANT), expected)

    step(mice.agents)
    mice.remove_agents(["m3", "m7"])
    assert mice.agents.tolist() == [0, 1, 2, 4, 5, 6, 8, 9]
    assert "m3" not in mice.agent_ids
    step(mice.agents)
    added = mice.add_agents(agent_ids=[f"n{i}" for i in range(1500)])
    assert added.tolist() == list(range(10, 1510))
    step(mice.agents)
    step(added[::-1])
    assert len(client.population(name)) == 1508


def test_a_population_is_found_again_with_its_model_and_ticks(stack, client, name):
    rng = np.random.default_rng(10)
    model = random_model(rng, dtype="float64")
    mice = client.create_population(name, model, agents=5, seed=4)
    local = Engine(model, agents=5, seed=4)
    for _ in range(3):
        observations = [rng.integers(0, n, 5) for n in model.num_obs]
        mice.step(observations)
        local.step(observations)
    with beliefd.connect(stack.local_endpoint) as other:
        found = other.population(name)
        assert found.model() == model
        observations = [rng.integers(0, n, 5) for n in model.num_obs]
        assert_same(found.step(observations, want=WANT), local.step(observations, want=WANT))
        assert [p.name for p in other.populations()].count(name) == 1


def test_one_modality_and_one_controlled_factor_fit_a_vector_environment(client, name):
    model = grid()
    walkers = client.create_population(name, model, agents=7)
    step = walkers.step(np.zeros(7, int))
    assert step.control.shape == (7,)
    assert step.control.dtype == np.int32


@pytest.mark.parametrize("own_stack", [1], indirect=True)
def test_one_worker_gives_what_two_give(own_stack, client, name):
    rng = np.random.default_rng(11)
    model = random_model(rng, dtype="float32")
    with beliefd.connect(own_stack.endpoint) as alone:
        one = alone.create_population(name, model, agents=3000, seed=5)
        two = client.create_population(name, model, agents=3000, seed=5)
        for _ in range(5):
            observations = [rng.integers(0, n, 3000) for n in model.num_obs]
            assert_same(one.step(observations, want=WANT), two.step(observations, want=WANT))


@pytest.mark.parametrize("case", range(4))
def test_parameters_per_agent(client, name, case, monkeypatch):
    """What does not fit into one message comes in several; new agents bring their own."""
    rng = np.random.default_rng(200 + case)
    profile = ("pymdp", "pymdp", "legacy", "spm")[case]
    model = random_model(rng, dtype=("float32", "float64")[case % 2], inference_algo="fpi", profile=profile)
    if case % 2:
        model = with_counts(rng, model, learn_E=False)
    agents, more = 300, 40
    per_agent = random_per_agent(rng, model, agents + more) | {"gamma": rng.uniform(1.0, 2.0, agents + more)}
    first, rest = some_agents(per_agent, slice(agents)), some_agents(per_agent, slice(agents, None))
    whole = peragent.pieces
    monkeypatch.setattr(peragent, "pieces", lambda arrays, count, _: whole(arrays, count, 20_000))
    ids = [f"a{i}" for i in range(agents + more)]
    mice = client.create_population(name, model, agent_ids=ids[:agents], seed=case, per_agent=first)
    with pytest.raises(InvalidArgument, match="of their own"):
        mice.add_agents(agent_ids=ids[agents:])
    mice.add_agents(agent_ids=ids[agents:], per_agent=rest)
    assert mice.agent_ids == tuple(ids)
    local = Engine(model, agents=agents + more, seed=case, per_agent=per_agent)
    for tick in range(4):
        observations = batch(rng, model, agents + more, categorical=tick % 2 == 1)
        arguments = {"reset": rng.random(agents + more) < 0.2, "want": WANT}
        assert_same(mice.step(observations, **arguments), local.step(observations, **arguments))
    mice.drop()


def test_two_levels(client, name):
    rng = np.random.default_rng(400)
    stay = np.array([[0.9, 0.1], [0.1, 0.9]])
    upper = beliefd.Model([[[0.6, 0.4], [0.4, 0.6]]], [np.stack([stay, stay[::-1]], axis=-1)])
    lower = beliefd.Model([[[0.8, 0.2], [0.2, 0.8]]], [np.stack([np.eye(2), np.eye(2)[::-1]], axis=-1)], C=[[0, 1]])
    model = compose(upper, lower, {0: (0, stay)}, 3, policy_len=2)
    mice = client.create_population(name, model, agents=100, seed=1)
    local = Engine(model, agents=100, seed=1)
    for tick in range(10):
        observations = batch(rng, model, 100, categorical=tick % 2 == 1)
        assert_same(mice.step(observations, want=WANT), local.step(observations, want=WANT))
    mice.drop()


def some_agents(per_agent, which):
    def part(value):
        return [None if v is None else v[which] for v in value] if isinstance(value, list) else value[which]

    return {name: part(value) for name, value in per_agent.items()}


def test_parameters_per_agent_go_along_with_forks_and_snapshots(client, name):
    rng = np.random.default_rng(300)
    model = with_counts(rng, random_model(rng, inference_algo="fpi"), learn_E=False)
    per_agent = random_per_agent(rng, model, 100) | {"gamma": rng.uniform(1.0, 2.0, 100)}
    mice = client.create_population(name, model, agents=100, per_agent=per_agent, durability="disk")
    local = Engine(model, agents=100, per_agent=per_agent)
    history = [batch(rng, model, 100, categorical=False) for _ in range(5)]
    for tick, observations in enumerate(history[:4]):
        mice.step(observations)
        local.step(observations)
        if tick == 1:
            past = mice.fork(f"{name}.past", at_tick=1)
    mice.snapshot(name)
    fork, restored = mice.fork(f"{name}.fork"), client.restore_population(name, f"{name}.restored")
    for observations in history[1:4]:
        past.step(observations)
    expected = local.step(history[4], want=WANT)
    for herd in (mice, past, fork, restored):
        assert_same(herd.step(history[4], want=WANT), expected)
