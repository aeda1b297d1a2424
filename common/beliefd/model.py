"""The generative model of an agent, checked and immutable."""

from __future__ import annotations

from collections.abc import Mapping
from functools import cached_property
from pathlib import Path
from typing import Any, NamedTuple

from numpy.typing import NDArray

from beliefd import advice, counts, parts, treesize, validation
from beliefd.modelarrays import ModelArrays
from beliefd_proto.errors import InvalidModel
from beliefd_proto.model_info import ModelInfo

MAX_NUM_ITER = 65_536
MAX_INDUCTIVE_DEPTH = 65_536
MAX_NUM_SIMULATIONS = 2**20
MAX_OCCAM_WINDOW = 36.0
"""In nats: beyond -ln of the smallest number that a logarithm is taken of, there is nothing to tell apart."""


LEAST_PRECISION = 1e-30
"""Gamma is also the reciprocal of a rate, which has to be finite in float32."""


class _Defaults(NamedTuple):
    gamma: float
    alpha: float
    num_iter: int
    sampling_mode: str


_DEFAULTS = {
    "pymdp": _Defaults(1.0, 1.0, 16, "full"),
    "legacy": _Defaults(16.0, 16.0, 10, "marginal"),
    "spm": _Defaults(1.0, 512.0, 16, "marginal"),
}
"""What the originals take where nothing is said."""


class Model(ModelArrays):
    r"""A discrete partially observed Markov decision process, and how an agent infers and plans with it.

    An agent believes that hidden states :math:`s_t = (s_t^1, \dots, s_t^F)` make observations
    :math:`o_t = (o_t^1, \dots, o_t^M)` and move by its actions :math:`u_t = (u_t^1, \dots, u_t^F)`:

    .. math:: P(o, s \mid u) = \prod_f D_f(s_0^f) \prod_t \prod_m A_m(o_t^m \mid s_t^{dep(m)})
              \prod_f B_f(s_{t+1}^f \mid s_t^{dep(f)}, u_t^f)

    Beliefs :math:`q(s) = \prod_f q_f(s^f)` minimise variational free energy. A policy :math:`\pi` of `policy_len`
    steps has the negative expected free energy

    .. math:: G_\pi = \sum_\tau \sum_m E_{q(o_\tau^m \mid \pi)}[C_m(o_\tau^m)] + H[q(o_\tau^m \mid \pi)]
              - E_{q(s_\tau \mid \pi)} H[A_m(\cdot \mid s_\tau)]

    whose first term (utility) and the other two (information gain about states) can each be switched off, and to which
    information gain about A and B (novelty) and a value for moving along paths to goal states (inductive inference) can
    be added; and :math:`q(\pi) = softmax(\gamma G_\pi + \ln E_\pi)`.

    What an agent learns are Dirichlet counts, one tensor of them per tensor of probabilities. After every step
    :math:`a \leftarrow fr\, a + lr\, \Delta a`, and the probabilities become the counts divided by their column sums.

    C is a relative log preference in nats and used as given. Adding a constant to C[m] adds the same constant to every
    policy of equal length, so only differences count, and the default of zeros means: no preference.

    Parameters
    ----------
    A : list of array_like
        Likelihood per modality, shape (num_obs[m], num_states[f] for f in A_dependencies[m]); every column along the
        first axis sums to 1 within 1e-6.
    B : list of array_like
        Transition per factor, shape (num_states[f], num_states[p] for p in B_dependencies[f], num_controls[c] for c in
        B_action_dependencies[f]); columns as in A.
    C : list of array_like, optional
        Preference per modality, shape (num_obs[m],), or (policy_len, num_obs[m]) where it changes over the steps of a
        policy; finite, in nats. Followed by num_states[f] for f in C_dependencies[m]. Where there are beliefs under
        each policy, (policy_len + 1, num_obs[m]): the first is that of now. Default zeros.
    D : list of array_like, optional
        Prior over initial states per factor, shape (num_states[f],). Default uniform.
    E : array_like, optional
        Prior over policies (habit), shape (policies,). Default uniform.
    pA, pB, pC, pD : list of array_like or None, optional
        Counts, shapes as in A, B, C and D, None for a tensor without; 0, or 1e-30..1e12, but not 0 where the
        probability is above it. Those of C are counts of observations, shape (num_obs[m],), all above 0.
    pE : array_like, optional
        Counts of policies, shape (policies,).
    H : list of array_like or None, optional
        Goal states per factor, 1 or 0 each, shape (num_states[f],); None for a factor without a goal.
    A_dependencies : list of list of int, optional
        The factors that each modality depends on, in the order of A's axes. Default: all factors in order.
    C_dependencies : list of list of int, optional
        The factors that what a modality's observations are worth depends on, among those that A[m] depends on, in the
        order of C's last axes: utility is then the expectation of C over observations and these states. Default: none.
    B_dependencies : list of list of int, optional
        The factors that each factor's next state depends on. Default: itself. It may leave itself out.
    B_action_dependencies : list of list of int, optional
        The controls that move each factor, in the order of B's last axes; an empty list for none. Default: control f
        moves factor f, and "control" and "factor" mean the same wherever this page speaks of actions.
    num_controls : list of int, optional
        Actions per control. Where B says it already, a contradiction is refused.
    control_fac_idx : list of int, optional
        The controls that the agent has. Default: those with more than one action. The others take action 0.
    policies : array_like of int, optional
        Policies, shape (policies, policy_len, controls), or (policies, policy_len) where there is one control.
        Default: all products of actions, repeated `policy_len` times, the last control of the last step fastest.
    policy_len : int
        Steps per policy, 1..65536. Where `policies` is given, the same length or 1. For a planner that grows a
        tree, the depth of the tree, whose policies are single actions.
    gamma : float, optional
        Precision of the posterior over policies, 1e-30..1e12. Default 1; 16 in profile "legacy".
    alpha : float, optional
        Precision of stochastic action selection, 1e-30..1e12. Default 1; 16 in profile "legacy", 512 in "spm".
    use_utility, use_states_info_gain, use_param_info_gain, use_inductive : bool
        Which terms of the expected free energy count. The third needs pA or pB, the fourth H.
    inductive_depth : int
        Steps back from the goal, 1..65536.
    inductive_threshold : float
        A transition counts as possible where its probability is above it, in (0, 1].
    inductive_epsilon : float
        Leaving the path to the goal costs -ln of it, in (0, 1].
    inference_algo : {"fpi", "exact", "ovf", "mmp", "vmp"}
        "fpi": mean-field fixed point iteration. "exact": the one exact pass, for models with one factor; fpi on
        such a model is that same pass. "ovf": as fpi, learning from smoothed beliefs, as exact does; for factors that
        depend on themselves alone. "mmp", "vmp": marginal and variational message passing over a window of steps.
    inference_horizon : int, optional
        Observations in the window, this one among them, 1..4096. "mmp" and "vmp" need it; "exact" and "ovf" smooth over
        it where they learn, by default over two.
    num_iter : int, optional
        Sweeps of fixed point iteration or message passing, 1..65536. Default 16; 10 in profile "legacy".
    action_selection : {"deterministic", "stochastic"}
        The best action, or a draw with probability proportional to p to the power alpha.
    sampling_mode : {"full", "marginal"}, optional
        Whether p is that of whole policies, or of each control's first action. Default "full"; "marginal" in profiles
        "legacy" and "spm".
    occam_window : float, optional
        Policies whose posterior probability is more than so many nats below that of the best get none, in (0, 36]; they
        are not drawn. SPM's zeta. Default: all policies keep theirs.
    planner : {"policies", "sophisticated", "mcts"}
        Whether all policies are evaluated, or a tree over actions and observations is searched, in full but for what is
        improbable, or by sampling.
    num_simulations : int
        Walks from the root of a tree that is searched by sampling ("mcts"), 1..1048576; each adds a belief at the most.
    update_gamma : bool
        Whether an agent's precision follows from whether its observations speak for the policies that G speaks for, as
        in SPM. It starts from `gamma`, at each reset too, and needs beliefs under each policy: "mmp" in profiles
        "legacy" and "spm". Where policies share their beliefs of what was observed, it would never change.
    learn_A, learn_B, learn_C, learn_D : bool or list of int
        What is learned: nothing, everything that has counts, or these modalities or factors.
    learn_E : bool
        Whether habits are learned.
    lr_pA, lr_pB, lr_pC, lr_pD, lr_pE : float
        Learning rates, above 0.
    fr_pA, fr_pB, fr_pC, fr_pD, fr_pE : float
        What is kept of the counts at each step, in (0, 1]: below 1, agents forget. Of a count above 1e-30 at least that
        is kept.
    keep_zeros : bool
        Whether a probability of 0 stays 0, whatever is observed. Then its count has to be 0.
    dtype : {"float32", "float64"}
        The type of beliefs and of all arithmetic. The model itself is kept in float64.
    profile : {"pymdp", "legacy", "spm"}
        Whose numerical conventions, and defaults, hold where they differ: pymdp 1, pymdp 0.0.7, SPM. In the latter two
        logarithms are of x + 1e-16, all modalities are taken together, and C stands for ln softmax(C); "legacy" ends
        its sweeps where free energy changes by less than 1e-3, and draws among actions that are tied.

    Attributes
    ----------
    A, B, C, D : tuple of ndarray of float64
        As above, C-contiguous and read-only.
    E : ndarray of float64, shape (policies,), read-only
    pA, pB, pC, pD : tuple of (ndarray of float64, read-only, or None), or None
    pE : ndarray of float64, shape (policies,), read-only, or None
    H : tuple of ndarray of float64, read-only, or None
    policies : ndarray of int32, shape (policies, steps, controls), read-only
        `steps` is `policy_len`, or 1 for a planner that grows a tree.
    joint_B : tuple of ndarray of float64
        B with the action axes of each factor made one, the last control fastest.
    joint_policies : ndarray of int32, shape (policies, steps, factors)
        The policies as indices on those axes.
    A_dependencies, B_dependencies, B_action_dependencies : tuple of tuple of int
    num_obs, num_states, num_controls : tuple of int
    control_fac_idx, learn_A, learn_B, learn_C, learn_D : tuple of int
        Ascending.
    hash : str
        SHA-256 of the content, hexadecimal: equal for equal models, however they were made.

    Raises
    ------
    InvalidModel
        Naming the field, index, value and what is allowed.

    Warns
    -----
    ModelWarning
        A part of the model can have no effect.

    References
    ----------
    Parr, Pezzulo, Friston (2022), Active Inference, MIT Press, chapters 4 and 7 and appendix B.
    Da Costa et al. (2020), Active inference on discrete state-spaces: a synthesis, J. Math. Psychol. 99.
    Heins et al. (2022), pymdp: A Python library for active inference in discrete state spaces, JOSS 7(73).
    """

    gamma: float
    alpha: float
    use_utility: bool
    use_states_info_gain: bool
    inductive_depth: int
    inductive_threshold: float
    inductive_epsilon: float
    num_iter: int
    action_selection: str
    sampling_mode: str
    occam_window: float | None
    num_simulations: int
    learn_A: tuple[int, ...]
    learn_B: tuple[int, ...]
    learn_C: tuple[int, ...]
    learn_D: tuple[int, ...]
    learn_E: bool
    lr_pA: float
    lr_pB: float
    lr_pC: float
    lr_pD: float
    lr_pE: float
    fr_pA: float
    fr_pB: float
    fr_pC: float
    fr_pD: float
    fr_pE: float
    dtype: str
    profile: str
    hash: str

    def __init__(
        self,
        A: Any,
        B: Any,
        C: Any = None,
        D: Any = None,
        E: Any = None,
        *,
        pA: Any = None,
        pB: Any = None,
        pC: Any = None,
        pD: Any = None,
        pE: Any = None,
        H: Any = None,
        A_dependencies: Any = None,
        C_dependencies: Any = None,
        B_dependencies: Any = None,
        B_action_dependencies: Any = None,
        num_controls: Any = None,
        control_fac_idx: Any = None,
        policies: Any = None,
        policy_len: int = 1,
        gamma: float | None = None,
        alpha: float | None = None,
        use_utility: bool = True,
        use_states_info_gain: bool = True,
        use_param_info_gain: bool = False,
        use_inductive: bool = False,
        inductive_depth: int = 1,
        inductive_threshold: float = 0.1,
        inductive_epsilon: float = 1e-3,
        inference_algo: str = "fpi",
        inference_horizon: int | None = None,
        num_iter: int | None = None,
        action_selection: str = "deterministic",
        sampling_mode: str | None = None,
        occam_window: float | None = None,
        planner: str = "policies",
        num_simulations: int = 256,
        update_gamma: bool = False,
        learn_A: Any = False,
        learn_B: Any = False,
        learn_C: Any = False,
        learn_D: Any = False,
        learn_E: bool = False,
        lr_pA: float = 1.0,
        lr_pB: float = 1.0,
        lr_pC: float = 1.0,
        lr_pD: float = 1.0,
        lr_pE: float = 1.0,
        fr_pA: float = 1.0,
        fr_pB: float = 1.0,
        fr_pC: float = 1.0,
        fr_pD: float = 1.0,
        fr_pE: float = 1.0,
        keep_zeros: bool = True,
        dtype: str = "float32",
        profile: str = "pymdp",
    ) -> None:
        self.profile = validation.choice(profile, "profile", tuple(_DEFAULTS))
        defaults = _DEFAULTS[self.profile]
        self.gamma = validation.positive(defaults.gamma if gamma is None else gamma, "gamma", least=LEAST_PRECISION)
        self.alpha = validation.positive(defaults.alpha if alpha is None else alpha, "alpha", least=LEAST_PRECISION)
        self.use_utility = validation.flag(use_utility, "use_utility")
        self.use_states_info_gain = validation.flag(use_states_info_gain, "use_states_info_gain")
        self.use_param_info_gain = validation.flag(use_param_info_gain, "use_param_info_gain")
        self.use_inductive = validation.flag(use_inductive, "use_inductive")
        self.inductive_depth = validation.whole(inductive_depth, "inductive_depth", 1, MAX_INDUCTIVE_DEPTH)
        self.inductive_threshold = validation.positive(inductive_threshold, "inductive_threshold", largest=1.0)
        self.inductive_epsilon = validation.positive(inductive_epsilon, "inductive_epsilon", largest=1.0)
        sweeps = defaults.num_iter if num_iter is None else num_iter
        self.num_iter = validation.whole(sweeps, "num_iter", 1, MAX_NUM_ITER)
        self.action_selection = validation.choice(action_selection, "action_selection", ("deterministic", "stochastic"))
        mode = defaults.sampling_mode if sampling_mode is None else sampling_mode
        self.sampling_mode = validation.choice(mode, "sampling_mode", ("full", "marginal"))
        self.occam_window = None
        if occam_window is not None:
            self.occam_window = validation.positive(occam_window, "occam_window", largest=MAX_OCCAM_WINDOW)
        self.planner = validation.choice(planner, "planner", ("policies", "sophisticated", "mcts"))
        self.num_simulations = validation.whole(num_simulations, "num_simulations", 1, MAX_NUM_SIMULATIONS)
        self.lr_pA = validation.positive(lr_pA, "lr_pA")
        self.lr_pB = validation.positive(lr_pB, "lr_pB")
        self.lr_pC = validation.positive(lr_pC, "lr_pC")
        self.lr_pD = validation.positive(lr_pD, "lr_pD")
        self.lr_pE = validation.positive(lr_pE, "lr_pE")
        self.fr_pA = validation.positive(fr_pA, "fr_pA", largest=1.0)
        self.fr_pB = validation.positive(fr_pB, "fr_pB", largest=1.0)
        self.fr_pC = validation.positive(fr_pC, "fr_pC", largest=1.0)
        self.fr_pD = validation.positive(fr_pD, "fr_pD", largest=1.0)
        self.fr_pE = validation.positive(fr_pE, "fr_pE", largest=1.0)
        self.keep_zeros = validation.flag(keep_zeros, "keep_zeros")
        self.dtype = validation.choice(dtype, "dtype", ("float32", "float64"))
        self._set_transitions(B, B_dependencies, B_action_dependencies, num_controls)
        self._set_likelihoods(A, A_dependencies)
        self._set_inference(inference_algo, inference_horizon)
        self.update_gamma = validation.flag(update_gamma, "update_gamma")
        if self.update_gamma and not self.beliefs_per_policy:
            raise InvalidModel(
                "observations speak for a policy only where there are beliefs under each",
                field="update_gamma",
                value=True,
                allowed='False, or inference_algo "mmp" in profile "legacy" or "spm"',
            )
        self._set_policies(policies, policy_len, control_fac_idx)
        treesize.check_search(self)
        self._set_preferences(C, C_dependencies)
        self._set_priors(D, E)
        self._set_goals(H)
        self._set_counts(pA, pB, pC, pD, pE)
        self.learn_A = counts.learned_parts(learn_A, "learn_A", self.pA, "pA", len(self.A))
        self.learn_B = counts.learned_parts(learn_B, "learn_B", self.pB, "pB", len(self.B))
        self.learn_C = counts.learned_parts(learn_C, "learn_C", self.pC, "pC", len(self.C))
        self.learn_D = counts.learned_parts(learn_D, "learn_D", self.pD, "pD", len(self.D))
        self.learn_E = counts.learns_habits(learn_E, self.pE)
        self.hash = parts.content_hash(self.spec(), self.tensors())
        advice.warn(self)

    @property
    def window(self) -> int:
        """Steps that inference and learning look back on, this one among them."""
        if self.inference_algo in ("mmp", "vmp"):
            return self.inference_horizon or 1
        if self.inference_algo in ("exact", "ovf") and (self.learn_A or self.learn_B):
            # Two steps are the fewest that smoothing changes anything in.
            return self.inference_horizon or 2
        return 1

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
            inference_algo=self.inference_algo,
            planner=self.planner,
            inference_horizon=self.window,
            updates_gamma=self.update_gamma,
            learned={name: self.tensors()[name].shape for name in self._learned_names()},
        )

    def _learned_names(self) -> list[str]:
        learned = (("pA", self.learn_A), ("pB", self.learn_B), ("pC", self.learn_C), ("pD", self.learn_D))
        return [f"{letter}{i}" for letter, indices in learned for i in indices] + ["pE"] * self.learn_E

    def spec(self) -> dict[str, Any]:
        """All of the model that is not an array: what JSON can hold, and `from_parts` reads."""
        return parts.spec_of(self)

    def tensors(self) -> dict[str, NDArray[Any]]:
        """The arrays of the model by name: A0.., B0.., C0.., D0.., E, policies, and pA0.. to
        pD0.., H0.. and pE where they are given. Shared, not copied; read-only.
        """
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
