"""The operations of a plan, replayed: every row holds what is read from it when it is read."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import pytest

from beliefd.engine import plan
from beliefd.engine.planner import CompiledModel, compile_model
from beliefd.model import Model
from models import grid, random_model, tmaze


def section(ints: np.ndarray, name: int, i: int) -> int:
    return int(ints[ints[name] + i])


def operations(ints: np.ndarray) -> Iterator[tuple[int, int, np.ndarray]]:
    """Name, target and details of each."""
    at = int(ints[plan.OPERATIONS])
    for _ in range(ints[plan.NUM_OPERATIONS]):
        name, target, first = ints[at : at + 3].tolist()
        details = {plan.MOVE: 3, plan.VALUE: 3, plan.CONTRACT: 2, plan.VALUE_GIVEN: 4, plan.SUM: 1 + first}
        details |= {plan.MOVE_OWN: 3 + first, plan.VALUE_OWN: 4 + first}
        count = 1 + section(ints, plan.JOINT_ARITY, first) if name == plan.JOIN else details[name]
        yield name, target, ints[at + 2 : at + 2 + count]
        at += 2 + count


def replay(compiled: CompiledModel, model: Model, now: np.ndarray) -> np.ndarray:
    """What each node adds to G, by the operations alone; a row that was never written is not a number."""
    ints, reals = compiled.ints, compiled.reals
    work = np.full(compiled.scratch_rows, np.nan)
    work[: len(now)] = now
    for m, A in enumerate(model.A):
        own = section(ints, plan.OWN_A, m)
        if own >= 0:
            kept = A.transpose([0, *(1 + np.argsort(model.A_dependencies[m]))])
            C = model.C[m] if model.C[m].ndim == 2 else model.C[m][np.newaxis]
            linear = np.tensordot(C, kept, 1) + (kept * np.log(np.maximum(kept, 2.0**-52))).sum(axis=0)
            work[own : own + kept.size + linear.size] = np.concatenate([kept.ravel(), linear.ravel()])
    for f, B in enumerate(model.B):
        own = section(ints, plan.OWN_B, f)
        if own >= 0:
            axes = [B.ndim - 1, 0, *(1 + np.argsort(model.B_dependencies[f]))]
            work[own : own + B.size] = B.transpose(axes).ravel()

    def weighed(pointer: int, count: int, columns: int, values: int, first: int) -> np.ndarray:
        sums = np.zeros(count)
        for row in range(count):
            for i in range(int(ints[pointer + row]), int(ints[pointer + row + 1])):
                sums[row] += reals[values + i] * work[first + ints[columns + i]]
        return sums

    for name, target, details in operations(ints):
        if name == plan.MOVE:
            first, f, action = details
            states = section(ints, plan.NUM_STATES, f)
            pointer = int(ints[plan.B_ROWS]) + section(ints, plan.B_START, f) + int(action) * states
            moved = weighed(pointer, states, int(ints[plan.B_COLUMNS]), int(ints[plan.B_VALUES]), first)
            work[target : target + states] = moved
        elif name == plan.VALUE:
            first, m, time = details
            joint = section(ints, plan.A_JOINT, m)
            size = section(ints, plan.JOINT_SIZE, joint)
            linear = int(ints[plan.LINEAR]) + section(ints, plan.LINEAR_START, m) + time * size
            value = float(reals[linear : linear + size] @ work[first : first + size])
            pointer = int(ints[plan.A_ROWS]) + section(ints, plan.OBS_START, m)
            p = weighed(
                pointer, section(ints, plan.NUM_OBS, m), int(ints[plan.A_COLUMNS]), int(ints[plan.A_VALUES]), first
            )
            work[target] = value - float((p * np.log(np.maximum(p, 2.0**-52))).sum())
        elif name == plan.CONTRACT:
            first, m = details
            states, times = section(ints, plan.GIVEN_WIDTH, m), section(ints, plan.PREFERENCE_TIMES, m)
            rows = section(ints, plan.GIVEN_COUNT, m) + states * times
            pointer = int(ints[plan.GIVEN_ROWS]) + section(ints, plan.GIVEN_START, m)
            work[target : target + rows] = weighed(
                pointer, rows, int(ints[plan.GIVEN_COLUMNS]), int(ints[plan.GIVEN_VALUES]), first
            )
        elif name == plan.VALUE_GIVEN:
            first, m, time, given = details
            states, count = (
                section(ints, plan.GIVEN_WIDTH, m),
                section(ints, plan.GIVEN_COUNT, m),
            )
            linear = given + count + time * states
            value = float(work[linear : linear + states] @ work[first : first + states])
            start = int(ints[plan.GIVEN_ENTRIES]) + section(ints, plan.OBS_START, m)
            ends = ints[start : start + section(ints, plan.NUM_OBS, m) + 1]
            p = np.zeros(len(ends) - 1)
            for o in range(len(p)):
                for i in range(int(ends[o]), int(ends[o + 1])):
                    p[o] += work[given + i - ends[0]] * work[first + section(ints, plan.GIVEN_STATES, i)]
            work[target] = value - float((p * np.log(np.maximum(p, 2.0**-52))).sum())
        elif name == plan.MOVE_OWN:
            count, f, action, *sources = details.tolist()
            states = section(ints, plan.NUM_STATES, f)
            size = section(ints, plan.JOINT_SIZE, section(ints, plan.B_JOINT, f))
            matrix = work[section(ints, plan.OWN_B, f) + action * states * size :][: states * size]
            assert 1 <= count <= plan.TOGETHER_MOST
            # They are written side by side: what one of them reads must not be what another writes.
            work[target : target + count * states] = np.nan
            for p, first in enumerate(sources):
                moved = matrix.reshape(states, size) @ work[first : first + size]
                work[target + p * states : target + (p + 1) * states] = moved
        elif name == plan.VALUE_OWN:
            count, m, time, *sources, own = details.tolist()
            num_obs, size = section(ints, plan.NUM_OBS, m), section(ints, plan.GIVEN_WIDTH, m)
            linear = own + (num_obs + time) * size
            assert 1 <= count <= plan.TOGETHER_MOST
            work[target : target + count] = np.nan
            for i, first in enumerate(sources):
                q = work[first : first + size]
                p = work[own : own + num_obs * size].reshape(num_obs, size) @ q
                value = float(work[linear : linear + size] @ q)
                work[target + i] = value - float((p * np.log(np.maximum(p, 2.0**-52))).sum())
        elif name == plan.SUM:
            rows = details[1:]
            work[target] = work[rows].sum()
        else:
            joint = int(details[0])
            arity, size = section(ints, plan.JOINT_ARITY, joint), section(ints, plan.JOINT_SIZE, joint)
            start = int(ints[plan.JOINT_INDEX]) + section(ints, plan.JOINT_INDEX_START, joint)
            states = ints[start : start + arity * size].reshape(size, arity)
            work[target : target + size] = work[states + details[1:]].prod(axis=1)
    nodes = ints[ints[plan.NODES] :][: ints[plan.NUM_NODES] * plan.NODE_INTS].reshape(-1, plan.NODE_INTS)
    return work[nodes[:, 1]]


def direct(model: Model, now: list[np.ndarray]) -> dict[tuple[tuple[int, ...], ...], float]:
    """What the last action of every beginning of a policy adds to G."""
    added = {}
    for policy in model.policies.tolist():
        beliefs = now
        for depth in range(len(policy)):
            beliefs = [
                _contracted(model.B[f][..., policy[depth][f]], [beliefs[p] for p in parents])
                for f, parents in enumerate(model.B_dependencies)
            ]
            key = tuple(tuple(actions) for actions in policy[: depth + 1])
            added[key] = sum(_value(model, m, depth, beliefs) for m in range(len(model.A)))
    return added


def _value(model: Model, m: int, depth: int, beliefs: list[np.ndarray]) -> float:
    parents = [beliefs[p] for p in model.A_dependencies[m]]
    A = model.A[m]
    p = _contracted(A, parents)
    ambiguity = _contracted(-(A * np.log(np.maximum(A, 2.0**-52))).sum(axis=0, keepdims=True), parents)[0]
    preference = model.C[m] if model.C[m].ndim == 1 else model.C[m][depth]
    return float(p @ preference - (p * np.log(np.maximum(p, 2.0**-52))).sum() - ambiguity)


def _contracted(tensor: np.ndarray, parents: list[np.ndarray]) -> np.ndarray:
    for parent in reversed(parents):
        tensor = tensor @ parent
    return tensor


def models() -> list[Model]:
    randoms = [random_model(np.random.default_rng(seed), sharp=seed % 2 == 0) for seed in range(40)]
    own = [
        learner(grid(3, policy_len=4)),
        learner(corridors()),
        learner(corridors(), learn_A=False),
        *(learner(model) for model in randoms[:8]),
    ]
    return [tmaze(policy_len=3, dtype="float64"), grid(4, dtype="float64"), corridors(), *randoms, *own]


def learner(model: Model, learn_A: bool = True, learn_B: bool = True) -> Model:
    """The same model for agents that learn A or B, or both, and so have their own."""
    return Model(
        A=model.A,
        B=model.B,
        C=model.C,
        D=model.D,
        pA=model.A if learn_A else None,
        pB=model.B if learn_B else None,
        A_dependencies=model.A_dependencies,
        B_dependencies=model.B_dependencies,
        policies=model.policies,
        learn_A=learn_A,
        learn_B=learn_B,
        dtype="float64",
    )


def corridors() -> Model:
    """A place that moves under three modalities, of it and one or two factors that stay, or that all agents share."""
    rng = np.random.default_rng(0)
    places, sides, kinds = 6, 2, 3
    move = np.stack([np.eye(places), np.roll(np.eye(places), 1, axis=0)], axis=-1)
    drift = (0.7 * np.eye(kinds) + 0.1)[:, :, np.newaxis]
    likelihoods = [rng.dirichlet(np.ones(4), shape) for shape in ((places, sides), (kinds, places, sides), (sides,))]
    return Model(
        A=[np.moveaxis(A, -1, 0) for A in likelihoods],
        B=[move, np.eye(sides)[:, :, np.newaxis], drift],
        C=[rng.normal(size=shape) for shape in ((4,), (4,), (4, 4))],
        A_dependencies=[[0, 1], [2, 0, 1], [1]],
        policy_len=4,
        dtype="float64",
    )


@pytest.mark.parametrize("model", models())
def test_every_node_adds_what_its_path_adds(model: Model) -> None:
    compiled = compile_model(model)
    rng = np.random.default_rng(1)
    now = [rng.dirichlet(np.ones(n)) for n in model.num_states]
    first_free = int(compiled.ints[plan.BASE_ROW])
    rows = np.full(first_free, np.nan)
    rows[: sum(model.num_states)] = np.concatenate(now)
    for j in range(len(now), compiled.ints[plan.NUM_JOINTS]):
        arity = int(compiled.ints[compiled.ints[plan.JOINT_ARITY] + j])
        size = int(compiled.ints[compiled.ints[plan.JOINT_SIZE] + j])
        start = int(compiled.ints[plan.JOINT_INDEX] + compiled.ints[compiled.ints[plan.JOINT_INDEX_START] + j])
        states = compiled.ints[start : start + arity * size].reshape(size, arity)
        row = int(compiled.ints[compiled.ints[plan.JOINT_ROW] + j])
        rows[row : row + size] = rows[states].prod(axis=1)
    added = replay(compiled, model, rows)
    expected = direct(model, now)
    ints = compiled.ints
    nodes = ints[ints[plan.NODES] :][: ints[plan.NUM_NODES] * plan.NODE_INTS].reshape(-1, plan.NODE_INTS)
    path: list[float] = []
    total = 0.0
    leaves = {}
    for (depth, _, start, end), value in zip(nodes.tolist(), added, strict=True):
        path = [*path[:depth], value]
        total = sum(path)
        for leaf in range(start, end):
            leaves[int(ints[ints[plan.LEAF_POLICIES] + leaf])] = total
    for p, policy in enumerate(model.policies.tolist()):
        keys = [tuple(tuple(actions) for actions in policy[: depth + 1]) for depth in range(len(policy))]
        assert leaves[p] == pytest.approx(sum(expected[key] for key in keys), rel=1e-9, abs=1e-9)


def test_what_no_action_moves_is_summed_out_once() -> None:
    compiled = compile_model(corridors())
    names = [name for name, _, _ in operations(compiled.ints)]
    # d steps lead to d + 1 places. One modality sees these and what never changes. The other sees also what drifts,
    # which has fewer states: it is kept, and each of the five places is summed out.
    # The third sees what never changes, but its preferences do.
    assert names.count(plan.VALUE) == 4
    assert names.count(plan.VALUE_GIVEN) == 5 + (2 + 3 + 4 + 5)
    assert names.count(plan.CONTRACT) == 1 + 5


def test_predictions_share_the_rows_of_what_is_learned() -> None:
    compiled = compile_model(learner(grid(4, policy_len=3)))
    counts = {name: [] for name in (plan.MOVE_OWN, plan.VALUE_OWN)}
    for name, _, details in operations(compiled.ints):
        counts[name].append(int(details[0]))
    # Five first moves are by five matrices; of all others five are by the same one, and all see by the same A.
    assert counts[plan.MOVE_OWN] == [1] * 5 + [5] * 30
    assert counts[plan.VALUE_OWN] == [5] * 31


def test_rows_are_used_again() -> None:
    """A walk of four steps on a grid predicts 102 beliefs of 49 cells; less than a quarter is in use at once."""
    compiled = compile_model(grid(7, policy_len=4))
    predicted = compiled.ints[plan.NEG_EFE_ROW] - compiled.ints[plan.PREDICTION_ROW]
    moves = int(compiled.ints[plan.NUM_OPERATIONS]) // 2
    assert predicted < moves * 49 // 4
