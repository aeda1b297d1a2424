"""How the agent's controls move the factors: which axes of B are actions."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
from numpy.typing import NDArray

from beliefd import validation
from beliefd_proto.errors import InvalidModel


def control_sizes(
    B: tuple[NDArray[np.float64], ...],
    num_parents: list[int],
    B_action_dependencies: tuple[tuple[int, ...], ...],
    num_controls: Any,
) -> tuple[int, ...]:
    """Actions per control, as the axes of B and `num_controls` say; a contradiction between them is refused."""
    found: dict[int, int] = {}
    for f, (tensor, parents, controls) in enumerate(zip(B, num_parents, B_action_dependencies, strict=True)):
        for control, actions in zip(controls, tensor.shape[1 + parents :], strict=True):
            if found.setdefault(control, actions) != actions:
                raise InvalidModel(
                    f"another B has another number of actions for control {control}",
                    field=f"B[{f}]",
                    value=actions,
                    allowed=str(found[control]),
                )
    if num_controls is None:
        missing = sorted(set(range(max(found, default=0) + 1)) - set(found))
        if missing:
            raise InvalidModel(
                f"no B says how many actions control {missing[0]} has; give num_controls",
                field="num_controls",
                allowed="one entry per control",
            )
        return tuple(found[control] for control in range(len(found)))
    entries = validation.sequence(num_controls, "num_controls")
    if len(entries) <= max(found, default=0):
        raise InvalidModel(
            "wrong number of entries", field="num_controls", value=len(entries), allowed=f"at least {max(found) + 1}"
        )
    return tuple(
        validation.whole(
            entry, f"num_controls[{control}]", found.get(control, 1), found.get(control, validation.MAX_AXIS)
        )
        for control, entry in enumerate(entries)
    )


def joint_action_axis(tensor: NDArray[np.float64], num_parents: int) -> NDArray[np.float64]:
    """B_f with its action axes made one, the last control fastest; an axis of 1 where it has none. No copy."""
    return tensor.reshape(*tensor.shape[: 1 + num_parents], math.prod(tensor.shape[1 + num_parents :]))


def joint_actions(
    actions: NDArray[np.int32], B_action_dependencies: tuple[tuple[int, ...], ...], num_controls: tuple[int, ...]
) -> NDArray[np.int32]:
    """Per factor, the index of `actions` on its joint action axis.

    Parameters
    ----------
    actions : ndarray of int32, shape (..., controls)

    Returns
    -------
    ndarray of int32, shape (..., factors)
    """
    joint = np.zeros((*actions.shape[:-1], len(B_action_dependencies)), dtype=np.int32)
    for f, controls in enumerate(B_action_dependencies):
        for control in controls:
            joint[..., f] = joint[..., f] * num_controls[control] + actions[..., control]
    return joint
