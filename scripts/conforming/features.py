"""What is compared, feature by feature: a row of the table each."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import cases
import numpy as np

from beliefd import hierarchy
from beliefd.model import Model
from models import by_state, changed, random_model, redrawn, with_counts

Maker = Callable[[np.random.Generator, bool, int], Model]
"""Makes model `n` of a feature; sharp ones have zeros, ties and nearly deterministic columns."""


@dataclass(frozen=True)
class Feature:
    """A feature, and how models that have it are made.

    Attributes
    ----------
    oracle : callable
        Makes the models that the kernels and the oracle are compared on.
    pymdp, legacy : callable, or None
        Makes those for pymdp 1.0.4 and 0.0.7.1, which do less; None where one does not have the feature.
    own : bool
        Whether agents have parameters of their own.
    reduced : bool
        Whether what they learned is compared under another prior too.
    drawn : float
        How many times as many models are drawn beside pymdp, of those where a tie decides so often that too few were
        left to compare.
    """

    oracle: Maker
    pymdp: Maker | None = None
    legacy: Maker | None = None
    own: bool = False
    reduced: bool = False
    drawn: float = 1.0

    def maker(self, peer: str) -> Maker | None:
        return self.pymdp if peer == "pymdp-1.0.4" else self.legacy


def plain(rng: np.random.Generator, sharp: bool, n: int, **options: Any) -> Model:
    model: Model = random_model(rng, sharp=sharp, **options)
    return model


def controls(rng: np.random.Generator, sharp: bool, n: int) -> Model:
    model: Model = redrawn(rng, cases.controls(rng, sharp, n), sharp)
    return model


def coupled(rng: np.random.Generator, sharp: bool, n: int) -> Model:
    return plain(rng, sharp, n, coupled=True)


def learner(rng: np.random.Generator, sharp: bool, n: int) -> Model:
    learned = {f"learn_{letter}": bool(rng.random() < 0.7) for letter in "ABD"}
    kept = {f"fr_p{letter}": float(rng.choice([1.0, 0.9])) for letter in "ABD"}
    options = {**learned, **kept, "learn_E": False, "keep_zeros": bool(rng.random() < 0.5)}
    model: Model = with_counts(rng, plain(rng, sharp, n), **options)
    return model


def reducible(rng: np.random.Generator, sharp: bool, n: int) -> Model:
    """Agents that forget nothing: no count falls below what it was, which another prior could not explain."""
    model: Model = with_counts(rng, plain(rng, sharp, n), learn_E=False)
    return model


def novelty(rng: np.random.Generator, sharp: bool, n: int) -> Model:
    learned = {f"learn_{letter}": bool(rng.random() < 0.5) for letter in "ABD"} | {"learn_E": False}
    model: Model = with_counts(rng, plain(rng, sharp, n), **learned, use_param_info_gain=True)
    return model


def own_parameters(rng: np.random.Generator, sharp: bool, n: int) -> Model:
    """Counts of D and E would hold agents to the zeros of the model's. Zeros that grow are infinitely novel."""
    options = {"pD": None, "learn_D": False, "pE": None, "learn_E": False, "keep_zeros": False}
    learned = {f"learn_{letter}": not sharp and bool(rng.random() < 0.5) for letter in "AB"}
    model: Model = with_counts(rng, plain(rng, sharp, n), **options, **learned, use_param_info_gain=True)
    return model


def habits(rng: np.random.Generator, sharp: bool, n: int) -> Model:
    """Agents that learn preferences and habits."""
    model = plain(rng, sharp, n)
    rates = {f"{rate}_p{letter}": float(rng.choice([1.0, 0.9])) for rate in ("lr", "fr") for letter in "CE"}
    options = {"learn_A": False, "learn_B": False, "learn_D": False, "learn_C": True, "learn_E": True}
    made: Model = with_counts(rng, model, **options, **rates)
    return made


def window(algo: str, learns: bool) -> Maker:
    """Agents that look back: with message passing, or to learn."""

    def make(rng: np.random.Generator, sharp: bool, n: int) -> Model:
        options: dict[str, Any] = {"inference_algo": algo, "inference_horizon": int(rng.integers(1, 5))}
        if algo in ("exact", "ovf"):
            options["coupled"] = False
        model = plain(rng, sharp, n, **options | {"inference_algo": "ovf" if algo == "exact" else algo})
        while algo == "exact" and len(model.B) > 1:
            model = plain(rng, sharp, n, **options | {"inference_algo": "ovf"})
        if not learns:
            return model
        zeros = {"keep_zeros": bool(rng.random() < 0.5), "learn_E": False}
        learner: Model = with_counts(rng, model, inference_algo=algo, **zeros)
        return learner

    return make


def profiled(profile: str, maker: Maker) -> Maker:
    """The same models under another profile."""

    def make(rng: np.random.Generator, sharp: bool, n: int) -> Model:
        model: Model = changed(maker(rng, sharp, n), profile=profile)
        return model

    return make


def tree(rng: np.random.Generator, sharp: bool, n: int) -> Model:
    """Few policies and observations: the oracle takes its time."""
    while True:
        model = plain(rng, sharp, n, planner="sophisticated", policy_len=1, E=None)
        if 1 < len(model.policies) * math.prod(model.num_obs) <= 32:
            grown: Model = changed(model, policy_len=2, gamma=float(rng.uniform(0.4, 1.5)), num_iter=4)
            return grown


def sampled_tree(rng: np.random.Generator, sharp: bool, n: int) -> Model:
    """A few simulations, so that every agent has another tree."""
    while True:
        model = plain(rng, sharp, n, planner="mcts", policy_len=1, E=None)
        if 1 < len(model.policies) * math.prod(model.num_obs) <= 200:
            options = {"policy_len": int(rng.integers(2, 5)), "num_simulations": int(rng.integers(2, 20))}
            grown: Model = changed(model, **options, num_iter=4)
            return grown


def two_levels(rng: np.random.Generator, sharp: bool, n: int) -> Model:
    """Of a factor each; the upper level sets where the lower one begins, and in half of them what it wants."""

    def level() -> Model:
        while True:
            model = plain(rng, sharp, n, policy_len=1, E=None)
            if len(model.B) == 1 and len(model.policies) <= 3:
                return model

    upper, lower = level(), level()
    first = rng.dirichlet(np.full(lower.num_states[0], 0.5), upper.num_states[0]).T
    wants = {0: (0, rng.normal(0.0, 1.5, (lower.num_obs[0], upper.num_states[0])))} if n % 2 else None
    options = {
        name: getattr(lower, name) for name in ("gamma", "alpha", "action_selection", "sampling_mode", "num_iter")
    }
    steps = int(rng.integers(2, 4))
    made: Model = hierarchy.compose(upper, lower, {0: (0, first)}, steps, C=wants, policy_len=2, **options)
    return made


def own_tree(rng: np.random.Generator, sharp: bool, n: int) -> Model:
    """With preferences that change from step to step."""
    model = tree(rng, sharp, n)
    over_time: Model = changed(model, C=[rng.normal(size=(model.policy_len, size)) for size in model.num_obs])
    return over_time


def pruned(rng: np.random.Generator, sharp: bool, n: int) -> Model:
    return plain(rng, sharp, n, occam_window=float(rng.uniform(0.1, 5.0)))


def inductive(rng: np.random.Generator, sharp: bool, n: int) -> Model:
    learned = {"learn_A": False, "learn_B": n % 3 == 0, "learn_D": False, "learn_E": False}
    model: Model = with_counts(rng, plain(rng, sharp, n), **learned, use_inductive=True)
    return model


def preferences_over_time(rng: np.random.Generator, sharp: bool, n: int) -> Model:
    model = plain(rng, sharp, n)
    over_time: Model = changed(model, C=[rng.normal(size=(model.policy_len, size)) for size in model.num_obs])
    return over_time


def preferences_by_state(rng: np.random.Generator, sharp: bool, n: int) -> Model:
    """Half of them with likelihoods that agents learn."""
    model: Model = by_state(rng, plain(rng, sharp, n))
    if n % 2 == 0:
        return model
    learned: Model = with_counts(rng, model, pC=None, learn_B=False, learn_D=False, learn_E=False)
    return learned


def per_policy(profile: str, **options: Any) -> Maker:
    """Few policies: the oracle infers under each."""

    def make(rng: np.random.Generator, sharp: bool, n: int) -> Model:
        window = {"inference_algo": "mmp", "inference_horizon": int(rng.integers(1, 5)), "coupled": False}
        while True:
            model = plain(rng, sharp, n, **({"profile": profile} | window | options))
            if len(model.policies) <= 16:
                return model

    return make


def all_under_policies(profile: str) -> Maker:
    """With factors that depend on others, goals and preferences over time."""

    def make(rng: np.random.Generator, sharp: bool, n: int) -> Model:
        model = per_policy(profile, coupled=True)(rng, sharp, n)
        times = model.policy_len + 1
        options = {"pC": None, "learn_E": False, "use_inductive": n % 2 == 0}
        options |= {f"learn_{letter}": n % 3 == 0 for letter in "ABD"}
        made: Model = with_counts(rng, model, **options)
        if n % 4 < 2:
            made = changed(made, C=[rng.normal(size=(times, size)) for size in model.num_obs])
        return made

    return make


def full(maker: Maker, **options: Any) -> Maker:
    """The same with no count that is 0: pymdp's floor under a mean makes something of it, and learning shows it."""

    def make(rng: np.random.Generator, sharp: bool, n: int) -> Model:
        model = maker(rng, sharp, n)
        counts = {f"p{letter}": [rng.uniform(1.0, 4.0, p.shape) for p in getattr(model, letter)] for letter in "AB"}
        filled: Model = changed(model, **counts, **options)
        return filled

    return make


FEATURES: dict[str, Feature] = {
    "state inference, policies, action": Feature(plain, cases.plain),
    "transitions that depend on several factors": Feature(coupled, lambda *of: cases.plain(*of, coupled=True)),
    "preferences over time": Feature(preferences_over_time, cases.preferences_over_time),
    "preferences that depend on states": Feature(preferences_by_state),
    "controls that move several factors": Feature(controls, controls),
    "inductive inference": Feature(inductive, cases.inductive, drawn=1.25),
    "learning of A, B, D": Feature(learner, full(cases.novelty, use_param_info_gain=False)),
    "Bayesian model reduction": Feature(reducible, reduced=True),
    "parameters per agent": Feature(own_parameters, full(cases.novelty), own=True),
    "learning of C and E": Feature(habits),
    "novelty": Feature(novelty, full(cases.novelty)),
    "message passing (mmp)": Feature(window("mmp", learns=False), cases.window("mmp", coupled=False, learns=False)),
    "message passing (vmp)": Feature(window("vmp", learns=False), cases.window("vmp", coupled=False, learns=False)),
    "message passing (mmp), learning": Feature(window("mmp", True), full(cases.PYMDP["mmp learning"])),
    "message passing (vmp), learning": Feature(window("vmp", True), full(cases.PYMDP["vmp learning"])),
    "smoothing (exact), learning": Feature(window("exact", True), full(cases.PYMDP["exact learning"])),
    "smoothing (ovf), learning": Feature(window("ovf", True), full(cases.PYMDP["ovf learning"])),
    "Occam's window": Feature(pruned),
    "sophisticated inference": Feature(tree, cases.small_tree),
    "sophisticated inference, parameters per agent": Feature(own_tree, own=True),
    "Monte Carlo tree search": Feature(sampled_tree),
    "two levels": Feature(two_levels),
    'profile "legacy"': Feature(profiled("legacy", plain), legacy=cases.LEGACY["fpi"]),
    'profile "legacy", learning': Feature(profiled("legacy", learner), legacy=cases.LEGACY["fpi learning"]),
    'profile "legacy", novelty': Feature(profiled("legacy", novelty), legacy=cases.LEGACY["fpi novelty"]),
    'profile "legacy", beliefs under each policy': Feature(per_policy("legacy"), legacy=cases.LEGACY["mmp"]),
    'profile "legacy", beliefs under each policy, preferences over time': Feature(
        cases.LEGACY["mmp preferences over time"], legacy=cases.LEGACY["mmp preferences over time"]
    ),
    'profile "legacy", message passing (vmp)': Feature(profiled("legacy", window("vmp", learns=False))),
    'profile "legacy", sophisticated inference': Feature(profiled("legacy", tree)),
    'profile "legacy", Monte Carlo tree search': Feature(profiled("legacy", sampled_tree)),
    'profile "spm"': Feature(profiled("spm", plain)),
    'profile "spm", learning': Feature(profiled("spm", learner)),
    'profile "spm", novelty': Feature(profiled("spm", novelty)),
    'profile "spm", beliefs under each policy': Feature(per_policy("spm")),
    'profile "spm", beliefs under each policy, several parents, goals': Feature(all_under_policies("spm")),
    'profile "spm", sophisticated inference': Feature(profiled("spm", tree)),
    'profile "spm", Monte Carlo tree search': Feature(profiled("spm", sampled_tree)),
    'profile "spm", precision updated': Feature(per_policy("spm", update_gamma=True)),
}
