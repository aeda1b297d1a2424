"""The set of policies of a model: enumerated, or given by the caller and checked."""

from __future__ import annotations

import math
import warnings
from typing import Any

import numpy as np
from numpy.typing import NDArray

from beliefd import validation
from beliefd.advice import ModelWarning
from beliefd_proto.errors import InvalidModel

MAX_POLICIES = 1_000_000
MAX_POLICY_BYTES = 256 * 2**20
MANY_POLICIES = 50_000
"""Above this a set is warned of before it is built."""

_LANE_BYTES = 64 * 4
"""What a policy takes of a worker's memory beside itself: a number for each agent of a tile."""


def enumerate_policies(
    num_controls: tuple[int, ...], control_fac_idx: tuple[int, ...], policy_len: int
) -> NDArray[np.int32]:
    """All products of the controls, repeated `policy_len` times.

    The factor is the fastest index within a step, the last step the fastest of all. A factor outside
    `control_fac_idx` takes action 0 throughout, so it adds no policies.

    Returns
    -------
    ndarray of int32, shape (policies, policy_len, factors), read-only

    Raises
    ------
    InvalidModel
        Where the set would pass `MAX_POLICIES` or `MAX_POLICY_BYTES`; nothing has been built then.
    """
    choices = [controls if f in control_fac_idx else 1 for f, controls in enumerate(num_controls)]
    count = _checked_count(choices, policy_len)
    policies = np.zeros((count, policy_len, len(choices)), dtype=np.int32)
    rest = np.arange(count)
    for t in reversed(range(policy_len)):
        for f in reversed(range(len(choices))):
            if choices[f] > 1:
                policies[:, t, f] = rest % choices[f]
                rest //= choices[f]
    validation.freeze(policies)
    return policies


def given_policies(value: Any, num_controls: tuple[int, ...], control_fac_idx: tuple[int, ...]) -> NDArray[np.int32]:
    """Checks the caller's policies: integers (policies, policy_len, factors), or two axes where there is one factor.

    Returns
    -------
    ndarray of int32, shape (policies, policy_len, factors), read-only
    """
    array = validation.integers(value, "policies")
    num_factors = len(num_controls)
    if array.ndim == 2 and num_factors == 1:
        array = array[:, :, np.newaxis]
    if array.ndim != 3 or array.shape[2] != num_factors or 0 in array.shape:
        raise InvalidModel(
            "wrong shape", field="policies", value=array.shape, allowed=f"(policies, policy_len, {num_factors}), none 0"
        )
    if array.shape[0] > MAX_POLICIES or array.size * 4 > MAX_POLICY_BYTES:
        raise _too_many(f"{array.shape[0]:,}", array.size * 4)
    for f, controls in enumerate(num_controls):
        # An uncontrolled factor always reports action 0, so a policy that moves it would contradict the report.
        highest = controls - 1 if f in control_fac_idx else 0
        bad = (array[:, :, f] < 0) | (array[:, :, f] > highest)
        if bad.any():
            p, t = (int(i) for i in np.argwhere(bad)[0])
            reason = "no such action" if f in control_fac_idx else "an uncontrolled factor must take action 0"
            raise InvalidModel(
                reason, field="policies", index=(p, t, f), value=int(array[p, t, f]), allowed=f"0..{highest}"
            )
    policies = np.ascontiguousarray(array, dtype=np.int32)
    validation.freeze(policies)
    return policies


def _checked_count(choices: list[int], policy_len: int) -> int:
    # Logarithms first: the exact product may have more digits than there is memory.
    digits = policy_len * math.fsum(math.log10(n) for n in choices)
    if digits > 15:
        raise _too_many(f"about 10^{int(digits)}", None)
    count: int = math.prod(choices) ** policy_len
    size_bytes = count * policy_len * len(choices) * 4
    if count > MAX_POLICIES or size_bytes > MAX_POLICY_BYTES:
        raise _too_many(f"{count:,}", size_bytes)
    if count > MANY_POLICIES:
        memory = f"{(size_bytes + count * _LANE_BYTES) / 2**20:,.0f} MiB in each process, and more while it is compiled"
        warnings.warn(
            f"the policy set has {count:,} policies and takes {memory}; "
            "lower policy_len, control fewer factors, or give policies",
            ModelWarning,
            stacklevel=5,
        )
    return count


def _too_many(count: str, size_bytes: int | None) -> InvalidModel:
    memory = "more memory than there is" if size_bytes is None else f"{size_bytes / 2**20:,.0f} MiB"
    return InvalidModel(
        f"the policy set would have {count} policies and take {memory}; "
        "lower policy_len, control fewer factors, or give policies",
        field="policies",
        value=count,
        allowed=f"at most {MAX_POLICIES:,} policies and {MAX_POLICY_BYTES // 2**20} MiB",
    )
