from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from beliefd.engine import Engine
from beliefd.model import Model
from benches.readme import rewritten
from conforming.features import FEATURES
from conforming.gaps import gap
from conforming.history import amplification, columns, random_history
from conforming.oracle import from_oracle
from conforming.peers import families, members_of, population, replayed
from conforming.report import BOUNDS, DTYPES
from conforming.table import COLUMNS, conformance_table
from models import changed, random_model, redrawn, tmaze

CHECKOUT = Path(__file__).resolve().parents[2]
REPORT = json.loads((CHECKOUT / "docs" / "conformance.json").read_text())


def test_the_gap_is_absolute_below_one_and_relative_above() -> None:
    assert gap([0.5, 1.0], [0.25, 1.0]) == 0.25
    assert gap([150.0], [100.0]) == 0.5
    assert gap([np.nan], [0.0]) == gap([0.0], [np.nan]) == np.inf


def test_a_difference_is_seen(monkeypatch: pytest.MonkeyPatch) -> None:
    model = tmaze(dtype="float64")
    history = random_history(np.random.default_rng(0), model, 2, 4)
    assert max(from_oracle(model, history, 0).values()) < 1e-9
    monkeypatch.setattr("naive_maths.FLOOR", 1e-6)
    assert max(from_oracle(model, history, 0).values()) > 1e-4


def test_what_was_learned_is_compared_under_another_prior(monkeypatch: pytest.MonkeyPatch) -> None:
    rng = np.random.default_rng(2)
    model = changed(FEATURES["Bayesian model reduction"].oracle(rng, True, 0), dtype="float64")
    history = random_history(rng, model, 2, 4)
    gaps = from_oracle(model, history, 0, reduced=True)
    assert gaps is not None
    assert gaps["evidence"] < 1e-9
    assert gaps["reduced counts"] < 1e-9
    monkeypatch.setattr("naive_learning.log_beta", lambda counts: np.log(counts.sum(axis=0)))
    gaps = from_oracle(model, history, 0, reduced=True)
    assert gaps is not None
    assert gaps["evidence"] > 1e-3


def test_mixed_observations_say_the_same_to_both_sides() -> None:
    arrays = columns([[1, np.array([0.5, 0.25, 0.25]), -1], [-1, 2, 0], [0, -1, 1]], tmaze())
    assert arrays[0].tolist() == [1, -1, 0]
    np.testing.assert_array_equal(arrays[1], [[0.5, 0.25, 0.25], [0.0, 0.0, 1.0], [1.0, 0.0, 0.0]])


def test_a_model_between_two_solutions_amplifies() -> None:
    """Two factors that only agree or differ: which of both ways is taken hangs on the last digits."""
    agree = np.array([[[0.999, 0.001], [0.001, 0.999]], [[0.001, 0.999], [0.999, 0.001]]])
    stay = [np.eye(2)[..., None]] * 2
    both = Model(A=[agree], B=stay, D=[np.full(2, 0.5)] * 2, num_iter=16, dtype="float64")
    history = random_history(np.random.default_rng(1), both, 2, 3)
    assert amplification(both, history) > 1e6
    assert amplification(tmaze(dtype="float64"), random_history(np.random.default_rng(1), tmaze(), 2, 3)) < 1e3


def test_members_of_a_family_have_one_spec_and_numbers_of_their_own() -> None:
    rng = np.random.default_rng(3)
    model = random_model(rng, sharp=True)
    other = redrawn(rng, model, sharp=True)
    assert other.spec() == model.spec()
    assert {n: a.shape for n, a in other.tensors().items()} == {n: a.shape for n, a in model.tensors().items()}
    assert other.hash != model.hash


def test_members_are_taken_apart_as_they_were_put_together() -> None:
    (spec, arrays), *_ = families("pymdp-1.0.4", "x", FEATURES["state inference, policies, action"], 16)
    ticks, members = len(arrays["forced"]), len(arrays["given/0"])
    answers = arrays | {"vfe": np.arange(ticks * members).reshape(ticks, members)}
    found = list(members_of(spec, answers))
    assert len(found) == members == 2
    for i, (model, given_, outputs) in enumerate(found):
        np.testing.assert_array_equal(model.A[0], arrays["A0"][i])
        np.testing.assert_array_equal(given_[0], arrays["given/0"][i])
        np.testing.assert_array_equal(outputs["vfe"], answers["vfe"][:, i])
        assert set(outputs) == {"vfe", "forced"}


def test_what_a_peer_answers_is_compared() -> None:
    model = tmaze(dtype="float64")
    given_ = [np.eye(n)[[0, 0]] for n in model.num_obs]
    engine = Engine(model, 1)
    forced = np.zeros((2, 2), dtype=int)
    first = engine.step(np.zeros((1, 3), dtype=int), want=("vfe",))
    second = engine.step(np.zeros((1, 3), dtype=int), executed_actions=forced[:1], want=("vfe",))
    assert first.vfe is not None
    assert second.vfe is not None
    outputs = {"forced": forced, "vfe": np.concatenate([first.vfe, second.vfe])}
    assert replayed(model, given_, outputs) == {"vfe": 0.0}
    outputs["vfe"][1] += 0.25
    gaps = replayed(model, given_, outputs)
    assert gaps is not None
    assert gaps["vfe"] > 0.1


def test_agents_with_parameters_of_their_own_are_compared_with_a_model_each() -> None:
    for spec, arrays in list(families("pymdp-1.0.4", "x", FEATURES["parameters per agent"], 16))[:2]:
        members = [(model, given_, dict(outputs)) for model, given_, outputs in members_of(spec, arrays)]
        for (model, given_, outputs), other in zip(members, reversed(members), strict=True):
            engine, vfe = Engine(model, 1), []
            for t, forced in enumerate(outputs["forced"]):
                observed = [p[t][None] if p[t].any() else np.array([-1]) for p in given_]
                executed = None if t == 0 else outputs["forced"][t - 1][None]
                vfe.append(engine.step(observed, executed_actions=executed, want=("vfe",)).vfe)
                assert len(forced) == len(model.num_controls)
            outputs["vfe"] = np.concatenate(vfe)
            assert other[0].hash != model.hash
        engine = population([model for model, *_ in members])
        gaps = [replayed(*member, engine, i) for i, member in enumerate(members)]
        assert [max((gap_ or {"vfe": 0.0}).values()) < 1e-9 for gap_ in gaps] == [True, True]
        assert not all(gap_ is None for gap_ in gaps)


@pytest.mark.parametrize("feature", FEATURES)
def test_every_feature_has_its_columns(feature: str) -> None:
    entry = REPORT["features"][feature]
    assert {"float64", "float32"} <= set(entry) <= set(COLUMNS)
    assert ("pymdp-1.0.4" in entry) == (FEATURES[feature].pymdp is not None)
    assert ("pymdp-0.0.7.1" in entry) == (FEATURES[feature].legacy is not None)


@pytest.mark.parametrize(
    ("feature", "column"),
    [(feature, column) for feature in FEATURES for column in REPORT["features"].get(feature, ())],
)
def test_every_feature_is_within_its_bounds(feature: str, column: str) -> None:
    found = REPORT["features"][feature][column]
    # pymdp searches its tree in float32.
    bound = 1e-5 if (feature, column) == ("sophisticated inference", "pymdp-1.0.4") else BOUNDS[column]
    assert found["models"] >= 200
    assert column in DTYPES or found["models"] - found["excluded"] >= 200
    assert found["excluded"] <= 0.15 * found["models"]
    assert max(found["gaps"].values()) < bound


def test_the_table_is_what_the_report_says() -> None:
    text = (CHECKOUT / "common" / "README.md").read_text()
    assert rewritten(text, {"conformance": conformance_table(REPORT)}) == text
