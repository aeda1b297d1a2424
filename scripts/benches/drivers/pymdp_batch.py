"""pymdp 1.x: a batched agent, its whole step under one `jax.jit`, in float32."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax
from numpy.typing import NDArray
from pymdp import control
from pymdp.agent import Agent
from pymdp.planning.si import si_policy_search

from benches.drivers.given import Given
from benches.drivers.serving import serve, timed_rounds

_TRIALS, _TRIALS_S = 10, 0.5
_TREE = {"max_nodes": 512, "max_branching": 6}
"""Room for a tree, all of which pymdp goes through: it is set up for these works, and its own defaults are ten times
that.
"""


class Batch:
    """One batch of agents. Observations and actions lie on the device before the clock runs."""

    def __init__(self, given: Given, agents: int) -> None:
        self._given, self._agents = given, agents
        self._agent = make_agent(given, agents)
        self._windowed = given.inference_horizon is not None
        self._learns = given.learn_A or given.learn_B
        self._observations = list(windows(given, agents)) if self._windowed else presents(given, agents)
        self._forced = [jnp.asarray(tick[:agents]) for tick in given.actions]
        self._tick, self._prior = 0, self._agent.D
        self._learner, self._beliefs = self._agent, [q[:, None] for q in self._agent.D]
        self._step = jax.jit(learning_step) if self._learns else self._faster_step()

    def _faster_step(self) -> Any:
        """The agent as a constant of the compiled step, or as an argument: which is faster depends on the work."""
        step = window_step if self._windowed else whole_step
        if self._given.planner == "sophisticated":
            search = si_policy_search(horizon=self._given.policy_len, gamma=self._given.gamma, **_TREE)
            step = partial(tree_step, search)
        ways: list[Any] = [partial(jax.jit(step), self._agent), jax.jit(partial(step, self._agent))]
        fastest_s = []
        for way in ways:
            self._step, self._tick = way, 0
            self._round()
            fastest_s.append(min(timed_rounds(self._round, _TRIALS, _TRIALS_S)))
        self._tick = 0
        return ways[fastest_s.index(min(fastest_s))]

    def _round(self) -> tuple[Any, Any]:
        if self._learns:
            return self._learning_round()
        tick = self._tick % len(self._observations)
        prior = self._agent.D if tick == 0 else self._prior
        action, told, self._prior = self._step(self._observations[tick], prior, self._forced[tick])
        self._tick += 1
        return np.asarray(action), told

    def _learning_round(self) -> tuple[Any, Any]:
        tick = self._tick % len(self._observations)
        prior = self._agent.D if tick == 0 else self._prior
        previous = jnp.full_like(self._forced[0], -1) if tick == 0 else self._forced[tick - 1]
        action, told, self._learner, self._prior, self._beliefs = self._step(
            self._learner, self._observations[tick], prior, self._beliefs, previous, self._forced[tick]
        )
        self._tick += 1
        return np.asarray(action), told

    def steps(self, count: int, limit_s: float) -> dict[str, Any]:
        return {"step_s": timed_rounds(self._round, count, limit_s)}

    def check(self) -> tuple[NDArray[np.int64], NDArray[np.float64]]:
        self._tick, self._learner = 0, self._agent
        actions, margins = [], []
        for _ in self._observations:
            action, told = self._round()
            actions.append(action)
            margins.append(batch_margins(self._worth(np.asarray(told, np.float64)), self._given.policies[:, 0]))
        return np.stack(actions), np.stack(margins)

    def _worth(self, told: NDArray[np.float64]) -> NDArray[np.float64]:
        """What policies are worth, in nats, shape (agents, policies); for a tree, less what is common to all."""
        if self._given.planner == "sophisticated":
            return np.asarray(np.log(told))
        return np.asarray(self._given.gamma * told + np.log(self._given.E))

    def close(self) -> None:
        jax.clear_caches()


def whole_step(agent: Any, observations: list[Any], prior: list[Any], forced: Any) -> tuple[Any, Any, list[Any]]:
    """Perception, planning, action, G of the policies, what is expected next; `forced` is what is really done."""
    beliefs = agent.infer_states(observations, empirical_prior=prior)
    q_pi, neg_efe = agent.infer_policies(beliefs)
    return agent.sample_action(q_pi), neg_efe, agent.update_empirical_prior(forced, beliefs)


def tree_step(
    search: Any, agent: Any, observations: list[Any], prior: list[Any], forced: Any
) -> tuple[Any, Any, list[Any]]:
    """As `whole_step`, with policies that a tree is grown for: their probabilities in place of G."""
    beliefs = agent.infer_states(observations, empirical_prior=prior)
    q_pi, _ = search(agent, beliefs)
    return agent.sample_action(q_pi), q_pi, agent.update_empirical_prior(forced, beliefs)


def learning_step(
    agent: Any, observations: list[Any], prior: list[Any], last: list[Any], previous: Any, forced: Any
) -> tuple[Any, ...]:
    """`whole_step` of agents that learn; `last` was believed a step before, and `previous` done, -1 for nothing."""
    beliefs = agent.infer_states(observations, empirical_prior=prior)
    q_pi, neg_efe = agent.infer_policies(beliefs)
    both = [jnp.concatenate([a, b], axis=1) for a, b in zip(last, beliefs, strict=True)]
    agent = agent.infer_parameters(beliefs, observations, previous[:, None], beliefs_B=both)
    return agent.sample_action(q_pi), neg_efe, agent, agent.update_empirical_prior(forced, beliefs), beliefs


def window_step(agent: Any, window: Any, prior: list[Any], _: Any) -> tuple[Any, Any, list[Any]]:
    """The same over a window of fixed size, of which pymdp's rollout tells how many steps are valid."""
    observations, past_actions, valid_steps = window
    beliefs = agent.infer_states(
        observations, empirical_prior=prior, past_actions=past_actions, valid_steps=valid_steps
    )
    q_pi, neg_efe = agent.infer_policies(beliefs)

    def following(_: Any) -> list[Any]:
        move = jax.vmap(partial(control.compute_expected_state, B_dependencies=agent.B_dependencies))
        return list(move([q[:, 0] for q in beliefs], agent.B, past_actions[:, 0]))

    full = valid_steps == observations[0].shape[1]
    return agent.sample_action(q_pi), neg_efe, lax.cond(full, following, lambda _: list(prior), None)


def presents(given: Given, agents: int) -> list[Any]:
    """What is observed at each tick, per modality."""
    return [[jnp.asarray(modality, jnp.int32)[:, None] for modality in tick[:agents].T] for tick in given.observations]


def windows(given: Given, agents: int) -> Iterator[tuple[list[Any], Any, Any]]:
    """The window of each tick: what was observed, per modality; what was done between; how many steps are valid."""
    horizon = given.inference_horizon or 1
    observations = np.full((horizon, *given.observations[0][:agents].shape), -1, np.int32)
    actions = np.full((horizon, *given.actions[0][:agents].shape), -1, np.int32)
    for tick, observed in enumerate(given.observations):
        observations = np.concatenate([observations[1:], observed[None, :agents]])
        seen = [jnp.asarray(observations[:, :, m].T, jnp.int32) for m in range(observations.shape[2])]
        yield seen, jnp.asarray(actions[1:].swapaxes(0, 1)), jnp.asarray(min(tick + 1, horizon))
        actions = np.concatenate([actions[1:], given.actions[tick][None, :agents]])


def make_agent(given: Given, agents: int) -> Any:
    def batched(arrays: Sequence[NDArray[Any]]) -> list[Any]:
        return [jnp.broadcast_to(jnp.asarray(array, jnp.float32), (agents, *array.shape)) for array in arrays]

    return Agent(
        A=batched(given.A),
        B=batched(given.B),
        C=batched(given.C),
        D=batched(given.D),
        E=batched([given.E])[0],
        pA=batched(given.pA) or None,
        pB=batched(given.pB) or None,
        learn_A=given.learn_A,
        learn_B=given.learn_B,
        A_dependencies=given.A_dependencies,
        B_dependencies=given.B_dependencies,
        control_fac_idx=given.control_fac_idx,
        policies=jnp.asarray(given.policies),
        policy_len=given.policies.shape[1],
        gamma=given.gamma,
        alpha=given.alpha,
        num_iter=given.num_iter,
        action_selection="deterministic",
        sampling_mode="full",
        inference_algo=given.inference_algo,
        inference_horizon=given.inference_horizon,
        batch_size=agents,
    )


def batch_margins(worth: NDArray[np.float64], first_actions: NDArray[np.int32]) -> NDArray[np.float64]:
    """By how much the best policy of each row beats the best one with another first action, relative to its worth
    where over 1: so beliefd measures what is tied.
    """
    _, group = np.unique(first_actions, axis=0, return_inverse=True)
    best = np.stack([worth[:, group.ravel() == g].max(axis=1) for g in range(group.max() + 1)], axis=1)
    best.sort(axis=1)
    return np.asarray((best[:, -1] - best[:, -2]) / np.maximum(1.0, np.abs(best[:, -1])))


if __name__ == "__main__":
    serve(Batch)
