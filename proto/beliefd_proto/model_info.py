"""What broker, client and worker need to know of a model without holding its tensors."""

from __future__ import annotations

import math

import msgspec
import numpy as np

from beliefd_proto.commands import Want

# Plain integers: the operators of an enum cost more than all the rest of a small step's arithmetic.
_BELIEFS, _Q_PI, _NEG_EFE, _OBSERVATION = (
    int(bit) for bit in (Want.BELIEFS, Want.Q_PI, Want.NEG_EFE, Want.OBSERVATION)
)

_LEARNED = int(Want.LEARNED)

_INTS = tuple((int(np.iinfo(dtype).max), dtype) for dtype in map(np.dtype, ("i1", "<i2", "<i4")))

_SINGLE = int(Want.VFE | Want.GAMMA)
_PARTS_OF_EFE = int(Want.UTILITY | Want.INFO_GAIN | Want.INDUCTIVE | Want.NOVELTY)


class ModelInfo(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Sizes of a model.

    Attributes
    ----------
    hash : str
        SHA-256 of the model's content, hexadecimal.
    dtype : str
        ``"float32"`` or ``"float64"``: the type of beliefs and of all arithmetic.
    num_obs, num_states, num_controls : tuple of int
        Observations per modality; hidden states per factor; actions per control. A factor is its own control, unless
        the model says otherwise.
    control_fac_idx : tuple of int
        The controls that the agent has.
    policy_len, num_policies : int
        Depth and count of the policies.
    inference_algo, planner : str
        As `Model` has them.
    inference_horizon : int
        Steps that inference and learning look back on, this one among them: 1 where only the present counts.
    updates_gamma : bool
        Whether an agent has a precision of its own that changes.
    learned : dict of str to tuple of int
        Name and shape of every array of counts that each agent has of its own, such as ``{"pA0": (4, 4, 2)}``.
    per_agent : dict of str to tuple of int
        Name and shape of every parameter that the agents of a population were given of their own, such as
        ``{"C0": (4,), "gamma": ()}``; empty for a model by itself.
    """

    hash: str
    dtype: str
    num_obs: tuple[int, ...]
    num_states: tuple[int, ...]
    num_controls: tuple[int, ...]
    control_fac_idx: tuple[int, ...]
    policy_len: int
    num_policies: int
    inference_algo: str = "fpi"
    planner: str = "policies"
    inference_horizon: int = 1
    updates_gamma: bool = False
    learned: dict[str, tuple[int, ...]] = {}
    per_agent: dict[str, tuple[int, ...]] = {}

    @property
    def num_factors(self) -> int:
        return len(self.num_states)

    @property
    def num_modalities(self) -> int:
        return len(self.num_obs)

    def answer_row_bytes(self, want: int) -> int:
        """Bytes per agent of an answer that carries the `Want` bits `want`: what bounds the agents of a chunk."""
        itemsize = 8 if self.dtype == "float64" else 4
        floats = 0
        if want & _BELIEFS:
            floats += sum(self.num_states)
        if want & _Q_PI:
            floats += self.num_policies
        if want & _NEG_EFE:
            floats += self.num_policies
        floats += self.num_policies * (want & _PARTS_OF_EFE).bit_count()
        floats += (want & _SINGLE).bit_count()
        if want & _LEARNED:
            floats += sum(math.prod(shape) for shape in self.learned.values())
        ints = len(self.num_controls) + 3
        if want & _OBSERVATION:
            ints += self.num_modalities
        return floats * itemsize + 4 * ints


def smallest_int(largest: int) -> np.dtype[np.signedinteger]:
    """The smallest signed integer type that holds -2 .. `largest`."""
    for most, dtype in _INTS:
        if largest <= most:
            return dtype
    return np.dtype("<i8")
