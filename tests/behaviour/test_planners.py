"""Agents that plan reach what they were set to: goals by inductive inference, in Gymnasium's worlds."""

from __future__ import annotations

from typing import Any

import gymnasium
import numpy as np
import pytest
from numpy.typing import NDArray

from beliefd import worlds
from beliefd.engine import Engine
from beliefd.model import Model
from beliefd_proto.errors import InvalidModel


class World:
    """A Gymnasium world with a table of transitions, as arrays; an episode that is over stays where it is."""

    def __init__(self, name: str, **options: Any) -> None:
        self.env = gymnasium.make(name, **options)
        table = self.env.unwrapped.P  # type: ignore[attr-defined]
        self.states, self.actions = len(table), len(table[0])
        self.B = np.zeros((self.states, self.states, self.actions))
        self.over, self.goal = np.zeros(self.states, dtype=bool), np.zeros(self.states)
        for s in range(self.states):
            for u in range(self.actions):
                for p, following, reward, terminated in table[s][u]:
                    self.B[following, s, u] += p
                    if terminated and following != s:
                        self.over[following] = True
                        self.goal[following] = float(reward > 0)

    def move(
        self, rng: np.random.Generator, states: NDArray[np.int64], control: NDArray[np.int32]
    ) -> NDArray[np.int64]:
        sums = self.B[:, states, control].cumsum(axis=0)
        following = (rng.random(len(states)) * sums[-1] >= sums).sum(axis=0)
        return np.where(self.over[states], states, following)

    def success(self, model: Model, starts: NDArray[np.int64], ticks: int, seed: int = 0) -> float:
        """The share of episodes that agents of a model end at a goal."""
        rng = np.random.default_rng(seed)
        engine, states = Engine(model, len(starts), seed=seed), starts
        for _ in range(ticks):
            states = self.move(rng, states, engine.step(states[:, None]).control)
        return float((self.goal[states] > 0).mean())


def _seeker(world: World, depth: int, **options: Any) -> Model:
    return Model(
        A=[np.eye(world.states)],
        B=[world.B],
        H=[world.goal],
        use_inductive=True,
        inductive_depth=depth,
        **{"C": [np.zeros(world.states)], "use_states_info_gain": False, **options},
    )


@pytest.mark.parametrize(
    ("name", "options", "depth"),
    [("Taxi-v4", {}, 30), ("FrozenLake-v1", {"map_name": "8x8", "is_slippery": False}, 20)],
)
def test_the_goal_is_reached_from_every_start(name: str, options: dict[str, Any], depth: int) -> None:
    world = World(name, **options)
    model = _seeker(world, depth)
    can_win = _distances(world) < depth
    starts = np.flatnonzero(can_win & ~world.over)
    assert len(starts) > 0.8 * world.states
    assert set(np.flatnonzero(world.env.unwrapped.initial_state_distrib)) <= set(starts)  # type: ignore[attr-defined]
    assert world.success(model, starts, depth) == 1.0
    # Once in the world itself, not in its table.
    state, _ = world.env.reset(seed=5)
    engine, reward, terminated = Engine(model, 1), 0.0, False
    for _ in range(depth):
        state, reward, terminated, _, _ = world.env.step(int(engine.step([[int(state)]]).control[0]))
        if terminated:
            break
    assert terminated
    assert reward > 0


def _distances(world: World) -> NDArray[np.float64]:
    """Steps to the nearest goal, by relaxation."""
    distances = np.where(world.goal > 0, 0.0, np.inf)
    leads = (world.B > 0).any(axis=2)
    for _ in range(world.states):
        nearer = np.where(leads, distances[:, None], np.inf).min(axis=0) + 1.0
        distances = np.minimum(distances, np.where(world.over & (world.goal == 0), np.inf, nearer))
    return distances


def _best_policy(world: World) -> NDArray[np.int64]:
    value = world.goal.copy()
    for _ in range(5_000):
        worth = np.einsum("n,nsu->su", value, world.B)
        value = np.where(world.over, world.goal, worth.max(axis=1))
    return np.asarray(worth.argmax(axis=1))


def test_the_slippery_lake_is_crossed_nearly_as_often_as_by_value_iteration() -> None:
    world = World("FrozenLake-v1", map_name="8x8", is_slippery=True)
    episodes, ticks, rng = 150, 200, np.random.default_rng(1)
    states, best = np.zeros(episodes, dtype=int), _best_policy(world)
    for _ in range(ticks):
        states = world.move(rng, states, best[states])
    by_value_iteration = (world.goal[states] > 0).mean()
    danger = np.where(world.over & (world.goal == 0), -20.0, 0.0)
    model = _seeker(world, 60, policy_len=4, C=[danger + 10.0 * world.goal])
    assert world.success(model, np.zeros(episodes, dtype=int), ticks) >= 0.65 * by_value_iteration


def _rewarded(planner: str) -> float:
    """The share of agents in a T-maze, whose cue and arms never lie, that enter the right arm within two steps."""
    agents = 60
    maze = worlds.tmaze(1.0, 1.0, planner=planner, use_states_info_gain=False, policy_len=2)
    engine, rng = Engine(maze, agents, seed=2), np.random.default_rng(3)
    side, place = rng.integers(0, 2, agents), np.full(agents, worlds.CENTRE)
    for _ in range(3):
        probabilities = (A[:, place, side].cumsum(axis=0) for A in maze.A[1:])
        outcome, cue = ((rng.random(agents) >= p).sum(axis=0) for p in probabilities)
        step = engine.step(np.stack([place, outcome, cue], axis=1))
        place = maze.B[0][:, place, step.actions[:, 0]].argmax(axis=0)
    return float((maze.A[1][worlds.REWARD, place, side] > 0.5).mean())


def test_what_will_be_seen_counts_for_a_tree_and_not_for_policies() -> None:
    """Nothing is known of the side and curiosity is off: that the cue will tell is worth something to a tree alone."""
    assert _rewarded("sophisticated") == 1.0
    assert _rewarded("policies") < 0.7


def _long_road(**options: Any) -> Model:
    """From the start a road leads by nine places to riches that begin at the fifth; beside it is a place that is good
    at once. Three more actions lead back to the start.
    """
    start, aside, road = 0, 1, range(2, 11)
    B = np.zeros((11, 11, 5))
    B[start] = 1.0
    for place in (start, *road):
        B[:, place, 0] = np.eye(11)[place + 1 if place in road[:-1] else road[0] if place == start else place]
    for place in (start, aside):
        B[:, place, 1] = np.eye(11)[aside]
    C = [0.0, 1.5, 1.0, 1.0, 1.0, 1.0, 5.0, 5.0, 5.0, 5.0, 5.0]
    return Model([np.eye(11)], [B], C=[C], D=[np.eye(11)[start]], use_states_info_gain=False, **options)


def test_sampling_sees_further_than_all_policies_can() -> None:
    """Nine steps of five actions are two million policies; a few hundred walks find the one that is worth it."""
    with pytest.raises(InvalidModel, match="1,953,125"):
        _long_road(policy_len=9)
    for options, goal in (
        ({"policy_len": 4}, [1]),
        ({"planner": "mcts", "policy_len": 4}, [1]),
        ({"planner": "mcts", "policy_len": 9}, range(6, 11)),
    ):
        model, agents = _long_road(**options), 20
        engine, places = Engine(model, agents, seed=4), np.zeros(agents, dtype=int)
        for _ in range(8):
            moves = engine.step(places[:, None]).control
            places = model.B[0][:, places, moves].argmax(axis=0)
        assert set(places.tolist()) <= set(goal), options
