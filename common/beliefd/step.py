"""What a step gives back."""

from __future__ import annotations

from functools import cached_property

import msgspec
import numpy as np
from numpy.typing import NDArray

from beliefd_proto.errors import InvalidArgument


class Step(msgspec.Struct, frozen=True, eq=False, dict=True):
    """The answer to one step of n agents, in the order of the call.

    Attributes
    ----------
    actions : ndarray of int32, shape (n, factors)
        The action per factor; 0 for a factor that the agent does not control.
    tick : ndarray of int64, shape (n,)
        The tick that the step committed, per agent; an agent's first step is tick 1. Where all have the same it
        may be read-only.
    control_fac_idx : tuple of int
        The factors that the agents control.
    beliefs : list of ndarray, or None
        Posterior over hidden states after the observation, one array (n, num_states[f]) per factor.
    q_pi : ndarray, shape (n, policies), or None
        Posterior over policies.
    neg_efe : ndarray, shape (n, policies), or None
        Negative expected free energy of each policy, in nats.
    vfe : ndarray, shape (n,), or None
        Variational free energy of the beliefs, in nats.
    utility, info_gain, inductive, novelty : ndarray, shape (n, policies), or None
        What `neg_efe` is the sum of, in nats: expected preference, expected information about states, how far from the
        path to a goal, and expected information about A and B. For a planner that grows a tree, those of the whole
        tree; the -512 of an action that was cut is part of none.
    gamma : ndarray, shape (n,), or None
        Precision of the posterior over policies: as the step left it, where it is updated.
    """

    actions: NDArray[np.int32]
    tick: NDArray[np.int64]
    control_fac_idx: tuple[int, ...]
    beliefs: list[NDArray[np.floating]] | None = None
    q_pi: NDArray[np.floating] | None = None
    neg_efe: NDArray[np.floating] | None = None
    vfe: NDArray[np.floating] | None = None
    utility: NDArray[np.floating] | None = None
    info_gain: NDArray[np.floating] | None = None
    inductive: NDArray[np.floating] | None = None
    novelty: NDArray[np.floating] | None = None
    gamma: NDArray[np.floating] | None = None

    @cached_property
    def control(self) -> NDArray[np.int32]:
        """The action of the one controlled factor, shape (n,): what ``env.step`` takes.

        Raises
        ------
        InvalidArgument
            Where the model controls no factor, or more than one.
        """
        if len(self.control_fac_idx) != 1:
            raise InvalidArgument(
                "control is for models that control exactly one factor; use actions",
                field="control_fac_idx",
                value=self.control_fac_idx,
            )
        return np.ascontiguousarray(self.actions[:, self.control_fac_idx[0]])


class Reading(msgspec.Struct, frozen=True, eq=False):
    """What `read` gives back: the committed state of n agents, in the order of the call.

    Attributes
    ----------
    tick : ndarray of int64, shape (n,)
        The last committed tick; 0 for an agent that never stepped.
    actions : ndarray of int32, shape (n, factors)
        The action of that tick; -1 at tick 0.
    beliefs, q_pi, neg_efe, vfe, utility, info_gain, inductive, novelty, gamma
        As in `Step`. At tick 0 the beliefs are D and vfe is 0.
    observations : ndarray of int32, shape (n, modalities), or None
        The observation of that tick; -1 where it was missing, -2 where it was given as a distribution.
    """

    tick: NDArray[np.int64]
    actions: NDArray[np.int32]
    beliefs: list[NDArray[np.floating]] | None = None
    q_pi: NDArray[np.floating] | None = None
    neg_efe: NDArray[np.floating] | None = None
    vfe: NDArray[np.floating] | None = None
    utility: NDArray[np.floating] | None = None
    info_gain: NDArray[np.floating] | None = None
    inductive: NDArray[np.floating] | None = None
    novelty: NDArray[np.floating] | None = None
    gamma: NDArray[np.floating] | None = None
    observations: NDArray[np.int32] | None = None
