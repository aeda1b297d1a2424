"""Adds to a file of cases what inferactively-pymdp 1.0.4 computes for them in float64; see scripts/references.

pymdp runs one agent on a forced history of actions, so that ties between policies decide nothing. Online learning is
what its rollout does, step by step: the window of the last steps, all of it, at every tick.
"""

from __future__ import annotations

import multiprocessing
import sys
from concurrent.futures import ProcessPoolExecutor
from typing import Any

import jax

jax.config.update("jax_enable_x64", True)

import jax.numpy as jnp  # noqa: E402 - pymdp takes its floor under logarithms from the precision at its import
import numpy as np  # noqa: E402
from casefile import read  # noqa: E402
from numpy.typing import NDArray  # noqa: E402
from pymdp import control  # noqa: E402
from pymdp.agent import Agent  # noqa: E402
from pymdp.planning.si import si_policy_search  # noqa: E402

Arrays = dict[str, NDArray[Any]]


def main(cases: str, path: str) -> None:
    with np.load(cases, allow_pickle=False) as file:
        contents = dict(file)
    with ProcessPoolExecutor(mp_context=multiprocessing.get_context("spawn")) as processes:
        for n, record in enumerate(processes.map(run, *zip(*read(cases), strict=True))):
            contents |= {f"case{n}/{name}": np.stack(values) for name, values in record.items()}
            print(f"case {n}", file=sys.stderr, flush=True)
    np.savez_compressed(path, **contents)


def run(_: str, spec: dict[str, Any], arrays: Arrays) -> dict[str, list[Any]]:
    return Run(spec, arrays).record()


def entries(arrays: Arrays, letter: str) -> list[jax.Array] | None:
    found = [jnp.asarray(arrays[f"{letter}{i}"]) for i in range(32) if f"{letter}{i}" in arrays]
    return found or None


class Run:
    """One agent and its history; or the members of a case, which have a tensor each, observe each their own, and act
    alike.
    """

    def __init__(self, spec: dict[str, Any], arrays: Arrays) -> None:
        self.spec = spec
        self.tree = spec.get("planner") == "sophisticated"
        # pymdp's tree mixes its own float32 with what it is given, so it runs in float32 alone.
        jax.config.update("jax_enable_x64", not self.tree)
        self.alone = arrays["given/0"].ndim == 2
        if self.alone:
            arrays = {name: array if name in ("forced", "policies") else array[None] for name, array in arrays.items()}
        self.members = len(arrays["given/0"])
        self.agent = self.make_agent(arrays)
        self.given = [arrays[f"given/{m}"] for m in range(len(self.agent.A))]
        policies = arrays["policies"]
        self.forced = [
            next(k for k, policy in enumerate(policies) if (policy[0] == action).all()) for action in arrays["forced"]
        ]
        self.algo = spec["inference_algo"]
        self.horizon = spec.get("inference_horizon")

    def make_agent(self, arrays: Arrays) -> Agent:
        spec = self.spec
        options: dict[str, Any] = {}
        if "B_action_dependencies" in spec:
            # pymdp makes the action axes one where it makes the policies, of tensors without a batch axis.
            options |= {"B_action_dependencies": spec["B_action_dependencies"], "num_controls": spec["num_controls"]}
            lone = {letter: [array[0] for array in entries(arrays, letter) or []] for letter in "BD"}
            options |= {**lone, "policy_len": arrays["policies"].shape[1]}
        else:
            options |= {"policies": jnp.asarray(arrays["policies"]), "policy_len": arrays["policies"].shape[1]}
            options |= {letter: entries(arrays, letter) for letter in "BD"}
            options["control_fac_idx"] = spec["control_fac_idx"] or None
        names = ("gamma", "alpha", "use_utility", "use_states_info_gain", "use_param_info_gain", "use_inductive")
        names += ("inductive_depth", "inductive_threshold", "inductive_epsilon", "inference_algo", "inference_horizon")
        return Agent(
            A=entries(arrays, "A"),
            C=entries(arrays, "C"),
            E=jnp.asarray(arrays["E"]),
            pA=entries(arrays, "pA"),
            pB=entries(arrays, "pB"),
            H=entries(arrays, "H"),
            A_dependencies=spec["A_dependencies"],
            B_dependencies=spec["B_dependencies"],
            categorical_obs=not self.tree,
            num_iter=spec["num_iter"],
            learn_A=bool(spec.get("learn_A")),
            learn_B=bool(spec.get("learn_B")),
            batch_size=self.members,
            **options,
            **{name: spec[name] for name in names if name in spec},
        )

    def record(self) -> dict[str, list[Any]]:
        rows: dict[str, list[Any]] = {}
        # Arrays this small are done sooner than compiled; only the tree has loops for which it pays.
        with jax.disable_jit(not self.tree):
            for t, policy in enumerate(self.forced):
                row = self.tree_step(t, policy) if self.tree else self.step(t, policy)
                for name, value in row.items():
                    rows.setdefault(name, []).append(np.asarray(value[0] if self.alone else value))
        return rows

    def step(self, t: int, policy: int) -> dict[str, Any]:
        if self.algo in ("mmp", "vmp"):
            beliefs, details = self.infer_window(t)
        else:
            prior = self.agent.D if t == 0 else self.agent.update_empirical_prior(self.actions[:, -1], self.last)
            beliefs, details = self.agent.infer_states(self.observed(t, t), empirical_prior=prior, return_info=True)
        q_pi, neg_efe = self.agent.infer_policies(beliefs)
        self.learn(t, beliefs)
        action = jnp.tile(self.agent.policies.policy_arr[policy, 0], (self.members, 1, 1))
        self.actions = action if t == 0 else jnp.concatenate([self.actions, action], axis=1)
        self.last = beliefs
        row = {f"beliefs/{f}": q[:, -1] for f, q in enumerate(beliefs)}
        row |= {"q_pi": q_pi, "neg_efe": neg_efe, "vfe": details["vfe"]}
        if self.agent.learn_A:
            row |= {f"learned/pA{m}": pA for m, pA in enumerate(self.agent.pA)}
        if self.agent.learn_B:
            row |= {f"learned/pB{f}": pB for f, pB in enumerate(self.agent.pB)}
        return row

    def observed(self, first: int, last: int) -> list[jax.Array]:
        """Of these ticks, per modality: (members, ticks, num_obs); (members, num_obs) for the one tick of a filter."""
        if first == last and self.algo not in ("mmp", "vmp"):
            return [jnp.asarray(p[:, last]) for p in self.given]
        return [jnp.asarray(p[:, first : last + 1]) for p in self.given]

    def infer_window(self, t: int) -> Any:
        first = max(0, t - self.horizon + 1)
        if t == 0 or t < self.horizon:
            prior = self.agent.D
        else:
            start = [q[:, 0] for q in self.last]
            propagate = jax.vmap(lambda q, B, u: control.compute_expected_state(q, B, u, self.agent.B_dependencies))
            prior = propagate(start, self.agent.B, self.actions[:, first - 1])
        past = self.no_actions() if t == 0 else self.actions[:, first:]
        return self.agent.infer_states(
            self.observed(first, t), empirical_prior=prior, past_actions=past, return_info=True
        )

    def learn(self, t: int, beliefs: list[jax.Array]) -> None:
        if not (self.agent.learn_A or self.agent.learn_B):
            return
        rates = {"lr_pA": self.spec.get("lr_pA", 1.0), "lr_pB": self.spec.get("lr_pB", 1.0)}
        if self.algo in ("mmp", "vmp"):
            first = max(0, t - self.horizon + 1)
            actions = self.no_actions() if t == 0 else self.actions[:, first:]
            self.agent = self.agent.infer_parameters(
                beliefs, self.observed(first, t), actions, beliefs_B=beliefs if self.agent.learn_B else None, **rates
            )
        elif self.algo in ("exact", "ovf"):
            self.learn_smoothed(t, beliefs, rates)
        else:
            observations = [o[:, None] for o in self.observed(t, t)]
            both = None
            if self.agent.learn_B and t > 0:
                both = [jnp.concatenate([a, b], axis=1) for a, b in zip(self.last, beliefs, strict=True)]
            actions = self.no_actions() if t == 0 else self.actions[:, -1:]
            self.agent = self.agent.infer_parameters(beliefs, observations, actions, beliefs_B=both, **rates)

    def learn_smoothed(self, t: int, beliefs: list[jax.Array], rates: dict[str, float]) -> None:
        """The window has its full length from the start; what has not happened is marked, as the rollout marks it."""
        length = self.horizon
        if t == 0:
            self.filtered = [jnp.repeat(D[:, None], length, axis=1) for D in self.agent.D]
        self.filtered = [jnp.concatenate([w[:, 1:], q], axis=1) for w, q in zip(self.filtered, beliefs, strict=True)]
        absent = max(0, length - 1 - t)
        first = t - (length - 1 - absent)
        observations = [
            jnp.concatenate([jnp.zeros((self.members, absent, p.shape[2])), p[:, first : t + 1]], axis=1)
            for p in self.given
        ]
        actions = -jnp.ones((self.members, absent, len(self.agent.B)), dtype=int)
        if t > 0:
            actions = jnp.concatenate([actions, self.actions[:, first:]], axis=1)
        self.agent = self.agent.infer_parameters(
            self.filtered, observations, actions, beliefs_B=self.filtered if self.agent.learn_B else None, **rates
        )

    def tree_step(self, t: int, policy: int) -> dict[str, Any]:
        agent = self.agent
        prior = agent.D if t == 0 else agent.update_empirical_prior(self.actions, self.last)
        observation = [jnp.asarray(p[:, t].argmax(axis=1)) for p in self.given]
        beliefs = agent.infer_states(observation, empirical_prior=prior)
        search = si_policy_search(
            horizon=self.spec["policy_len"], max_nodes=400, max_branching=8, gamma=self.spec["gamma"]
        )
        q_pi, _ = search(agent, beliefs)
        self.last, self.actions = beliefs, jnp.tile(agent.policies.policy_arr[policy, 0], (self.members, 1))
        return {f"beliefs/{f}": q[:, -1] for f, q in enumerate(beliefs)} | {"q_pi": q_pi}

    def no_actions(self) -> jax.Array:
        return jnp.zeros((self.members, 0, len(self.agent.B)), dtype=int)


if __name__ == "__main__":
    main(*sys.argv[1:])
