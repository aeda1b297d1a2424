"""Runs inferactively-pymdp over random models and histories and keeps what it computes; see scripts/references.

pymdp runs in float64, one agent, on a forced history of actions, so that ties between policies decide nothing. It is
given every observation as a distribution: an index as one-hot, a missing one as zeros, which adds nothing to the
log-likelihood. (Its own `mask` argument changes the agent's A for good, so it is not used.)

What is not compared: the actions that pymdp samples, since its random numbers and its tie rule are its own; resets,
which it does not have; float32.

Layout of the file: ``spec`` is a JSON list of model specs; ``case3/A0`` and so on are the tensors of the model of case
3. Per case: ``given/0`` (ticks, num_obs[0]) and so on, the observations as distributions; ``forced`` (ticks, factors),
the actions; and the outputs ``beliefs/0`` (ticks, num_states[0]) and so on, ``q_pi`` and ``neg_efe`` (ticks, policies),
``vfe`` (ticks,).
"""

from __future__ import annotations

import json
import sys
from typing import Any

import jax

jax.config.update("jax_enable_x64", True)

import jax.numpy as jnp  # noqa: E402 - the precision has to be chosen first
import numpy as np  # noqa: E402
from numpy.typing import NDArray  # noqa: E402
from pymdp.agent import Agent  # noqa: E402

from beliefd.model import Model  # noqa: E402
from models import random_model, random_observation, tmaze  # noqa: E402

TICKS = 12
PLAIN_CASES = 24
COUPLED_CASES = 6


def main(path: str) -> None:
    models = [random_model(np.random.default_rng(n), sharp=n % 2 == 1, coupled=False) for n in range(PLAIN_CASES)]
    models += [
        random_model(np.random.default_rng(100 + n), sharp=n % 2 == 1, coupled=True) for n in range(COUPLED_CASES)
    ]
    models.append(tmaze(dtype="float64"))
    contents: dict[str, NDArray[Any]] = {"spec": np.array(json.dumps([model.spec() for model in models]))}
    for n, model in enumerate(models):
        arrays = model.tensors() | run(model, np.random.default_rng(1000 + n))
        contents |= {f"case{n}/{name}": array for name, array in arrays.items()}
        print(f"case {n}: {model}", file=sys.stderr)
    np.savez_compressed(path, **contents)


def run(model: Model, rng: np.random.Generator) -> dict[str, NDArray[Any]]:
    agent = pymdp_agent(model)
    record: dict[str, list[Any]] = {}
    prior = agent.D
    for _ in range(TICKS):
        given = [
            as_distribution(entry, n)
            for entry, n in zip(
                random_observation(rng, model, missing=0.1, categorical=0.2), model.num_obs, strict=True
            )
        ]
        forced = model.policies[rng.integers(len(model.policies)), 0]
        observation = [jnp.asarray(p)[None] for p in given]
        beliefs, details = agent.infer_states(observation, empirical_prior=prior, return_info=True)
        q_pi, neg_efe = agent.infer_policies(beliefs)
        prior = agent.update_empirical_prior(jnp.asarray(forced)[None], beliefs)
        outputs = {"forced": forced, "q_pi": q_pi[0], "neg_efe": neg_efe[0], "vfe": details["vfe"][0]}
        outputs |= {f"given/{m}": p for m, p in enumerate(given)}
        outputs |= {f"beliefs/{f}": q[0, -1] for f, q in enumerate(beliefs)}
        for name, value in outputs.items():
            record.setdefault(name, []).append(np.asarray(value))
    return {name: np.stack(values) for name, values in record.items()}


def pymdp_agent(model: Model) -> Agent:
    def batched(arrays: tuple[NDArray[Any], ...]) -> list[jax.Array]:
        return [jnp.asarray(array)[None] for array in arrays]

    return Agent(
        A=batched(model.A),
        B=batched(model.B),
        C=batched(model.C),
        D=batched(model.D),
        E=jnp.asarray(model.E)[None],
        A_dependencies=[list(row) for row in model.A_dependencies],
        B_dependencies=[list(row) for row in model.B_dependencies],
        control_fac_idx=list(model.control_fac_idx) or None,
        policies=jnp.asarray(model.policies),
        policy_len=model.policy_len,
        gamma=model.gamma,
        alpha=model.alpha,
        use_utility=model.use_utility,
        use_states_info_gain=model.use_states_info_gain,
        categorical_obs=True,
        inference_algo=model.inference_algo,
        num_iter=model.num_iter,
        batch_size=1,
    )


def as_distribution(entry: int | NDArray[np.float64], num_obs: int) -> NDArray[np.float64]:
    if isinstance(entry, int):
        return np.eye(num_obs)[entry] if entry >= 0 else np.zeros(num_obs)
    return entry


if __name__ == "__main__":
    main(sys.argv[1])
