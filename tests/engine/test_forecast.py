"""Beliefs that are the same whatever the beliefs of now are predicted once, and no others."""

from __future__ import annotations

import itertools

import numpy as np
import pytest

from beliefd.engine.forecast import Forecast, forecast
from beliefd.engine.policytree import PolicyTree, policy_tree
from beliefd.model import Model
from models import grid, random_model, tmaze


def found(model: Model) -> tuple[PolicyTree, Forecast]:
    tree = policy_tree(model.policies)
    matrices = [np.moveaxis(B, -1, 0).reshape(B.shape[-1], len(B), -1) for B in model.B]
    return tree, forecast(tree, matrices, model.B_dependencies)


def moved(model: Model, f: int, action: int, parents: list[np.ndarray]) -> np.ndarray:
    belief = model.B[f][..., action]
    for parent in reversed(parents):
        belief = belief @ parent
    return belief


@pytest.mark.parametrize("seed", range(40))
def test_recipes_give_what_walking_the_tree_gives(seed: int) -> None:
    rng = np.random.default_rng(seed)
    model = random_model(rng, sharp=seed % 2 == 0)
    tree, result = found(model)
    now = [rng.dirichlet(np.ones(n)) for n in model.num_states]

    by_number = list(now)
    for recipe in result.recipes:
        by_number.append(moved(model, recipe.factor, recipe.action, [by_number[p] for p in recipe.parents]))
    walked: list[list[np.ndarray]] = []
    for node, parent in enumerate(tree.parents):
        before = walked[parent] if parent >= 0 else now
        after = [
            moved(model, f, int(tree.actions[node, f]), [before[p] for p in parents])
            for f, parents in enumerate(model.B_dependencies)
        ]
        walked.append(after)
        for f, number in enumerate(result.beliefs[node]):
            np.testing.assert_allclose(by_number[number], after[f], rtol=0, atol=1e-12)


def test_where_an_action_leads_matters_not_how_often_it_was_taken() -> None:
    _, result = found(tmaze(policy_len=4))
    # Beside the beliefs of now: one per place to go. The side of the reward never moves.
    assert len(result.recipes) == 4
    assert set(result.beliefs[:, 1].tolist()) == {1}


def test_a_walk_is_where_it_ends_and_not_its_order() -> None:
    size = 5
    steps = {0: (0, 0), 1: (-1, 0), 2: (1, 0), 3: (0, -1), 4: (0, 1)}
    ends = set()
    for length in (1, 2, 3):
        for walk in itertools.product(steps, repeat=length):
            cells = []
            for cell in range(size * size):
                row, column = divmod(cell, size)
                for action in walk:
                    row = min(max(row + steps[action][0], 0), size - 1)
                    column = min(max(column + steps[action][1], 0), size - 1)
                cells.append(row * size + column)
            ends.add(tuple(cells))
    _, result = found(grid(size, policy_len=3))
    assert len(result.recipes) + 1 == len(ends)


def test_beliefs_that_differ_by_little_are_two() -> None:
    B = np.zeros((2, 2, 2))
    B[:, :, 0] = [[0.5, 0.25], [0.5, 0.75]]
    B[:, :, 1] = B[:, :, 0] + np.array([[1e-9, 0.0], [-1e-9, 0.0]])
    _, result = found(Model(A=[np.eye(2)], B=[B], policy_len=1))
    assert len(result.recipes) == 2
