from __future__ import annotations

import copy
import json
import pickle
import warnings
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from beliefd.advice import ModelWarning
from beliefd.model import Model
from beliefd_proto.errors import InvalidModel
from models import random_model, tmaze, with_counts

seeds = st.integers(0, 2**32 - 1)


def parts(**changes: Any) -> dict[str, Any]:
    """Arguments of a small valid model: factors of 3 and 2 states, modalities of 2 and 3 observations."""
    arguments: dict[str, Any] = {
        "A": [np.full((2, 3, 2), 0.5), np.eye(3)],
        "B": [np.stack([np.eye(3), np.full((3, 3), 1 / 3)], axis=-1), np.eye(2)[:, :, None]],
        "A_dependencies": [[0, 1], [0]],
    }
    return arguments | changes


def tensor(which: str, index: tuple[int, ...], value: float) -> dict[str, Any]:
    changed = [array.copy() for array in parts()[which]]
    changed[0][index] = value
    return {which: changed}


def refusal(**changes: Any) -> InvalidModel:
    with pytest.raises(InvalidModel) as caught:
        Model(**parts(**changes))
    error = caught.value
    assert error.field
    assert error.allowed
    return error


def test_who_passes_an_axis_of_agents_is_told_where_it_goes() -> None:
    error = refusal(D=[np.full((5, 3), 1 / 3), np.full(2, 0.5)])
    assert error.field == "D[0]"
    assert "per_agent" in str(error)
    assert "per_agent" not in str(refusal(D=[np.full((), 1.0), np.full(2, 0.5)]))


def test_defaults() -> None:
    model = Model(**parts())
    assert model.num_obs == (2, 3)
    assert model.num_states == (3, 2)
    assert model.num_controls == (2, 1)
    assert model.control_fac_idx == (0,)
    assert model.B_dependencies == ((0,), (1,))
    assert [c.tolist() for c in model.C] == [[0.0, 0.0], [0.0, 0.0, 0.0]]
    assert [d.tolist() for d in model.D] == [[1 / 3] * 3, [0.5, 0.5]]
    assert model.E.tolist() == [0.5, 0.5]
    assert model.policies.tolist() == [[[0, 0]], [[1, 0]]]
    assert model.dtype == "float32"
    assert Model(A=[np.full((2, 3, 2), 0.5)], B=parts()["B"]).A_dependencies == ((0, 1),)


def test_tensors_are_owned_float64_and_read_only() -> None:
    source = np.asfortranarray(np.full((2, 3, 2), 0.5, dtype=np.float32))
    model = Model(**parts(A=[source, np.eye(3)]))
    source[:] = 9.0
    assert model.A[0].max() == 0.5
    for name, array in model.tensors().items():
        assert array.flags.c_contiguous
        assert not array.flags.writeable
        assert array.dtype == (np.int32 if name == "policies" else np.float64)
        with pytest.raises(ValueError, match="read-only"):
            array[...] = 0


def test_model_cannot_be_changed() -> None:
    model = Model(**parts())
    for name in ("gamma", "hash", "A", "something"):
        with pytest.raises(AttributeError, match="immutable"):
            setattr(model, name, 1.0)
    assert model.info is model.info


@pytest.mark.parametrize("which", ["A", "B"])
@pytest.mark.parametrize(
    ("value", "message"), [(np.nan, "finite"), (np.inf, "finite"), (-0.25, "negative"), (0.51, "sum"), (2.0, "sum")]
)
def test_bad_entry_names_array_index_and_value(which: str, value: float, message: str) -> None:
    index = (1, 2, 0)
    error = refusal(**tensor(which, index, value))
    assert error.field == f"{which}[0]"
    assert message in error.message
    if message == "sum":
        assert error.index == (2, 0)
        assert error.value == pytest.approx(value + (0.5 if which == "A" else 1.0))
    else:
        assert error.index == index
        assert error.value == value or (np.isnan(error.value) and np.isnan(value))


def test_zero_column_is_named() -> None:
    A = np.eye(3)
    A[:, 2] = 0.0
    error = refusal(A=[np.full((2, 3, 2), 0.5), A])
    assert (error.field, error.index, error.value) == ("A[1]", (2,), 0.0)
    assert "all zero" in error.message


def test_column_sum_tolerance_is_1e_6() -> None:
    D = [np.array([0.5, 0.25, 0.25]), np.array([0.5, 0.5])]
    D[0][0] += 0.9e-6
    Model(**parts(D=D))
    D[0][0] += 0.2e-6
    assert refusal(D=D).field == "D[0]"


@pytest.mark.parametrize(
    ("changes", "field"),
    [
        ({"A": []}, "A"),
        ({"B": []}, "B"),
        ({"A": 3}, "A"),
        ({"A": np.float64(3)}, "A"),
        ({"A": {"a": 1}}, "A"),
        ({"A": [np.eye(3)] * 33, "A_dependencies": [[0]] * 33}, "A"),
        ({"A": [np.full((2, 3), 0.5), np.eye(3)]}, "A[0]"),
        ({"A": [np.full((2, 2, 3), 0.5), np.eye(3)]}, "A[0]"),
        ({"A": [np.zeros((0, 3, 2)), np.eye(3)]}, "A[0]"),
        ({"A": [[["a", "b"]], np.eye(3)]}, "A[0]"),
        ({"A": [np.full((2, 3, 2), 0.5, dtype=object), np.eye(3)]}, "A[0]"),
        ({"A": [np.full((2, 3, 2), 0.5 + 0j), np.eye(3)]}, "A[0]"),
        ({"A": [[[0.5, 0.5], [0.5]], np.eye(3)]}, "A[0]"),
        ({"B": [np.eye(3), np.eye(2)[:, :, None]]}, "B[0]"),
        ({"B": [np.full((3, 2, 1), 1 / 3), np.eye(2)[:, :, None]]}, "B[0]"),
        ({"C": [np.zeros(2)]}, "C"),
        ({"C": [np.zeros(2), np.zeros(2)]}, "C[1]"),
        ({"C": [np.zeros(2), [0, np.inf, 0]]}, "C[1]"),
        ({"C": [np.zeros(2), [0, 1e300, 0]]}, "C[1]"),
        ({"D": [np.full(3, 1 / 3)]}, "D"),
        ({"D": [np.full(2, 1 / 2), np.full(2, 1 / 2)]}, "D[0]"),
        ({"D": [[[1.0, 0, 0]], [1.0, 0]]}, "D[0]"),
        ({"E": [1.0]}, "E"),
        ({"E": [0.6, 0.6]}, "E"),
        ({"A_dependencies": [[0, 1]]}, "A_dependencies"),
        ({"A_dependencies": [[0, 2], [0]]}, "A_dependencies[0][1]"),
        ({"A_dependencies": [[0, -1], [0]]}, "A_dependencies[0][1]"),
        ({"A_dependencies": [[0, 0], [0]]}, "A_dependencies[0]"),
        ({"A_dependencies": [[0, 1.0], [0]]}, "A_dependencies[0][1]"),
        ({"A_dependencies": [[0, True], [0]]}, "A_dependencies[0][1]"),
        ({"A_dependencies": [[0, 1], []]}, "A_dependencies[1]"),
        ({"A_dependencies": [[0, 1], 0]}, "A_dependencies[1]"),
        ({"B_dependencies": [[0], [2]]}, "B_dependencies[1][0]"),
        ({"B_dependencies": [[0], []]}, "B_dependencies[1]"),
        ({"num_controls": [2, 2]}, "num_controls[1]"),
        ({"num_controls": [2]}, "num_controls"),
        ({"control_fac_idx": [2]}, "control_fac_idx[0]"),
        ({"control_fac_idx": [0, 0]}, "control_fac_idx"),
        ({"policies": [[[0, 0]]], "policy_len": 2}, "policy_len"),
        ({"policy_len": 0}, "policy_len"),
        ({"policy_len": 1.0}, "policy_len"),
        ({"num_iter": 0}, "num_iter"),
        ({"num_iter": True}, "num_iter"),
        ({"gamma": 0.0}, "gamma"),
        ({"gamma": np.nan}, "gamma"),
        ({"gamma": "1"}, "gamma"),
        ({"gamma": 1e-31}, "gamma"),
        ({"alpha": 1e-31}, "alpha"),
        ({"alpha": -1.0}, "alpha"),
        ({"alpha": np.inf}, "alpha"),
        ({"alpha": [1.0]}, "alpha"),
        ({"num_iter": [16]}, "num_iter"),
        ({"use_utility": 1}, "use_utility"),
        ({"inference_algo": "bp"}, "inference_algo"),
        ({"inference_algo": "exact"}, "inference_algo"),
        ({"inference_algo": "mmp"}, "inference_horizon"),
        ({"inference_algo": "vmp", "inference_horizon": 0}, "inference_horizon"),
        (
            {
                "inference_algo": "ovf",
                "B": [np.full((3, 2, 2), 1 / 3), np.eye(2)[:, :, None]],
                "B_dependencies": [[1], [1]],
            },
            "inference_algo",
        ),
        ({"action_selection": "random"}, "action_selection"),
        ({"sampling_mode": 1}, "sampling_mode"),
        ({"dtype": "float16"}, "dtype"),
        ({"profile": "matlab"}, "profile"),
        ({"planner": "tree"}, "planner"),
        ({"planner": "mcts", "policies": [[[0, 0], [0, 0]]]}, "policies"),
        ({"planner": "mcts", "inference_algo": "mmp", "inference_horizon": 2, "profile": "spm"}, "planner"),
        ({"planner": "sophisticated", "inference_algo": "mmp", "inference_horizon": 2, "profile": "legacy"}, "planner"),
        ({"C": [[[0.0, 1.0], [2.0]], np.zeros(3)]}, "C[0]"),
        ({"C": [np.zeros((2, 2)), np.zeros(3)]}, "C[0]"),
        ({"C": [np.zeros((1, 3)), np.zeros(3)]}, "C[0]"),
        ({"C": [np.zeros((1, 1, 2)), np.zeros(3)]}, "C[0]"),
        ({"C_dependencies": [[0]]}, "C_dependencies"),
        ({"C_dependencies": [[2], []]}, "C_dependencies[0][0]"),
        ({"C_dependencies": [[0], [1]]}, "C_dependencies[1][0]"),
        ({"C_dependencies": [[1], []], "C": [np.zeros(2), np.zeros(3)]}, "C[0]"),
        ({"C_dependencies": [[1], []], "C": [np.zeros((2, 3)), np.zeros(3)]}, "C[0]"),
        ({"C_dependencies": [[1], []], "C": [np.zeros((2, 2, 2)), np.zeros(3)]}, "C[0]"),
        ({"C_dependencies": [[1], []], "pC": [[1.0, 1.0], None]}, "pC[0]"),
        ({"pA": [np.ones((2, 3, 2))]}, "pA"),
        ({"pA": [np.ones((2, 2, 3)), None]}, "pA[0]"),
        ({"pA": [None, -np.eye(3)]}, "pA[1]"),
        ({"pA": [None, np.ones((3, 3))]}, "pA[1]"),
        ({"pA": [None, np.diag([1.0, 2.0, 0.0])], "keep_zeros": False}, "pA[1]"),
        ({"pA": [None, np.diag([1.0, 2.0, np.inf])]}, "pA[1]"),
        ({"pA": [None, np.diag([1.0, 2.0, 1e13])]}, "pA[1]"),
        ({"pA": [None, np.diag([1.0, 2.0, 1e-31])]}, "pA[1]"),
        ({"pB": [None, np.ones((2, 2, 1))]}, "pB[1]"),
        ({"pB": [np.eye(3), None]}, "pB[0]"),
        ({"pC": [[1.0, 0.0], None]}, "pC[0]"),
        ({"pC": [None, [1.0, 1.0]]}, "pC[1]"),
        ({"pC": [[1.0, 1.0], None], "C": [np.zeros((1, 2)), np.zeros(3)]}, "pC[0]"),
        ({"pD": [None, [1.0, 0.0]]}, "pD[1]"),
        ({"pE": [1.0]}, "pE"),
        ({"pE": [0.0, 1.0]}, "pE"),
        ({"H": [[0, 0, 1]]}, "H"),
        ({"H": [[0, 0.5, 1], None]}, "H[0]"),
        ({"H": [[0, 1], None]}, "H[0]"),
        ({"H": [[0, 0, 0], None]}, "H"),
        ({"use_inductive": True}, "use_inductive"),
        ({"inductive_depth": 0}, "inductive_depth"),
        ({"inductive_threshold": 0.0}, "inductive_threshold"),
        ({"inductive_epsilon": 1.5}, "inductive_epsilon"),
        ({"use_param_info_gain": True}, "use_param_info_gain"),
        ({"learn_A": True}, "learn_A"),
        ({"learn_A": [0], "pA": [None, np.eye(3)]}, "learn_A"),
        ({"learn_A": [2], "pA": [None, np.eye(3)]}, "learn_A[0]"),
        ({"learn_B": [0, 0], "pB": [None, np.eye(2)[:, :, None]]}, "learn_B"),
        ({"learn_B": 1, "pB": [None, np.eye(2)[:, :, None]]}, "learn_B"),
        ({"learn_D": True}, "learn_D"),
        ({"learn_E": True}, "learn_E"),
        ({"learn_E": [0], "pE": [1.0, 1.0]}, "learn_E"),
        ({"lr_pA": 0.0}, "lr_pA"),
        ({"fr_pB": 1.1}, "fr_pB"),
        ({"keep_zeros": None}, "keep_zeros"),
        ({"B_action_dependencies": [[0], [0]]}, "B[1]"),
        ({"B_action_dependencies": [[0], []]}, "B[1]"),
        ({"B_action_dependencies": [[0], [1, 1]]}, "B_action_dependencies[1]"),
        ({"B_action_dependencies": [[0], [2]]}, "num_controls"),
        ({"B_action_dependencies": [[0], [2]], "num_controls": [2, 3]}, "num_controls"),
        ({"B_action_dependencies": [[0], [2]], "num_controls": [2, 3, 2]}, "num_controls[2]"),
    ],
)
def test_refusals_name_the_field(changes: dict[str, Any], field: str) -> None:
    assert refusal(**changes).field == field


def test_wrong_option_lists_the_allowed_ones() -> None:
    assert refusal(dtype="float16").allowed == "float32 | float64"


def test_unknown_argument_is_not_accepted() -> None:
    with pytest.raises(TypeError, match="pF"):
        Model(**parts(pF=None))


def test_entry_limit_is_checked_before_the_copy() -> None:
    view = np.broadcast_to(np.float64(1.0), (2, 60_000, 60_000))
    assert "too large" in refusal(A=[view, np.eye(3)]).message


def test_axis_limit() -> None:
    assert refusal(A=[np.broadcast_to(np.float64(0.0), (65_537, 3, 2)), np.eye(3)]).allowed == "1..65536"


def test_parents_may_be_any_factors() -> None:
    other_only = np.full((2, 3, 1), 0.5)
    model = Model(**parts(B=[parts()["B"][0], other_only], B_dependencies=[[0], [0]]))
    assert model.B[1].shape == (2, 3, 1)


def test_array_likes_make_the_same_model() -> None:
    class Foreign:
        def __init__(self, array: Any) -> None:
            self.array = array

        def __array__(self, dtype: Any = None, copy: bool | None = None) -> Any:
            return self.array

    lists = parts(A=[array.tolist() for array in parts()["A"]])
    foreign = parts(A=tuple(Foreign(array) for array in parts()["A"]))
    assert Model(**lists) == Model(**foreign) == Model(**parts())


def test_hash_ignores_how_a_model_was_made() -> None:
    made = Model(**parts(policy_len=2))
    explicit = Model(
        **parts(
            C=[-np.zeros(2), np.zeros(3)],
            E=np.full(4, 0.25),
            B_dependencies=((0,), (1,)),
            num_controls=(2, 1),
            control_fac_idx=np.array([0]),
            policies=made.policies,
            gamma=1,
        )
    )
    assert explicit.hash == made.hash
    assert explicit == made
    assert hash(explicit) == hash(made)
    assert explicit.info == made.info
    assert Model(**parts(control_fac_idx=[1, 0])) == Model(**parts(control_fac_idx=[0, 1]))


def test_hash_is_pinned() -> None:
    # Folders and populations are named by it: a change needs a new format version.
    assert Model(**parts()).hash == "00c581d9c53a6882ad50729ffcdf720b4d1cc00d0fdec4cf316999a7cd9d257c"


@pytest.mark.parametrize(
    "change",
    [
        {"gamma": 2.0},
        {"alpha": 2.0},
        {"dtype": "float64"},
        {"num_iter": 17},
        {"use_utility": False},
        {"use_states_info_gain": False},
        {"action_selection": "stochastic"},
        {"sampling_mode": "marginal"},
        {"policy_len": 2},
        {"E": [0.25, 0.75]},
        {"C": [[0, 1e-300], [0, 0, 0]]},
        {"D": [[1, 0, 0], [0.5, 0.5]]},
        {"policies": [[[1, 0]], [[0, 0]]]},
        {"control_fac_idx": [0, 1]},
        {"inference_algo": "mmp", "inference_horizon": 3},
        {"inference_horizon": 3},
        {"planner": "mcts"},
        {"num_simulations": 10},
        {"occam_window": 3.0},
        {"planner": "sophisticated", "policy_len": 3},
        {"profile": "spm"},
        {"C": [np.zeros((1, 2)), np.zeros(3)]},
        {"H": [[0, 0, 1], None]},
        {"H": [None, [0, 1]]},
        {"inductive_depth": 2},
        {"inductive_threshold": 0.2},
        {"inductive_epsilon": 0.01},
        {"pA": [None, np.eye(3)]},
        {"pA": [None, np.eye(3)], "use_param_info_gain": True},
        {"pB": [None, np.eye(2)[:, :, None]]},
        {"pB": [None, np.eye(2)[:, :, None]], "learn_B": True},
        {"pC": [[1, 1], None]},
        {"pD": [[1, 1, 1], None]},
        {"pE": [1, 1]},
        {"lr_pC": 0.5},
        {"fr_pE": 0.5},
        {"keep_zeros": False},
    ],
)
def test_hash_sees_every_difference(change: dict[str, Any]) -> None:
    assert Model(**parts(**change)) != Model(**parts())


@settings(deadline=None)
@given(seeds, st.booleans())
def test_parts_round_trip(seed: int, sharp: bool) -> None:
    model = random_model(np.random.default_rng(seed), sharp=sharp)
    spec = json.loads(json.dumps(model.spec()))
    again = Model.from_parts(spec, model.tensors())
    assert again == model
    assert again.spec() == spec
    assert pickle.loads(pickle.dumps(model)) == model
    assert copy.deepcopy(model) == model


def test_more_policies_than_an_axis_may_have_states() -> None:
    model = Model([np.eye(2)], [np.full((2, 2, 300), 0.5)], policy_len=2)
    assert len(model.policies) == 90_000
    assert Model.from_parts(model.spec(), model.tensors()) == model


def test_from_parts_refuses_what_it_does_not_know() -> None:
    model = tmaze()
    spec, tensors = model.spec(), model.tensors()
    bad = [
        (spec | {"format": 2}, tensors),
        (spec | {"planner": "tree"}, tensors),
        ({k: v for k, v in spec.items() if k != "gamma"}, tensors),
        ({k: v for k, v in spec.items() if k != "format"}, tensors),
        (spec | {"A_dependencies": 3}, tensors),
        (spec | {"gamma": "1"}, tensors),
        (spec, tensors | {"pA0": tensors["A0"]}),
        (spec, {k: v for k, v in tensors.items() if k != "C1"}),
        (spec, tensors | {"A0": tensors["A0"] * 0.9}),
        ("spec", tensors),
    ]
    for bad_spec, bad_tensors in bad:
        with pytest.raises(InvalidModel):
            Model.from_parts(bad_spec, bad_tensors)


def test_counts_and_goals_are_kept() -> None:
    model = Model(**parts(pA=[None, np.eye(3)], pB=[None, None], pE=[1, 2], H=[[0, 0, 1], None], learn_A=True))
    assert model.pA is not None
    assert model.pA[0] is None
    assert model.pA[1].tolist() == np.eye(3).tolist()
    assert model.pB is None
    assert model.H is not None
    assert [row.tolist() for row in model.H] == [[0.0, 0.0, 1.0], [0.0, 0.0]]
    assert model.learn_A == (1,)
    assert model.learn_E is False
    assert model.spec()["arrays"] == ["pA1", "H0", "H1", "pE"]
    assert model.info.learned == {"pA1": (3, 3)}


def test_counts_may_lie_where_the_probability_is_zero_if_zeros_are_not_kept() -> None:
    model = Model(**parts(pA=[None, np.ones((3, 3))], learn_A=[1], keep_zeros=False))
    assert model.learn_A == (1,)


@settings(deadline=None)
@given(seeds, st.booleans())
def test_round_trip_of_everything(seed: int, sharp: bool) -> None:
    rng = np.random.default_rng(seed)
    model = with_counts(rng, random_model(rng, sharp=sharp))
    spec = json.loads(json.dumps(model.spec()))
    again = Model.from_parts(spec, model.tensors())
    assert again == model
    assert again.spec() == spec
    assert again.info == model.info
    assert set(again.info.learned) <= set(model.tensors())


def test_info_of_a_window_and_of_a_tree() -> None:
    window = Model(**parts(inference_algo="vmp", inference_horizon=5)).info
    assert (window.inference_algo, window.inference_horizon, window.planner) == ("vmp", 5, "policies")
    learns = {"pB": [None, np.eye(2)[:, :, None]], "learn_B": True}
    for algo, options, steps in (
        ("ovf", learns, 2),
        ("ovf", learns | {"inference_horizon": 7}, 7),
        ("ovf", {"inference_horizon": 7}, 1),
        ("fpi", learns | {"inference_horizon": 7}, 1),
    ):
        assert Model(**parts(inference_algo=algo, **options)).info.inference_horizon == steps
    tree = Model(**parts(planner="sophisticated", policy_len=4))
    assert (tree.info.policy_len, tree.info.num_policies, tree.policies.shape) == (4, 2, (2, 1, 2))
    assert Model.from_parts(tree.spec(), tree.tensors()) == tree
    assert Model(**parts()).info.learned == {}


def crossed(**changes: Any) -> Model:
    """Controls of 2 and 3 actions; the first factor is moved by both, in reverse order, the second by none."""
    B = np.moveaxis(np.random.default_rng(0).dirichlet(np.ones(3), (3, 3, 2)), -1, 0)
    return Model(**parts(B=[B, np.eye(2)], B_action_dependencies=[[1, 0], []], **changes))


def test_controls_that_move_several_factors_or_none() -> None:
    model = crossed(policy_len=2)
    assert model.num_controls == (2, 3)
    assert model.control_fac_idx == (0, 1)
    assert model.policies.shape == (36, 2, 2)
    assert [B.shape for B in model.joint_B] == [(3, 3, 6), (2, 2, 1)]
    for policy, joint in zip(model.policies, model.joint_policies, strict=True):
        for (u0, u1), (j0, j1) in zip(policy, joint, strict=True):
            assert (model.joint_B[0][..., j0] == model.B[0][..., u1, u0]).all()
            assert j1 == 0
    assert Model.from_parts(model.spec(), model.tensors()) == model
    with pytest.raises(InvalidModel, match="another number of actions"):
        Model(**parts(B=[np.full((3, 3, 3, 2), 1 / 3), np.full((2, 2, 2), 0.5)], B_action_dependencies=[[1, 0], [1]]))


def test_a_control_that_moves_nothing_has_to_be_sized() -> None:
    model = Model(**parts(B=[parts()["B"][0], np.eye(2)], B_action_dependencies=[[1], []], num_controls=[4, 2]))
    assert model.num_controls == (4, 2)
    assert Model.from_parts(model.spec(), model.tensors()) == model
    assert refusal(B=[parts()["B"][0], np.eye(2)], B_action_dependencies=[[1], []]).field == "num_controls"


@pytest.mark.parametrize("actions", [1, 3])
def test_a_control_after_those_of_the_factors_is_kept(actions: int) -> None:
    model = Model(**parts(num_controls=[2, 1, actions]))
    assert model.policies.shape == (2 * actions, 1, 3)
    again = Model.from_parts(json.loads(json.dumps(model.spec())), model.tensors())
    assert again == model
    assert again.num_controls == (2, 1, actions)


def test_controls_shrink_the_set_of_policies() -> None:
    assert crossed(policy_len=2, control_fac_idx=[1]).policies.tolist() == [
        [[0, u], [0, v]] for u in range(3) for v in range(3)
    ]


def test_plain_controls_share_the_arrays() -> None:
    model = Model(**parts(policy_len=2))
    assert all(np.shares_memory(joint, B) for joint, B in zip(model.joint_B, model.B, strict=True))
    np.testing.assert_array_equal(model.joint_policies, model.policies)


class TestAdvice:
    def test_equal_columns(self) -> None:
        with pytest.warns(ModelWarning, match=r"all columns of A\[0\] are equal") as caught:
            Model(**parts())
        assert len(caught) == 1
        assert caught[0].filename == __file__

    def test_preferences_that_cannot_be_met(self) -> None:
        A = np.array([[1.0, 0, 1], [0, 1, 0], [0, 0, 0]])
        with pytest.warns(ModelWarning, match=r"C\[0\] prefers observation 2"):
            Model([A], [np.eye(3)[:, :, None]], C=[[0, 1, 2]])

    @pytest.mark.parametrize("C", [[0, 2, 2], [0, 1, -5], [0, 0, 0], None, [[0, 1, -5], [1, 0, -5]]])
    def test_preferences_that_can(self, C: Any) -> None:
        A = np.array([[1.0, 0, 1], [0, 1, 0], [0, 0, 0]])
        with warnings.catch_warnings():
            warnings.simplefilter("error", ModelWarning)
            Model([A], [np.eye(3)[:, :, None]], C=[C] if C else None, policy_len=2)

    def test_a_likelihood_that_is_learned_may_start_without_a_difference(self) -> None:
        with warnings.catch_warnings():
            warnings.simplefilter("error", ModelWarning)
            Model(**parts(pA=[np.ones((2, 3, 2)), None], learn_A=True))
            tmaze()


class TestAdviceOnReach:
    """A corridor of three cells, seen as they are: left of the agent's start is a cell that it cannot enter."""

    RIGHT = np.array([[1.0, 0, 0], [0, 0, 0], [0, 1, 1]])[:, :, np.newaxis]

    def test_a_preferred_observation_that_no_policy_leads_to(self) -> None:
        with pytest.warns(ModelWarning, match=r"C\[0\] prefers observation 0 .* no policy leads"):
            Model([np.eye(3)], [self.RIGHT], C=[[1, 0, 0]], D=[[0, 1, 0]])

    @pytest.mark.parametrize(
        "changes",
        [{"C": [[0, 0, 1]]}, {"D": None}, {"pB": [np.where(RIGHT > 0, 1.0, 0.0)]}, {"C": [[1, 0, 1]]}],
    )
    def test_one_that_some_policy_leads_to(self, changes: dict[str, Any]) -> None:
        with warnings.catch_warnings():
            warnings.simplefilter("error", ModelWarning)
            Model([np.eye(3)], [self.RIGHT], **({"C": [[1, 0, 0]], "D": [[0, 1, 0]]} | changes))

    def test_parents_are_followed(self) -> None:
        """The second factor opens the way of the first, after one step."""
        opens = np.zeros((2, 2, 2, 1))
        opens[[0, 1], 0, [0, 1]] = 1.0
        opens[1, 1] = 1.0
        switch = np.array([[0.0, 0], [1, 1]])[:, :, np.newaxis]
        arguments = {"C": [[0, 1]], "D": [[1, 0], [1, 0]], "A_dependencies": [[0]], "B_dependencies": [[0, 1], [1]]}
        with warnings.catch_warnings():
            warnings.simplefilter("error", ModelWarning)
            Model([np.eye(2)], [opens, switch], **arguments)
        with pytest.warns(ModelWarning, match="no policy leads"):
            Model([np.eye(2)], [opens, np.eye(2)[:, :, np.newaxis]], **arguments)

    def test_a_large_policy_set_is_warned_of_with_its_size(self) -> None:
        with pytest.warns(ModelWarning, match=r"59,049 policies and takes 17 MiB") as caught:
            Model([np.eye(3)], [np.repeat(np.eye(3)[:, :, np.newaxis], 3, axis=2)], policy_len=10)
        assert caught[0].filename == __file__


def test_repr_is_short() -> None:
    assert repr(tmaze()).startswith("Model(num_obs=[4, 3, 2], num_states=[4, 2], num_controls=[4, 1], policies=16x2")


@pytest.mark.parametrize(
    ("profile", "expected"),
    [
        ("pymdp", (1.0, 1.0, 16, "full")),
        ("legacy", (16.0, 16.0, 10, "marginal")),
        ("spm", (1.0, 512.0, 16, "marginal")),
    ],
)
def test_profiles_have_the_defaults_of_their_originals(profile: str, expected: tuple[Any, ...]) -> None:
    model = tmaze(profile=profile)
    assert (model.gamma, model.alpha, model.num_iter, model.sampling_mode) == expected
    assert tmaze(profile=profile, gamma=2.0).gamma == 2.0
