"""The arrays of a model and their sizes: checked one after another, each against those before it."""

from __future__ import annotations

from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray

from beliefd import controls, counts, validation
from beliefd.policies import MAX_POLICIES, enumerate_policies, given_policies
from beliefd_proto.errors import InvalidModel

MAX_POLICY_LEN = 65_536
MAX_INFERENCE_HORIZON = 4_096


class ModelArrays:
    """What `Model` documents, but for its plain options; and the options that these arrays depend on."""

    A: tuple[NDArray[np.float64], ...]
    B: tuple[NDArray[np.float64], ...]
    C: tuple[NDArray[np.float64], ...]
    D: tuple[NDArray[np.float64], ...]
    E: NDArray[np.float64]
    pA: counts.Counts | None
    pB: counts.Counts | None
    pC: counts.Counts | None
    pD: counts.Counts | None
    pE: NDArray[np.float64] | None
    H: tuple[NDArray[np.float64], ...] | None
    policies: NDArray[np.int32]
    A_dependencies: tuple[tuple[int, ...], ...]
    C_dependencies: tuple[tuple[int, ...], ...]
    B_dependencies: tuple[tuple[int, ...], ...]
    B_action_dependencies: tuple[tuple[int, ...], ...]
    num_obs: tuple[int, ...]
    num_states: tuple[int, ...]
    num_controls: tuple[int, ...]
    control_fac_idx: tuple[int, ...]
    policy_len: int
    planner: str
    keep_zeros: bool
    use_inductive: bool
    use_param_info_gain: bool
    inference_algo: str
    inference_horizon: int | None
    profile: str

    @property
    def beliefs_per_policy(self) -> bool:
        """Whether an agent has beliefs under each of its policies: message passing of pymdp 0.0.7 and SPM."""
        return self.inference_algo == "mmp" and self.profile != "pymdp"

    def _set_transitions(self, B: Any, B_dependencies: Any, B_action_dependencies: Any, num_controls: Any) -> None:
        entries = validation.sequence(B, "B")
        count = len(entries)
        own = [[f] for f in range(count)]
        self.B_dependencies = validation.dependencies(
            own if B_dependencies is None else B_dependencies, "B_dependencies", count, count
        )
        self.B_action_dependencies = validation.dependencies(
            own if B_action_dependencies is None else B_action_dependencies,
            "B_action_dependencies",
            count,
            validation.MAX_FACTORS,
            shortest=0,
        )
        num_parents = [len(parents) for parents in self.B_dependencies]
        self.B = tuple(
            validation.distribution(entry, f"B[{f}]", rank=1 + num_parents[f] + len(self.B_action_dependencies[f]))
            for f, entry in enumerate(entries)
        )
        self.num_states = tuple(tensor.shape[0] for tensor in self.B)
        self.num_controls = controls.control_sizes(self.B, num_parents, self.B_action_dependencies, num_controls)
        for f, (tensor, parents) in enumerate(zip(self.B, self.B_dependencies, strict=True)):
            states = tuple(self.num_states[p] for p in parents)
            actions = tuple(self.num_controls[c] for c in self.B_action_dependencies[f])
            validation.shape(tensor, f"B[{f}]", (self.num_states[f], *states, *actions))

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

    def _set_inference(self, inference_algo: Any, inference_horizon: Any) -> None:
        self.inference_algo = validation.choice(inference_algo, "inference_algo", ("fpi", "exact", "ovf", "mmp", "vmp"))
        self.inference_horizon = None
        if inference_horizon is None and self.inference_algo in ("mmp", "vmp"):
            raise InvalidModel(
                "message passing needs the length of its window",
                field="inference_horizon",
                allowed=f"an integer 1..{MAX_INFERENCE_HORIZON}",
            )
        if inference_horizon is not None:
            self.inference_horizon = validation.whole(inference_horizon, "inference_horizon", 1, MAX_INFERENCE_HORIZON)
        if self.beliefs_per_policy and self.planner != "policies":
            raise InvalidModel(
                f'"mmp" of profile "{self.profile}" has beliefs under each policy, a tree one belief for all',
                field="planner",
                value=self.planner,
                allowed='"policies", or another inference_algo, or profile "pymdp"',
            )
        if self.inference_algo == "exact" and len(self.B) != 1:
            raise InvalidModel(
                "exact inference needs one factor; this model has several",
                field="inference_algo",
                value=len(self.B),
                allowed='"fpi", or a model with exactly one factor',
            )
        coupled = self.B_dependencies != tuple((f,) for f in range(len(self.B)))
        if self.inference_algo in ("exact", "ovf") and coupled:
            raise InvalidModel(
                "smoothing needs every factor to depend on itself alone",
                field="inference_algo",
                value=self.inference_algo,
                allowed='"fpi", "mmp" or "vmp", or B_dependencies with each factor its own',
            )

    def _set_policies(self, policies: Any, policy_len: Any, control_fac_idx: Any) -> None:
        asked_len = validation.whole(policy_len, "policy_len", 1, MAX_POLICY_LEN)
        if control_fac_idx is None:
            self.control_fac_idx = tuple(c for c, n in enumerate(self.num_controls) if n > 1)
        else:
            # Unlike the other lists this one may be empty: an agent that only watches.
            entries = validation.sequence(control_fac_idx, "control_fac_idx", shortest=0)
            chosen = validation.distinct_factors(entries, "control_fac_idx", len(self.num_controls))
            self.control_fac_idx = tuple(sorted(chosen))
        tree = self.planner != "policies"
        if policies is None:
            steps = 1 if tree else asked_len
            self.policies = enumerate_policies(self.num_controls, self.control_fac_idx, steps)
        else:
            self.policies = given_policies(policies, self.num_controls, self.control_fac_idx)
        steps = self.policies.shape[1]
        if tree and steps != 1:
            raise InvalidModel(
                "a planner that grows a tree chooses among single actions",
                field="policies",
                value=self.policies.shape,
                allowed="policies of one step; policy_len is the depth of the tree",
            )
        if not tree and asked_len not in (1, steps):
            raise InvalidModel(
                "contradicts the length of the given policies",
                field="policy_len",
                value=asked_len,
                allowed=f"{steps}, or 1",
            )
        self.policy_len = asked_len if tree else steps

    def _set_preferences(self, C: Any, C_dependencies: Any) -> None:
        none: list[list[int]] = [[] for _ in self.A]
        self.C_dependencies = validation.dependencies(
            none if C_dependencies is None else C_dependencies, "C_dependencies", len(self.A), len(self.B), shortest=0
        )
        for m, (parents, known) in enumerate(zip(self.C_dependencies, self.A_dependencies, strict=True)):
            for i, f in enumerate(parents):
                if f not in known:
                    raise InvalidModel(
                        f"A[{m}] does not depend on this factor; repeat it over the factor's states",
                        field=f"C_dependencies[{m}][{i}]",
                        value=f,
                        allowed=f"the factors in A_dependencies[{m}]: {list(known)}",
                    )
        shapes = [
            (n, *(self.num_states[f] for f in parents))
            for n, parents in zip(self.num_obs, self.C_dependencies, strict=True)
        ]
        if C is None:
            self.C = tuple(validation.freeze(np.zeros(shape)) for shape in shapes)
            return
        rows = validation.sequence(C, "C", length=len(self.A))
        # Under each policy the present counts too.
        steps = self.policy_len + self.beliefs_per_policy
        self.C = tuple(
            validation.preferences(row, f"C[{m}]", shape, steps)
            for m, (row, shape) in enumerate(zip(rows, shapes, strict=True))
        )

    @cached_property
    def timed_C(self) -> tuple[NDArray[np.float64], ...]:  # noqa: N802 - C's own letter
        """C with an axis of time before all others, of one step where it does not change."""
        return tuple(
            row if row.ndim == 2 + len(parents) else row[np.newaxis]
            for row, parents in zip(self.C, self.C_dependencies, strict=True)
        )

    def _set_priors(self, D: Any, E: Any) -> None:
        if D is None:
            self.D = tuple(validation.freeze(np.full(n, 1.0 / n)) for n in self.num_states)
        else:
            rows = validation.sequence(D, "D", length=len(self.B))
            self.D = tuple(validation.distribution(row, f"D[{f}]", rank=1) for f, row in enumerate(rows))
        for f, n in enumerate(self.num_states):
            validation.shape(self.D[f], f"D[{f}]", (n,))
        if E is None:
            self.E = validation.freeze(np.full(len(self.policies), 1.0 / len(self.policies)))
        else:
            self.E = validation.distribution(E, "E", rank=1, longest=MAX_POLICIES)
            validation.shape(self.E, "E", (len(self.policies),))

    def _set_goals(self, H: Any) -> None:
        self.H = None if H is None else validation.goals(H, self.num_states)
        if self.use_inductive and self.H is None:
            raise InvalidModel("there is no goal; give H", field="use_inductive", value=True, allowed="False, or H")

    def _set_counts(self, pA: Any, pB: Any, pC: Any, pD: Any, pE: Any) -> None:
        # Counts of observations stand for preferences, which have no zeros.
        observable = tuple(np.ones(n) for n in self.num_obs)
        self.pA = counts.given_counts(pA, "pA", self.A, self.keep_zeros)
        self.pB = counts.given_counts(pB, "pB", self.B, self.keep_zeros)
        self.pC = counts.given_counts(pC, "pC", observable, self.keep_zeros)
        self.pD = counts.given_counts(pD, "pD", self.D, self.keep_zeros)
        self.pE = counts.given_habits(pE, self.E, self.keep_zeros)
        if self.use_param_info_gain and self.pA is None and self.pB is None:
            raise InvalidModel(
                "there are no counts to be informed about; give pA or pB",
                field="use_param_info_gain",
                value=True,
                allowed="False, or pA or pB",
            )
        for m, row in enumerate(self.C):
            if self.pC is not None and self.pC[m] is not None and row.ndim > 1:
                raise InvalidModel(
                    "preferences that change over time or states cannot be learned",
                    field=f"pC[{m}]",
                    value=row.shape,
                    allowed=f"None, or C[{m}] of shape ({self.num_obs[m]},)",
                )

    @cached_property
    def joint_B(self) -> tuple[NDArray[np.float64], ...]:  # noqa: N802 - B's own letter
        pairs = zip(self.B, self.B_dependencies, strict=True)
        return tuple(controls.joint_action_axis(tensor, len(parents)) for tensor, parents in pairs)

    @cached_property
    def joint_policies(self) -> NDArray[np.int32]:
        return controls.joint_actions(self.policies, self.B_action_dependencies, self.num_controls)
