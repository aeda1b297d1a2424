"""Compiles a model into a plan."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from beliefd.engine import plan
from beliefd.engine.conditionedplan import ConditionedPlan
from beliefd.engine.contraction import Contraction, contract
from beliefd.engine.convention import log_floor, log_habits, preferences
from beliefd.engine.ensemble import Ensemble
from beliefd.engine.forecast import Forecast, forecast
from beliefd.engine.goals import Goals
from beliefd.engine.joints import Joints
from beliefd.engine.layout import RecordLayout
from beliefd.engine.noveltyplan import NoveltyPlan
from beliefd.engine.own import OwnArray, learned_arrays, own_arrays
from beliefd.engine.plan import NODE_INTS, starts
from beliefd.engine.policytree import PolicyTree, policy_tree
from beliefd.engine.schedule import Blocks, schedule
from beliefd.engine.treeplan import TreePlan
from beliefd.engine.windowplan import WindowPlan
from beliefd.model import Model
from beliefd_proto.errors import InvalidModel
from beliefd_proto.model_info import ModelInfo

_TIE_TOLERANCE = {"float32": 1e-5, "float64": 1e-10}
_DENSE = 0.5
"""Above this share of entries that are not zero, skipping the others costs more than it saves."""


@dataclass(frozen=True, eq=False)
class CompiledModel:
    """A model's plan with what else its users need.

    Attributes
    ----------
    ints, reals : ndarray, read-only
        See `beliefd.engine.plan`.
    info : ModelInfo
    layout : RecordLayout
    scratch_rows : int
        Rows of scratch that a tile takes.
    """

    ints: NDArray[np.int64]
    reals: NDArray[np.floating]
    info: ModelInfo
    layout: RecordLayout
    scratch_rows: int


def compile_model(model: Model, info: ModelInfo | None = None) -> CompiledModel:
    """Write the plan of a model. Takes time and memory in proportion to the model; the result can be kept in a file.

    Parameters
    ----------
    model : Model
    info : ModelInfo, optional
        Of the population, where its agents were given parameters of their own.
    """
    info = model.info if info is None else info
    _refuse_gaps(model, info)
    layout = RecordLayout.of(info)
    tree = policy_tree(model.joint_policies)
    transitions = _transition_matrices(model)
    own = _Own(model, info)
    known = [_unknown(matrix) if f in own.factors else matrix for f, matrix in enumerate(transitions)]
    found = forecast(tree, known, [tuple(sorted(factors)) for factors in model.B_dependencies])
    novelty = NoveltyPlan(model, own.counts)
    likelihoods = _Likelihoods(model, found, own, {*own.modalities, *novelty.modalities})
    goals = Goals(model, info)
    joints = Joints(model, likelihoods.contractions)
    ensemble = Ensemble(model, joints, own=bool(own.modalities))
    window = WindowPlan(model, layout.window, joints, transitions, own.factors, _is_refined(model))
    fields: dict[int, Any] = {}
    for part in (
        _sizes(model),
        _record(layout),
        joints.fields(),
        likelihoods.fields(joints),
        _transitions(transitions, joints),
        goals.fields(),
        own.fields(),
        window.fields(*_kept([matrix] for matrix in window.matrices)),
    ):
        fields.update(part)
    predictions = _Predictions(tree, found, joints, likelihoods, goals, own, ensemble, novelty)
    scratch_rows = _place_scratch(fields, model, predictions, window)
    ints, reals = plan.pack(fields, model.dtype)
    return CompiledModel(ints, reals, info, layout, scratch_rows)


def _refuse_gaps(model: Model, info: ModelInfo) -> None:
    """Refuse what agents of a model can ask for and kernels do not do.

    Raises
    ------
    InvalidModel
    """
    for m, states in enumerate(model.C_dependencies):
        if states and f"C{m}" in info.per_agent:
            raise InvalidModel(
                "this server does not do that yet",
                field=f"C_dependencies[{m}]",
                value="preferences of the agents' own",
                allowed=f"nothing, or C[{m}] the same for all agents",
            )


def _is_refined(model: Model) -> bool:
    """Whether beliefs that do not settle are inferred once more in float64; see `beliefd.engine.refinement`.

    Not by marginal message passing: its messages are halved, and settle slowly.
    """
    return _takes_sweeps(model) and model.inference_algo != "mmp" and model.dtype == "float32"


_FEW_SWEEPS = 2
"""So few make nothing larger that was rounded off the beliefs about a window."""


def _takes_sweeps(model: Model) -> bool:
    """Whether more sweeps than one differ: without a modality of several factors all over one step give the same."""
    coupled = any(len(row) > 1 for row in model.A_dependencies)
    if model.profile != "pymdp":
        coupled = len(model.num_states) > 1
    return coupled or model.inference_algo in ("mmp", "vmp")


def _sizes(model: Model) -> dict[int, Any]:
    return {
        plan.NUM_FACTORS: len(model.num_states),
        plan.NUM_MODALITIES: len(model.num_obs),
        plan.NUM_CONTROL_FACTORS: len(model.num_controls),
        plan.NUM_POLICIES: len(model.policies),
        plan.NUM_ITER: model.num_iter if _takes_sweeps(model) else 1,
        plan.TOTAL_STATES: sum(model.num_states),
        plan.USE_UTILITY: model.use_utility,
        plan.USE_STATES_INFO_GAIN: model.use_states_info_gain and model.profile == "pymdp",
        plan.RANDOM_TIES: model.profile == "legacy",
        plan.KEEP_ZEROS: model.keep_zeros,
        plan.INDUCTIVE: model.use_inductive,
        plan.STOCHASTIC: model.action_selection == "stochastic",
        plan.MARGINAL: model.sampling_mode == "marginal",
        plan.NUM_STATES: model.num_states,
        plan.STATE_START: starts(model.num_states),
        plan.NUM_CONTROLS: model.num_controls,
        plan.CONTROLLED: [c in model.control_fac_idx for c in range(len(model.num_controls))],
        plan.NUM_MOVES: [tensor.shape[-1] for tensor in model.joint_B],
        plan.MOVE_CONTROLS_START: [0, *np.cumsum([len(controls) for controls in model.B_action_dependencies])],
        plan.MOVE_CONTROLS: [c for controls in model.B_action_dependencies for c in controls],
        plan.NUM_OBS: model.num_obs,
        plan.OBS_START: starts(model.num_obs),
        plan.GAMMA: model.gamma,
        plan.ALPHA: model.alpha,
        plan.OCCAM_WINDOW: model.occam_window or 0.0,
        plan.TOLERANCE: _TIE_TOLERANCE[model.dtype],
        plan.D: np.concatenate(model.D),
        plan.FIRST_ACTIONS: model.policies[:, 0],
        plan.LOG_E: log_habits(model.E, model.profile),
    }


def _record(layout: RecordLayout) -> dict[int, Any]:
    return {
        plan.SLOT_START: layout.slot_start,
        plan.SLOT_BYTES: layout.slot_bytes,
        plan.REQUEST_ID_AT: layout.request_id,
        plan.FLAGS_AT: layout.flags,
        plan.VFE_AT: layout.vfe,
        plan.OBSERVATION_AT: layout.observation,
        plan.ACTION_AT: layout.action,
        plan.BELIEFS_AT: layout.beliefs,
        plan.RATE_AT: layout.rate or 0,
        plan.COUNTS_AT: layout.counts,
        plan.COUNTS_BYTES: layout.counts_bytes,
        plan.COUNTS_START: layout.counts_start,
    }


def _spread(
    C: NDArray[np.float64], states: Sequence[int], A: NDArray[np.float64], factors: Sequence[int]
) -> NDArray[np.float64]:
    """Preferences with an axis for each factor of the modality, in order: of one where they do not depend on it."""
    in_order = C.transpose([0, 1, *(2 + position for position in np.argsort(states))])
    shape = [length if f in states else 1 for f, length in zip(factors, A.shape[1:], strict=True)]
    return in_order.reshape(*C.shape[:2], *shape)


def _utility(
    C: NDArray[np.float64], states: Sequence[int], A: NDArray[np.float64], factors: Sequence[int]
) -> NDArray[np.float64]:
    """What the observations of a modality are worth on average, by time and the states of its factors, in order."""
    if not states:
        return np.tensordot(C, A, 1)
    return np.asarray((_spread(C, states, A, factors) * A).sum(axis=1))


class _Likelihoods:
    """A per modality, its axes in the order of the factors, and what of G is linear in their joint.

    No factor is summed out of the modalities in `whole`.
    """

    def __init__(self, model: Model, found: Forecast, own: _Own, whole: Collection[int]) -> None:
        self._tensors = []
        self._linear = []
        self.contractions: list[Contraction | None] = []
        self._preferences = [preferences(C, model.profile, axis=1) for C in model.timed_C]
        self.times = [len(preference) for preference in self._preferences]
        pairs = zip(model.A, self._preferences, model.A_dependencies, model.C_dependencies, strict=True)
        for tensor, preference, factors, states in pairs:
            A = tensor.transpose([0, *(1 + position for position in np.argsort(factors))])
            utility = _utility(preference, states, A, tuple(sorted(factors))) * model.use_utility
            gains = model.use_states_info_gain and model.profile == "pymdp"
            certainty = (A * log_floor(A)).sum(axis=0) * gains
            # In the order of the parts of G.
            linear = np.stack([utility + certainty, utility, np.broadcast_to(certainty, utility.shape)])
            self._tensors.append(A)
            self._linear.append(linear)
            keep = len(self.contractions) in whole
            self.contractions.append(None if keep else contract(A, linear, tuple(sorted(factors)), found))
        self._own = own.modalities
        self._states = model.C_dependencies
        self._factors = [tuple(sorted(factors)) for factors in model.A_dependencies]
        self._profile = model.profile
        self._refined = _is_refined(model)

    def fields(self, joints: Joints) -> dict[int, Any]:
        matrices = [tensor.reshape(len(tensor), -1) for tensor in self._tensors]
        rows, columns, values, widths = _kept([[matrix] for matrix in matrices])
        by_state = [self._by_state(m) for m in range(len(matrices))]
        logs = np.concatenate([self._said(matrix).reshape(-1) for matrix in matrices])
        return {
            plan.A_JOINT: [joints.number[factors] for factors in joints.A],
            plan.A_WIDTH: widths,
            plan.LOG_A_START: starts([matrix.size for matrix in matrices]),
            plan.LOG_A: logs,
            plan.LOG_A_REST: logs - logs.astype(np.float32) if self._refined else np.zeros(0),
            plan.LINEAR_START: starts([weight.size for weight in self._linear]),
            plan.LINEAR: np.concatenate([weight.reshape(-1) for weight in self._linear]),
            plan.PREFERENCE_TIMES: self.times,
            plan.PREFERENCE_START: starts([preference.size for preference in by_state]),
            plan.PREFERENCE_STATES: [preference.shape[1] for preference in by_state],
            plan.PREFERENCES: np.concatenate([preference.reshape(-1) for preference in by_state]),
            plan.A_ROWS: rows,
            plan.A_COLUMNS: columns,
            plan.A_VALUES: values,
            **self._contracted(),
        }

    def _by_state(self, m: int) -> NDArray[np.float64]:
        """Preferences as (time, state of the joint, observation); of one state where they do not depend on it.

        They are weighed by an A of the agents' own. That of the model is in what is linear already.
        """
        C, states, A = self._preferences[m], self._states[m], self._tensors[m]
        if not states or m not in self._own:
            return C.reshape(len(C), 1, -1)
        spread = np.broadcast_to(_spread(C, states, A, self._factors[m]), (len(C), *A.shape))
        return np.moveaxis(spread, 1, -1).reshape(len(C), -1, len(A))

    def _said(self, matrix: NDArray[np.float64]) -> NDArray[np.float64]:
        return log_floor(matrix) if self._profile == "pymdp" else matrix

    def _contracted(self) -> dict[int, Any]:
        none = np.zeros(0, dtype=np.int64)
        some = [contraction for contraction in self.contractions if contraction is not None]
        rows, columns, values, _ = _kept([[contraction.matrix] for contraction in some], dense=2.0)
        counts, states, widths = [], [none], []
        for m, (A, contraction) in enumerate(zip(self._tensors, self.contractions, strict=True)):
            joint = A[0].size
            if contraction is not None:
                counts.append(contraction.counts)
                states.append(contraction.states)
                widths.append(A.shape[1 + contraction.axis])
            else:
                own = m in self._own
                counts.append(np.full(len(A), joint if own else 0))
                states.append(np.tile(np.arange(joint), len(A) if own else 0))
                widths.append(joint)
        return {
            plan.GIVEN_WIDTH: widths,
            plan.GIVEN_START: starts([0 if c is None else len(c.matrix) for c in self.contractions]),
            plan.GIVEN_COUNT: [int(count.sum()) for count in counts],
            plan.GIVEN_ROWS: rows,
            plan.GIVEN_COLUMNS: columns,
            plan.GIVEN_VALUES: values,
            plan.GIVEN_ENTRIES: [0, *np.cumsum(np.concatenate(counts))],
            plan.GIVEN_STATES: np.concatenate(states),
        }


def _transitions(matrices: list[NDArray[np.float64]], joints: Joints) -> dict[int, Any]:
    rows, columns, values, widths = _kept(matrices)
    return {
        plan.B_JOINT: [joints.number[factors] for factors in joints.B],
        plan.B_WIDTH: widths,
        plan.B_START: starts([len(matrix) * matrix.shape[1] for matrix in matrices]),
        plan.B_ROWS: rows,
        plan.B_COLUMNS: columns,
        plan.B_VALUES: values,
    }


def _transition_matrices(model: Model) -> list[NDArray[np.float64]]:
    """B per factor as (joint action, next state, state of its joint)."""
    matrices = []
    for tensor, factors in zip(model.joint_B, model.B_dependencies, strict=True):
        axes = [len(factors) + 1, 0, *(1 + position for position in np.argsort(factors))]
        matrices.append(tensor.transpose(axes).reshape(tensor.shape[-1], tensor.shape[0], -1))
    return matrices


def _unknown(matrices: NDArray[np.float64]) -> NDArray[np.float64]:
    """Transitions that have nothing in common: what agents learn may be anything."""
    rng = np.random.default_rng(matrices.shape)
    return np.moveaxis(rng.dirichlet(np.ones(matrices.shape[1]), (matrices.shape[0], matrices.shape[2])), 2, 1)


class _Own:
    """What agents have of their own: learned counts, in their records, and parameters that they were given.

    Attributes
    ----------
    modalities, factors : list of int
        Whose A, and whose B, is the agents' own.
    counts : dict
        The counts of A and B among it, by name.
    """

    def __init__(self, model: Model, info: ModelInfo) -> None:
        self._model = model
        self._learned = learned_arrays(model)
        self._given = own_arrays(model, info.per_agent)
        self.counts = {n: a for n, a in (self._given | self._learned).items() if n.startswith(("pA", "pB"))}
        self.modalities = [m for m in range(len(model.num_obs)) if f"pA{m}" in self.counts]
        self.factors = [f for f in range(len(model.num_states)) if f"pB{f}" in self.counts]

    def fields(self) -> dict[int, Any]:
        model, learned, tensors = self._model, self._learned, self._model.tensors()
        zeros, none = np.zeros(0), np.zeros(0, dtype=np.int64)
        b_arrays = [array for name, array in learned.items() if name.startswith("pB")]
        b_start = b_arrays[0].start if b_arrays else 0
        modalities, factors = len(model.num_obs), len(model.num_states)
        # C, D and E that were given hold until they are learned; counts are the mean of A and B from the first.
        first = [
            self._from(name[1:] if name.startswith(("pC", "pD", "pE")) else name, array)
            for name, array in learned.items()
        ]
        return {
            plan.B_COUNTS_START: b_start,
            plan.B_COUNTS_END: b_start + sum(array.size for array in b_arrays),
            plan.INITIAL_TENSORS: np.concatenate([zeros, *(self._before(name) for name in learned)]),
            plan.COUNT_ORDER: np.concatenate([none, *(array.order for array in learned.values())]),
            plan.NUM_COUNTS: sum(array.size for array in learned.values()),
            plan.NUM_PARAMETERS: sum(array.size for array in self._given.values()),
            plan.INITIAL_COUNTS: np.concatenate([zeros, *(a.kept(tensors[name]) for name, a in learned.items())]),
            plan.COUNT_TENSORS: np.concatenate([none, *first]),
            plan.COUNT_PARAMETERS: np.concatenate([none, *(self._from(name, a) for name, a in learned.items())]),
            plan.OWN_A_COUNTS: [learned[f"pA{m}"].start if f"pA{m}" in learned else -1 for m in range(modalities)],
            plan.OWN_B_COUNTS: [learned[f"pB{f}"].start if f"pB{f}" in learned else -1 for f in range(factors)],
            plan.OWN_D_COUNTS: [learned[f"pD{f}"].start if f"pD{f}" in learned else -1 for f in range(factors)],
            plan.GIVEN_D: [self._first_given(f"D{f}") for f in range(factors)],
            plan.GIVEN_PA: [self._first_given(f"pA{m}") for m in range(modalities)],
            plan.GIVEN_PB: [self._first_given(f"pB{f}") for f in range(factors)],
            plan.RATES: [getattr(model, f"{kind}_p{letter}") for letter in "ABDCE" for kind in ("lr", "fr")],
            plan.PC_COUNTS: [learned[f"pC{m}"].start if f"pC{m}" in learned else -1 for m in range(modalities)],
            plan.PE_COUNTS: learned["pE"].start if "pE" in learned else -1,
        }

    def _before(self, name: str) -> NDArray[np.float64]:
        """What holds until counts of this name are learned, in their order."""
        tensor = self._model.tensors()[name[1:]]
        if name.startswith("pC"):
            tensor = preferences(tensor, self._model.profile)
        elif name == "pE":
            tensor = log_habits(tensor, self._model.profile)
        return self._learned[name].kept(tensor)

    def _first_given(self, name: str) -> int:
        return self._given[name].start if name in self._given else -1

    def _from(self, name: str, array: OwnArray) -> NDArray[np.int64]:
        """The parameters that an array of counts starts from; -1 where it was not given."""
        if name not in self._given:
            return np.full(array.size, -1)
        return self._given[name].start + np.arange(array.size)

    def place(self, first_row: int, times: Sequence[int]) -> tuple[dict[int, Any], int, dict[int, int]]:
        """Give all of it rows of scratch from `first_row` on.

        Returns
        -------
        fields : dict
        rows : int
            How many.
        own_A : dict
            First row of each A of the agents' own.
        """
        row, rows = first_row, {}
        count_rows, parameter_rows = [np.zeros(0, dtype=np.int64)], [np.zeros(0, dtype=np.int64)]
        for name, array in self._learned.items():
            rows[name] = row
            count_rows.append(np.arange(row, row + array.size))
            row += _rows_of(name, array, times)
        for name, array in self._given.items():
            if name in rows or (name.startswith(("C", "D", "E")) and f"p{name}" in rows):
                parameter_rows.append(np.full(array.size, -1))
                continue
            rows[name] = row
            parameter_rows.append(np.arange(row, row + array.size))
            row += _rows_of(name, array, times)
        modalities, factors = range(len(self._model.num_obs)), range(len(self._model.num_states))
        fields = {
            plan.OWN_A: [rows.get(f"pA{m}", -1) for m in modalities],
            plan.OWN_B: [rows.get(f"pB{f}", -1) for f in factors],
            plan.OWN_C: [rows.get(f"pC{m}", rows.get(f"C{m}", -1)) for m in modalities],
            plan.OWN_D: [rows.get(f"pD{f}", rows.get(f"D{f}", -1)) for f in factors],
            plan.OWN_E: rows.get("pE", rows.get("E", -1)),
            plan.OWN_GAMMA: rows.get("gamma", -1),
            plan.OWN_ALPHA: rows.get("alpha", -1),
            plan.COUNT_ROWS: np.concatenate(count_rows),
            plan.PARAMETER_ROWS: np.concatenate(parameter_rows),
        }
        return fields, row - first_row, {m: rows[f"pA{m}"] for m in modalities if f"pA{m}" in rows}


def _rows_of(name: str, array: OwnArray, times: Sequence[int]) -> int:
    # After an own A stands what is linear, as after A'.
    linear = times[int(name[2:])] * (array.size // array.shape[0]) if name.startswith("pA") else 0
    return array.size + linear


class _Predictions:
    """What evaluates policies."""

    def __init__(
        self,
        tree: PolicyTree,
        found: Forecast,
        joints: Joints,
        likelihoods: _Likelihoods,
        goals: Goals,
        own: _Own,
        ensemble: Ensemble,
        novelty: NoveltyPlan,
    ) -> None:
        self.joints = joints
        self._tree = tree
        self._found = found
        self._likelihoods = likelihoods
        self.goals = goals
        self.own = own
        self.ensemble = ensemble
        self.novelty = novelty

    def own_fields(self, first_row: int) -> tuple[dict[int, Any], int]:
        """Where what agents have of their own stands in scratch from `first_row` on, and how many rows it takes."""
        fields, rows, self.own_rows = self.own.place(first_row, self._likelihoods.times)
        return fields, rows

    def fields(self, first_row: int) -> tuple[dict[int, Any], int]:
        """The fields, and how many rows of scratch predictions take from `first_row` on."""
        tree, joints = self._tree, self.joints
        singles = range(len(joints.num_states))
        blocks = Blocks(
            now={("belief", (f,)): joints.rows[f] for f in singles}
            | {("joint", factors): joints.rows[j] for factors, j in joints.number.items() if len(factors) > 1}
            | {("own", (m,)): row for m, row in self.own_rows.items()},
            states=joints.num_states,
            state_start=joints.state_start,
            A_parents=joints.A,
            B_parents=joints.B,
            joint_number=joints.number,
            contractions=self._likelihoods.contractions,
            times=self._likelihoods.times,
            goals=self.goals.factors,
            own_factors=self.own.factors,
            novelty=(self.novelty.modalities, self.novelty.factors),
            jointly=self.ensemble.gains,
            first_row=first_row,
        )
        planned = schedule(tree, self._found, blocks)
        nodes = np.zeros((len(tree.depths), NODE_INTS), dtype=np.int64)
        nodes[:, 0] = tree.depths
        nodes[:, 1] = planned.totals
        nodes[:, 2:4] = tree.leaves
        fields = {
            plan.NUM_NODES: len(nodes),
            plan.NODES: nodes,
            plan.NUM_OPERATIONS: planned.count,
            plan.OPERATIONS: planned.operations,
            plan.LEAF_POLICIES: tree.leaf_policies,
        }
        return fields, planned.rows


def _place_scratch(fields: dict[int, Any], model: Model, predictions: _Predictions, window: WindowPlan) -> int:
    total_states = sum(model.num_states)
    row = predictions.joints.end
    for name, rows in (
        (plan.BASE_ROW, total_states),
        (plan.MESSAGE_ROW, total_states),
        (plan.LIKELIHOOD_ROW, predictions.joints.likelihood_rows),
        (plan.INDUCTIVE_ROW, total_states if model.use_inductive else 0),
    ):
        fields[name] = row
        row += rows
    fields[plan.PRIOR_ROW], fields[plan.BEFORE_ROW], fields[plan.MOVES_ROW] = fields[plan.BASE_ROW], -1, -1
    if _is_refined(model):
        kept_rows = total_states * window.kept_steps
        fields[plan.PRIOR_ROW], fields[plan.BEFORE_ROW] = row, row + total_states
        row += total_states + kept_rows
        if model.num_iter > _FEW_SWEEPS:
            fields[plan.MOVES_ROW] = row
            row += 1
    for own in (predictions.own_fields, predictions.goals.own_fields):
        part, rows = own(row)
        fields.update(part)
        row += rows
    fields.update(predictions.ensemble.fields(row))
    row += predictions.ensemble.rows
    fields.update(predictions.novelty.fields(row))
    row += predictions.novelty.rows
    part, rows = window.row_fields(row)
    fields.update(part)
    row += rows
    fields[plan.PREDICTION_ROW] = row
    part, rows = predictions.fields(row)
    fields.update(part)
    row += max(rows, predictions.joints.inference_rows, window.room)
    for name, rows in (
        (plan.NEG_EFE_ROW, model.policy_len + 1),
        (
            plan.OBSERVATION_ROW,
            max(
                *model.num_obs,
                *(plan.TOGETHER_MOST * model.num_obs[m] for m in predictions.own.modalities),
                predictions.ensemble.observation_rows,
                predictions.novelty.room,
            ),
        ),
        (plan.SPARE_ROW, 3),
        (plan.MARGINAL_ROW, max(model.num_controls)),
        (plan.SCORE_ROW, len(model.policies)),
    ):
        fields[name] = row
        row += rows
    conditioned = ConditionedPlan(model)
    fields.update(conditioned.fields(row))
    row += conditioned.rows
    tree = TreePlan(model)
    fields.update(tree.fields(row))
    return row + tree.rows


def _kept(
    groups: Iterable[Iterable[NDArray[np.float64]]], dense: float = _DENSE
) -> tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.float64], list[int]]:
    """Stack matrices by rows and keep their entries: of a group that is dense all, else those that are not zero.

    Returns
    -------
    rows, columns, values
        Row i has the entries rows[i] .. rows[i + 1].
    widths : list of int
        Per group the columns of a row where all are kept, else 0.
    """
    counts, columns = [np.zeros(1, dtype=np.int64)], [np.zeros(0, dtype=np.int64)]
    values, widths = [np.zeros(0)], []
    for group in groups:
        matrix = np.concatenate(list(group))
        whole = np.count_nonzero(matrix) > dense * matrix.size
        row, column = np.nonzero(np.ones_like(matrix) if whole else matrix)
        counts.append(np.bincount(row, minlength=len(matrix)))
        columns.append(column)
        values.append(matrix[row, column])
        widths.append(matrix.shape[1] if whole else 0)
    return np.cumsum(np.concatenate(counts)), np.concatenate(columns), np.concatenate(values), widths
