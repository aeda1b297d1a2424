"""Two levels in one model: the upper level sets where the lower one begins and what it wants, at a pace of its own.

The lower level runs through episodes of a number of steps. Within them the upper level stands still; it moves once per
episode, and each episode of the lower level begins from a distribution that the upper level's state chooses, and goes
after preferences that it chooses. Friston, Rosch, Parr, Price, Bowman (2017), Deep temporal models and active
inference, Neurosci. Biobehav. Rev. 77.

Written out, this is one model whose factors are those of the upper level, a clock, and those of the lower level. So
agents of two levels are agents like all others: everywhere, at the same promises.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from beliefd import validation
from beliefd.model import Model
from beliefd_proto.errors import InvalidModel

__all__ = ["compose"]

Reals = NDArray[np.float64]


def compose(
    upper: Model,
    lower: Model,
    D: Mapping[int, tuple[int, ArrayLike]],
    steps: int,
    C: Mapping[int, tuple[int, ArrayLike]] | None = None,
    **options: Any,
) -> Model:
    """Compose a model of two levels.

    Parameters
    ----------
    upper, lower : Model
        Of their A, B, C, D and dependencies the composed model is made; their other options do not enter.
    D : mapping
        Per factor of the lower level that the upper one sets: which factor of the upper level sets it, and the
        distribution over its first states, shape (num_states of the lower factor, num_states of the upper factor).
        Other factors of the lower level begin each episode from its own D. It may be empty where C is given.
    steps : int
        Of the lower level in an episode, 2..4096.
    C : mapping, optional
        Per modality of the lower level whose preferences the upper one sets: which factor of the upper level sets them,
        and the preferences in each of its states, in nats, shape (num_obs of the modality, num_states of the upper
        factor). Other modalities keep the lower level's own C.
    **options
        Of `Model`. What the lower level observes reaches the upper one backward in time, so `inference_algo` is "vmp"
        unless said otherwise, over an `inference_horizon` of two episodes.

    Returns
    -------
    Model
        Its factors are those of the upper level, the clock, and those of the lower level; its modalities and controls
        those of the upper level and then of the lower. The clock of an agent starts at the last step of an episode: its
        first step comes before all episodes, and observes nothing of the lower level. The upper level moves, by its
        own controls, at the transition to the last step of an episode.

    Raises
    ------
    InvalidModel
    """
    steps = validation.whole(steps, "steps", 2, 4096)
    links, wants = _links(upper, lower, D), _wants(upper, lower, {} if C is None else C)
    if not links and not wants:
        raise InvalidModel("the upper level sets nothing", field="D", value="{}", allowed="one factor or more, or C")
    clock = len(upper.B)
    shift, control_shift = clock + 1, len(upper.num_controls)
    B: list[Reals] = []
    parents: list[list[int]] = []
    actions: list[list[int]] = []
    for f, (tensor, deps) in enumerate(zip(upper.B, upper.B_dependencies, strict=True)):
        moving, own = _with_own_axis(tensor, f, list(deps))
        resting = np.broadcast_to(_identity(moving.shape, own.index(f)), moving.shape)
        slices = [moving if t == steps - 2 else resting for t in range(steps)]
        B.append(np.stack(slices, axis=1 + len(own)))
        parents.append([*own, clock])
        actions.append(list(upper.B_action_dependencies[f]))
    B.append(np.roll(np.eye(steps), 1, axis=0))
    parents.append([clock])
    actions.append([])
    for f, (tensor, deps) in enumerate(zip(lower.B, lower.B_dependencies, strict=True)):
        rank, own = 1 + len(deps), [shift + p for p in deps]
        within, start = tensor, lower.D[f].reshape(-1, *[1] * (tensor.ndim - 1))
        if f in links:
            setter, first = links[f]
            own.append(setter)
            within = np.repeat(np.expand_dims(tensor, rank), upper.num_states[setter], axis=rank)
            start = first.reshape(len(first), *[1] * len(deps), first.shape[1], *[1] * (tensor.ndim - rank))
            rank += 1
        slices = [np.broadcast_to(start, within.shape) if t == steps - 1 else within for t in range(steps)]
        B.append(np.stack(slices, axis=rank))
        parents.append([*own, clock])
        actions.append([control_shift + c for c in lower.B_action_dependencies[f]])
    A, A_parents, preferences, C_parents = list(lower.A), [], list(lower.C), []
    for m, (seen_of, worth_of) in enumerate(zip(lower.A_dependencies, lower.C_dependencies, strict=True)):
        A_parents.append([shift + f for f in seen_of])
        C_parents.append([shift + f for f in worth_of])
        if m in wants:
            setter, preferences[m] = wants[m]
            A[m] = np.repeat(A[m][..., np.newaxis], upper.num_states[setter], axis=-1)
            A_parents[m].append(setter)
            C_parents[m] = [setter]
    starts = [links[f][1] @ upper.D[links[f][0]] if f in links else lower.D[f] for f in range(len(lower.B))]
    arguments: dict[str, Any] = {
        "A": [*upper.A, *A],
        "B": B,
        "C": [*upper.C, *preferences],
        "D": [*upper.D, np.eye(steps)[steps - 1], *starts],
        "A_dependencies": [*upper.A_dependencies, *A_parents],
        "C_dependencies": [*upper.C_dependencies, *C_parents],
        "B_dependencies": parents,
        "B_action_dependencies": actions,
        "num_controls": [*upper.num_controls, *lower.num_controls],
        "control_fac_idx": [*upper.control_fac_idx, *(control_shift + c for c in lower.control_fac_idx)],
        "inference_algo": "vmp",
        "dtype": lower.dtype,
    }
    if options.get("inference_algo", "vmp") in ("mmp", "vmp"):
        arguments["inference_horizon"] = 2 * steps
    return Model(**(arguments | options))


def _entries(value: Any, field: str) -> list[tuple[Any, Any]]:
    if not isinstance(value, Mapping):
        raise InvalidModel(
            "what the upper level sets comes by factor, or by modality",
            field=field,
            value=type(value).__name__,
            allowed="a mapping to pairs (factor of the upper level, array)",
        )
    return list(value.items())


def _pair(entry: Any, field: str) -> tuple[Any, Any]:
    if not isinstance(entry, (tuple, list)) or len(entry) != 2:
        raise InvalidModel(
            "not a pair", field=field, value=type(entry).__name__, allowed="(factor of the upper level, array)"
        )
    return entry[0], entry[1]


def _links(upper: Model, lower: Model, D: Mapping[int, tuple[int, ArrayLike]]) -> dict[int, tuple[int, Reals]]:
    links = {}
    for factor, entry in _entries(D, "D"):
        f = validation.whole(factor, "D", 0, len(lower.B) - 1)
        setter, value = _pair(entry, f"D[{f}]")
        g = validation.whole(setter, f"D[{f}][0]", 0, len(upper.B) - 1)
        first = validation.distribution(value, f"D[{f}][1]", rank=2)
        validation.shape(first, f"D[{f}][1]", (lower.num_states[f], upper.num_states[g]))
        links[f] = (g, first)
    return links


def _wants(upper: Model, lower: Model, C: Mapping[int, tuple[int, ArrayLike]]) -> dict[int, tuple[int, Reals]]:
    wants = {}
    for modality, entry in _entries(C, "C"):
        m = validation.whole(modality, "C", 0, len(lower.A) - 1)
        setter, value = _pair(entry, f"C[{m}]")
        g = validation.whole(setter, f"C[{m}][0]", 0, len(upper.B) - 1)
        shape = (lower.num_obs[m], upper.num_states[g])
        wants[m] = (g, validation.preferences(value, f"C[{m}][1]", shape, steps=1))
    return wants


def _with_own_axis(tensor: Reals, f: int, parents: list[int]) -> tuple[Reals, list[int]]:
    """A transition that has its own factor among the parents, as standing still needs it."""
    if f in parents:
        return tensor, parents
    axis = 1 + len(parents)
    return np.repeat(np.expand_dims(tensor, axis), len(tensor), axis=axis), [*parents, f]


def _identity(shape: tuple[int, ...], own: int) -> Reals:
    """The transition that changes nothing; `own` says which parent is the factor itself."""
    states = shape[0]
    broad = [1] * len(shape)
    broad[0] = broad[1 + own] = states
    return np.eye(states).reshape(broad)
