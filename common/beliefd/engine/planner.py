"""Compiles a model into a plan."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from beliefd.engine import plan
from beliefd.engine.conditionedplan import ConditionedPlan
from beliefd.engine.convention import log_habits
from beliefd.engine.ensemble import Ensemble
from beliefd.engine.forecast import forecast
from beliefd.engine.goals import Goals
from beliefd.engine.joints import Joints
from beliefd.engine.layout import RecordLayout
from beliefd.engine.likelihoodplan import LikelihoodPlan
from beliefd.engine.noveltyplan import NoveltyPlan
from beliefd.engine.ownplan import OwnPlan
from beliefd.engine.plan import starts
from beliefd.engine.policytree import policy_tree
from beliefd.engine.predictionplan import PredictionPlan
from beliefd.engine.sparserows import sparse_rows
from beliefd.engine.treeplan import TreePlan
from beliefd.engine.windowplan import WindowPlan
from beliefd.model import Model
from beliefd_proto.errors import InvalidModel
from beliefd_proto.model_info import ModelInfo

_TIE_TOLERANCE = {"float32": 1e-5, "float64": 1e-10}


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
    own = OwnPlan(model, info)
    known = [_unknown(matrix) if f in own.factors else matrix for f, matrix in enumerate(transitions)]
    found = forecast(tree, known, [tuple(sorted(factors)) for factors in model.B_dependencies])
    novelty = NoveltyPlan(model, own.counts)
    refined = _is_refined(model)
    likelihoods = LikelihoodPlan(model, found, own.modalities, {*own.modalities, *novelty.modalities}, refined)
    goals = Goals(model, info)
    joints = Joints(model, likelihoods.contractions)
    ensemble = Ensemble(model, joints, own=bool(own.modalities))
    window = WindowPlan(model, layout.window, joints, transitions, own.factors, refined)
    fields: dict[int, Any] = {}
    for part in (
        _sizes(model),
        _record(layout),
        joints.fields(),
        likelihoods.fields(joints),
        _transitions(transitions, joints),
        goals.fields(),
        own.fields(),
        window.fields(*sparse_rows([matrix] for matrix in window.matrices)),
    ):
        fields.update(part)
    predictions = PredictionPlan(tree, found, joints, likelihoods, goals, own, ensemble, novelty)
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


def _transitions(matrices: list[NDArray[np.float64]], joints: Joints) -> dict[int, Any]:
    rows, columns, values, widths = sparse_rows(matrices)
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


def _place_scratch(fields: dict[int, Any], model: Model, predictions: PredictionPlan, window: WindowPlan) -> int:
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
