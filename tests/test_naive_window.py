"""The oracle's window: what smoothing makes of the impossible, and what the first step begins with."""

from __future__ import annotations

import numpy as np
import pytest

from beliefd.model import Model
from naive import NaiveAgent
from naive_perception import smoothed


def _two_states(algo: str, probability: float) -> Model:
    """Every state leads to the second one with this probability."""
    B = np.array([[1.0 - probability] * 2, [probability] * 2])[:, :, np.newaxis]
    return Model([np.eye(2)], [B], inference_algo=algo, dtype="float64")


@pytest.mark.parametrize(("algo", "first"), [("exact", 1.0), ("ovf", 0.5)])
def test_what_cannot_be_reached_adds_nothing(algo: str, first: float) -> None:
    filtered = [[np.array([1.0, 0.0])], [np.array([0.5, 0.5])]]
    smooth, joints = smoothed(_two_states(algo, 0.0), filtered, [(0,)])
    # "exact" makes up for the half that is lost, "ovf" does not.
    np.testing.assert_allclose(smooth[0][0], [first, 0.0])
    np.testing.assert_allclose(joints[0][0], [[0.5, 0.0], [0.0, 0.0]])


@pytest.mark.parametrize(("algo", "second"), [("exact", 0.5e-20 * 2.0**52), ("ovf", 0.5)])
def test_what_can_hardly_be_reached(algo: str, second: float) -> None:
    filtered = [[np.array([1.0, 0.0])], [np.array([0.5, 0.5])]]
    _, joints = smoothed(_two_states(algo, 1e-20), filtered, [(0,)])
    # "exact" has a floor there, "ovf" has none.
    np.testing.assert_allclose(joints[0][0][1], [second, 0.0], rtol=1e-12)


@pytest.mark.parametrize("algo", ["mmp", "vmp"])
def test_a_growing_window_begins_with_what_was_learned_of_d(algo: str) -> None:
    A, B = np.array([[0.9, 0.2], [0.1, 0.8]]), np.array([[0.7, 0.4], [0.3, 0.6]])[:, :, np.newaxis]
    options = {"inference_algo": algo, "inference_horizon": 2, "dtype": "float64"}
    agent = NaiveAgent(Model([A], [B], D=[[0.5, 0.5]], pD=[[1.0, 1.0]], learn_D=True, **options))
    beliefs = agent.step([0]).beliefs[0]
    learned = (1.0 + beliefs) / 3.0
    np.testing.assert_allclose(agent.step([1]).prior[0], learned, rtol=1e-12)
    left = agent.q[0][0]
    # Now a step leaves the window.
    np.testing.assert_allclose(agent.step([1]).prior[0], B[:, :, 0] @ left, rtol=1e-12)
