"""Agents of every algorithm: inference, planning, profiles, all of them learning what they can."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from beliefd.model import Model
from models import random_model, random_per_agent, with_counts

ALGORITHMS: dict[str, dict[str, Any]] = {
    "fpi": {},
    "exact": {"inference_algo": "exact", "inference_horizon": 3},
    "ovf": {"inference_algo": "ovf", "inference_horizon": 3},
    "mmp": {"inference_algo": "mmp", "inference_horizon": 3},
    "vmp": {"inference_algo": "vmp", "inference_horizon": 3},
    "legacy": {"profile": "legacy"},
    "spm": {"profile": "spm"},
    "per policy": {"profile": "spm", "inference_algo": "mmp", "inference_horizon": 3, "update_gamma": True},
    "novelty": {"use_param_info_gain": True},
    "goals": {"use_inductive": True, "learn_B": False},
    "Occam's window": {"occam_window": 1.0},
    "tree": {"planner": "sophisticated", "policy_len": 2},
    "sampled tree": {"planner": "mcts", "policy_len": 3, "num_simulations": 12},
}


def model_of(name: str, rng: np.random.Generator) -> Model:
    """A random model of this algorithm, in float32, that draws its actions and learns."""
    options = ALGORITHMS[name]
    grows_a_tree = "planner" in options
    plain: dict[str, Any] = {"dtype": "float32", "coupled": False, "action_selection": "stochastic"}
    if grows_a_tree:
        plain |= {"policy_len": 1, "E": None}
    while True:
        model = random_model(rng, **plain)
        branches = len(model.policies) * math.prod(model.num_obs)
        if not ((name == "exact" and len(model.B) > 1) or (grows_a_tree and not 1 < branches <= 64)):
            break
    looks_back = "inference_horizon" in options
    learned = {"fr_pA": 0.9, "learn_C": not looks_back and not grows_a_tree, "learn_E": not grows_a_tree}
    return with_counts(rng, model, **learned | options)


def own_of(name: str, rng: np.random.Generator, model: Model, agents: int) -> dict[str, Any]:
    """Parameters of agents' own that this algorithm takes."""
    own = random_per_agent(rng, model, agents)
    if name == "goals":
        own["pB"] = None
    return own
