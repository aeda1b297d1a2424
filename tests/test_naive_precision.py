"""The update of precision, as the oracle has it."""

from __future__ import annotations

import numpy as np
import pytest

from naive_precision import free_energy_of_rate, updated_precision


@pytest.mark.parametrize("seed", range(20))
def test_it_comes_to_rest_where_free_energy_is_least(seed: int) -> None:
    rng = np.random.default_rng(seed)
    neg_efe, F = rng.normal(size=6), rng.uniform(0.0, 2.0, 6)
    log_habit, beta = np.log(rng.dirichlet(np.ones(6))), float(rng.uniform(1.0, 3.0))
    rate, gamma = updated_precision(neg_efe, F, log_habit, beta, beta)
    assert gamma == pytest.approx(1 / rate)
    lowest = free_energy_of_rate(neg_efe, F, log_habit, rate, beta)
    for near in (0.98 * rate, 1.02 * rate):
        assert free_energy_of_rate(neg_efe, F, log_habit, near, beta) > lowest


def test_without_evidence_about_policies_nothing_changes() -> None:
    neg_efe, log_habit = np.array([1.0, -2.0, 0.5]), np.log([0.2, 0.3, 0.5])
    assert updated_precision(neg_efe, np.full(3, 4.0), log_habit, 1.5, 1.5)[0] == pytest.approx(1.5, abs=1e-12)


def test_evidence_that_agrees_with_g_makes_confident() -> None:
    neg_efe, log_habit = np.array([1.0, -1.0]), np.log([0.5, 0.5])
    agreeing, contrary = np.array([0.0, 2.0]), np.array([2.0, 0.0])
    assert updated_precision(neg_efe, agreeing, log_habit, 1.0, 1.0)[1] > 1.0
    assert updated_precision(neg_efe, contrary, log_habit, 1.0, 1.0)[1] < 1.0
