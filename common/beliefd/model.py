"""The generative model of an agent, checked and immutable."""

from __future__ import annotations

from collections.abc import Mapping
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from beliefd import parts, validation
from beliefd.policies import MAX_POLICIES, enumerate_policies, given_policies
from beliefd_proto.errors import InvalidModel
from beliefd_proto.model_info import ModelInfo

MAX_NUM_ITER = 65_536
MAX_POLICY_LEN = 65_536


class Model:
    r"""A discrete partially observed Markov decision process, and how an agent infers and plans with it.

    An agent believes that hidden states :math:`s_t = (s_t^1, \dots, s_t^F)` make observations
    :math:`o_t = (o_t^1, \dots, o_t^M)` and move by its actions :math:`u_t = (u_t^1, \dots, u_t^F)`:

    .. math:: P(o, s \mid u) = \prod_f D_f(s_0^f) \prod_t \prod_m A_m(o_t^m \mid s_t^{dep(m)})
              \prod_f B_f(s_{t+1}^f \mid s_t^{dep(f)}, u_t^f)

    Beliefs :math:`q(s) = \prod_f q_f(s^f)` minimise variational free energy. A policy :math:`\pi` of `policy_len`
    steps has the negative expected free energy

    .. math:: G_\pi = \sum_\tau \sum_m E_{q(o_\tau^m \mid \pi)}[C_m(o_\tau^m)] + H[q(o_\tau^m \mid \pi)]
              - E_{q(s_\tau \mid \pi)} H[A_m(\cdot \mid s_\tau)]

    whose first term (utility) and the other two (information gain about states) can each be switched off; and
    :math:`q(\pi) = softmax(\gamma G_\pi + \ln E_\pi)`.

    C is a relative log preference in nats and used as given. Adding a constant to C[m] adds the same constant to every
    policy of equal length, so only differences count, and the default of zeros means: no preference.

    Parameters
    ----------
    A : list of array_like
        Likelihood per modality, shape (num_obs[m], num_states[f] for f in A_dependencies[m]); every column along the
        first axis sums to 1 within 1e-6.
    B : list of array_like
        Transition per factor, shape (num_states[f], num_states[p] for p in B_dependencies[f], num_controls[f]);
        columns as in A.
    C : list of array_like, optional
        Preference per modality, shape (num_obs[m],), finite, in nats. Default zeros.
    D : list of array_like, optional
        Prior over initial states per factor, shape (num_states[f],). Default uniform.
    E : array_like, optional
        Prior over policies (habit), shape (policies,). Default uniform.
    A_dependencies : list of list of int, optional
        The factors that each modality depends on, in the order of A's axes. Default: all factors in order.
    B_dependencies : list of list of int, optional
        The factors that each factor's next state depends on. Default: itself. It may leave itself out.
    num_controls : list of int, optional
        Actions per factor. B says it already; a contradiction is refused.
    control_fac_idx : list of int, optional
        The factors that the agent controls. Default: those with more than one action. The others take action 0.
    policies : array_like of int, optional
        Policies, shape (policies, policy_len, factors), or (policies, policy_len) where there is one factor.
        Default: all products of actions, repeated `policy_len` times, the last factor of the last step fastest.
    policy_len : int
        Steps per policy, 1..65536. Where `policies` is given, the same length or 1.
    gamma : float
        Precision of the posterior over policies, above 0.
    alpha : float
        Precision of stochastic action selection, above 0.
    use_utility, use_states_info_gain : bool
        Which terms of the expected free energy count.
    inference_algo : {"fpi", "exact"}
        "fpi": mean-field fixed point iteration. "exact": the one exact pass, for models with one factor; fpi on
        such a model is that same pass.
    num_iter : int
        Sweeps of fixed point iteration, 1..65536.
    action_selection : {"deterministic", "stochastic"}
        The best action, or a draw with probability proportional to p to the power alpha.
    sampling_mode : {"full", "marginal"}
        Whether p is that of whole policies, or of each factor's first action.
    dtype : {"float32", "float64"}
        The type of beliefs and of all arithmetic. The model itself is kept in float64.

    Attributes
    ----------
    A, B, C, D : tuple of ndarray of float64
        As above, C-contiguous and read-only.
    E : ndarray of float64, shape (policies,), read-only
    policies : ndarray of int32, shape (policies, policy_len, factors), read-only
    A_dependencies, B_dependencies : tuple of tuple of int
    num_obs, num_states, num_controls : tuple of int
    control_fac_idx : tuple of int
        Ascending.
    hash : str
        SHA-256 of the content, hexadecimal: equal for equal models, however they were made.

    Raises
    ------
    InvalidModel
        Naming the field, index, value and what is allowed.

    References
    ----------
    Parr, Pezzulo, Friston (2022), Active Inference, MIT Press, chapters 4 and 7 and appendix B.
    Da Costa et al. (2020), Active inference on discrete state-spaces: a synthesis, J. Math. Psychol. 99.
    Heins et al. (2022), pymdp: A Python library for active inference in discrete state spaces, JOSS 7(73).
    """

    A: tuple[NDArray[np.float64], ...]
    B: tuple[NDArray[np.float64], ...]
    C: tuple[NDArray[np.float64], ...]
    D: tuple[NDArray[np.float64], ...]
    E: NDArray[np.float64]
    policies: NDArray[np.int32]
    A_dependencies: tuple[tuple[int, ...], ...]
    B_dependencies: tuple[tuple[int, ...], ...]
    num_obs: tuple[int, ...]
    num_states: tuple[int, ...]
    num_controls: tuple[int, ...]
    control_fac_idx: tuple[int, ...]
    policy_len: int
    gamma: float
    alpha: float
    use_utility: bool
    use_states_info_gain: bool
    inference_algo: str
    num_iter: int
    action_selection: str
    sampling_mode: str
    dtype: str
    hash: str

    def __init__(
        self,
        A: Any,
        B: Any,
        C: Any = None,
        D: Any = None,
        E: Any = None,
        *,
        A_dependencies: Any = None,
        B_dependencies: Any = None,
        num_controls: Any = None,
        control_fac_idx: Any = None,
        policies: Any = None,
        policy_len: int = 1,
        gamma: float = 1.0,
        alpha: float = 1.0,
        use_utility: bool = True,
        use_states_info_gain: bool = True,
        inference_algo: str = "fpi",
        num_iter: int = 16,
        action_selection: str = "deterministic",
        sampling_mode: str = "full",
        dtype: str = "float32",
    ) -> None:
        self.gamma = validation.positive(gamma, "gamma")
        self.alpha = validation.positive(alpha, "alpha")
        self.use_utility = validation.flag(use_utility, "use_utility")
        self.use_states_info_gain = validation.flag(use_states_info_gain, "use_states_info_gain")
        self.inference_algo = validation.choice(inference_algo, "inference_algo", ("fpi", "exact"))
        self.num_iter = validation.whole(num_iter, "num_iter", 1, MAX_NUM_ITER)
        self.action_selection = validation.choice(action_selection, "action_selection", ("deterministic", "stochastic"))
        self.sampling_mode = validation.choice(sampling_mode, "sampling_mode", ("full", "marginal"))
        self.dtype = validation.choice(dtype, "dtype", ("float32", "float64"))
        self._set_transitions(B, B_dependencies, num_controls)
        self._set_likelihoods(A, A_dependencies)
        self._set_priors(C, D)
        self._set_policies(policies, policy_len, control_fac_idx)
        if E is None:
            self.E = validation.freeze(np.full(len(self.policies), 1.0 / len(self.policies)))
        else:
            self.E = validation.distribution(E, "E", rank=1, longest=MAX_POLICIES)
            validation.shape(self.E, "E", (len(self.policies),))
        if self.inference_algo == "exact" and len(self.B) != 1:
            raise InvalidModel(
                "exact inference needs one factor; this model has several",
                field="inference_algo",
                value=len(self.B),
                allowed='"fpi", or a model with exactly one factor',
            )
        self.hash = parts.content_hash(self.spec(), self.tensors())

    def _set_transitions(self, B: Any, B_dependencies: Any, num_controls: Any) -> None:
        entries = validation.sequence(B, "B")
        count = len(entries)
        self.B_dependencies = validation.dependencies(
            [[f] for f in range(count)] if B_dependencies is None else B_dependencies, "B_dependencies", count, count
        )
        self.B = tuple(
            validation.distribution(entry, f"B[{f}]", rank=2 + len(self.B_dependencies[f]))
            for f, entry in enumerate(entries)
        )
        self.num_states = tuple(tensor.shape[0] for tensor in self.B)
        self.num_controls = tuple(tensor.shape[-1] for tensor in self.B)
        for f, (tensor, parents) in enumerate(zip(self.B, self.B_dependencies, strict=True)):
            states = tuple(self.num_states[p] for p in parents)
            validation.shape(tensor, f"B[{f}]", (self.num_states[f], *states, self.num_controls[f]))
        if num_controls is not None:
            for f, entry in enumerate(validation.sequence(num_controls, "num_controls", length=count)):
                validation.whole(entry, f"num_controls[{f}]", self.num_controls[f], self.num_controls[f])

    def _set_likelihoods(self, A: Any, A_dependencies: Any) -> None:
        entries = validation.sequence(A, "A", longest=validation.MAX_MODALITIES)
        every = [list(range(len(self.B)))] * len(entries)
        self.A_dependencies = validation.dependencies(
            every if A_dependencies is None else A_dependencies, "A_dependencies", len(entries), len(self.B)
        )
        self.A = tuple(
            validation.distribution(entry, f"A[{m}]", rank=1 + len(self.A_dependencies[m]))
            for m, entry in enumerate(entries)
        )
        self.num_obs = tuple(tensor.shape[0] for tensor in self.A)
        for m, (tensor, factors) in enumerate(zip(self.A, self.A_dependencies, strict=True)):
            states = tuple(self.num_states[f] for f in factors)
            validation.shape(tensor, f"A[{m}]", (self.num_obs[m], *states))

    def _set_priors(self, C: Any, D: Any) -> None:
        if C is None:
            self.C = tuple(validation.freeze(np.zeros(n)) for n in self.num_obs)
        else:
            rows = validation.sequence(C, "C", length=len(self.A))
            self.C = tuple(validation.preferences(row, f"C[{m}]") for m, row in enumerate(rows))
        if D is None:
            self.D = tuple(validation.freeze(np.full(n, 1.0 / n)) for n in self.num_states)
        else:
            rows = validation.sequence(D, "D", length=len(self.B))
            self.D = tuple(validation.distribution(row, f"D[{f}]", rank=1) for f, row in enumerate(rows))
        for m, n in enumerate(self.num_obs):
            validation.shape(self.C[m], f"C[{m}]", (n,))
        for f, n in enumerate(self.num_states):
            validation.shape(self.D[f], f"D[{f}]", (n,))

    def _set_policies(self, policies: Any, policy_len: Any, control_fac_idx: Any) -> None:
        asked_len = validation.whole(policy_len, "policy_len", 1, MAX_POLICY_LEN)
        if control_fac_idx is None:
            self.control_fac_idx = tuple(f for f, n in enumerate(self.num_controls) if n > 1)
        else:
            # Unlike the other lists this one may be empty: an agent that only watches.
            entries = validation.sequence(control_fac_idx, "control_fac_idx", shortest=0)
            factors = validation.distinct_factors(entries, "control_fac_idx", len(self.B))
            self.control_fac_idx = tuple(sorted(factors))
        if policies is None:
            self.policies = enumerate_policies(self.num_controls, self.control_fac_idx, asked_len)
        else:
            self.policies = given_policies(policies, self.num_controls, self.control_fac_idx)
        self.policy_len = self.policies.shape[1]
        if asked_len not in (1, self.policy_len):
            raise InvalidModel(
                "contradicts the length of the given policies",
                field="policy_len",
                value=asked_len,
                allowed=f"{self.policy_len}, or 1",
            )

    @cached_property
    def info(self) -> ModelInfo:
        """The sizes of the model, without its tensors."""
        return ModelInfo(
            hash=self.hash,
            dtype=self.dtype,
            num_obs=self.num_obs,
            num_states=self.num_states,
            num_controls=self.num_controls,
            control_fac_idx=self.control_fac_idx,
            policy_len=self.policy_len,
            num_policies=len(self.policies),
        )

    def spec(self) -> dict[str, Any]:
        """All of the model that is not an array: what JSON can hold, and `from_parts` reads."""
        return parts.spec_of(self)

    def tensors(self) -> dict[str, NDArray[Any]]:
        """The arrays of the model by name: A0.., B0.., C0.., D0.., E and policies. Shared, not copied; read-only."""
        return parts.tensors_of(self)

    @classmethod
    def from_parts(cls, spec: Mapping[str, Any], tensors: Mapping[str, Any]) -> Model:
        """Makes a model of what `spec` and `tensors` gave, with every check of the constructor.

        Raises
        ------
        InvalidModel
            Also where the format version is another, or a key is missing or unknown.
        """
        return cls(**parts.arguments(spec, tensors))

    def save(self, folder: str | Path) -> None:
        """Writes the model into a new folder; see `beliefd.modelfile.save`."""
        # Imported here: modelfile makes models, so it imports this module.
        from beliefd import modelfile

        modelfile.save(self, Path(folder))

    @classmethod
    def load(cls, folder: str | Path) -> Model:
        """Reads a model that `save` wrote; see `beliefd.modelfile.load`."""
        from beliefd import modelfile

        return modelfile.load(Path(folder))

    def __setattr__(self, name: str, value: Any) -> None:
        # The hash is set last: from then on the model is complete. (cached_property writes past this method.)
        if "hash" in self.__dict__:
            raise AttributeError(f"a Model is immutable; make a new one with another {name}")
        super().__setattr__(name, value)

    def __reduce__(self) -> tuple[Any, ...]:
        return Model.from_parts, (self.spec(), self.tensors())

    def __eq__(self, other: object) -> bool:
        return self.hash == other.hash if isinstance(other, Model) else NotImplemented

    def __hash__(self) -> int:
        return hash(self.hash)

    def __repr__(self) -> str:
        return (
            f"Model(num_obs={list(self.num_obs)}, num_states={list(self.num_states)}, "
            f"num_controls={list(self.num_controls)}, policies={len(self.policies)}x{self.policy_len}, "
            f"dtype={self.dtype!r}, hash={self.hash[:12]!r})"
        )
