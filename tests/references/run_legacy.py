"""Adds to a file of cases what inferactively-pymdp 0.0.7.1 computes for them; see scripts/references.

Every likelihood is given over all factors, since this pymdp knows no dependencies. As in the oracle, states come first,
then policies, then learning, then the action, which is forced.
"""

from __future__ import annotations

import sys
import warnings
from typing import Any

import numpy as np
from casefile import read
from numpy.typing import NDArray
from pymdp import control, utils
from pymdp.agent import Agent
from pymdp.inference import average_states_over_policies

Arrays = dict[str, NDArray[Any]]


def main(cases: str, path: str) -> None:
    warnings.simplefilter("ignore")
    with np.load(cases, allow_pickle=False) as file:
        contents = dict(file)
    for n, (_, spec, arrays) in enumerate(read(cases)):
        record = run(spec, arrays)
        contents |= {f"case{n}/{name}": np.stack(values) for name, values in record.items()}
    np.savez_compressed(path, **contents)


def novelty_as_number(*arguments: Any) -> float:
    """NumPy no longer takes the array of one entry, that this term is, for a number."""
    return float(np.squeeze(_novelty(*arguments)))


_novelty = control.calc_pA_info_gain
control.calc_pA_info_gain = novelty_as_number


def run(spec: dict[str, Any], arrays: Arrays) -> dict[str, list[Any]]:
    agent = make_agent(spec, arrays)
    rows: dict[str, list[Any]] = {}
    for t, forced in enumerate(arrays["forced"]):
        observation = [int(arrays[f"given/{m}"][t].argmax()) for m in range(len(agent.A))]
        before = agent.qs
        agent.infer_states(observation)
        q_pi, neg_efe = agent.infer_policies()
        learn(agent, spec, observation, before, t)
        agent.action = forced.astype(float)
        agent.step_time()
        row = {"q_pi": q_pi, "neg_efe": neg_efe}
        row |= {f"beliefs/{f}": q for f, q in enumerate(present_beliefs(agent, spec))}
        if spec["inference_algo"] == "mmp":
            row["F"] = agent.F
        for letter in ("A", "B", "D"):
            for i in spec.get(f"learn_{letter}", []):
                row[f"learned/p{letter}{i}"] = getattr(agent, f"p{letter}")[i]
        for name, value in row.items():
            rows.setdefault(name, []).append(np.array(value))
    return rows


def make_agent(spec: dict[str, Any], arrays: Arrays) -> Agent:
    num_states = [arrays[f"D{f}"].shape[0] for f in range(len(spec["B_dependencies"]))]
    algo = {"fpi": None, "mmp": "MMP"}[spec["inference_algo"]]
    learns = any(f"learn_{letter}" in spec for letter in "ABD")
    counted = learns or spec.get("use_param_info_gain", False)
    options: dict[str, Any] = {"inference_horizon": spec["inference_horizon"]} if algo else {}
    if counted:
        options |= {"pA": over_all_factors(spec, arrays, "pA", num_states), "pB": objects(arrays, "pB")}
        options |= {"pD": objects(arrays, "pD")}
    return Agent(
        A=over_all_factors(spec, arrays, "A", num_states),
        B=objects(arrays, "B"),
        C=preferences(arrays),
        D=objects(arrays, "D"),
        E=arrays["E"],
        policies=list(arrays["policies"]),
        policy_len=arrays["policies"].shape[1],
        gamma=spec["gamma"],
        alpha=spec["alpha"],
        use_utility=spec["use_utility"],
        use_states_info_gain=spec["use_states_info_gain"],
        use_param_info_gain=spec.get("use_param_info_gain", False),
        inference_algo=algo,
        lr_pA=spec.get("lr_pA", 1.0),
        lr_pB=spec.get("lr_pB", 1.0),
        lr_pD=spec.get("lr_pD", 1.0),
        **options,
    )


def objects(arrays: Arrays, letter: str) -> NDArray[Any]:
    entries = [arrays[f"{letter}{i}"] for i in range(32) if f"{letter}{i}" in arrays]
    made = utils.obj_array(len(entries))
    for i, entry in enumerate(entries):
        made[i] = np.array(entry)
    return made


def preferences(arrays: Arrays) -> NDArray[Any]:
    """Steps come last here."""
    made = objects(arrays, "C")
    for m, entry in enumerate(made):
        made[m] = entry.T
    return made


def over_all_factors(spec: dict[str, Any], arrays: Arrays, letter: str, num_states: list[int]) -> NDArray[Any]:
    made = utils.obj_array(len(spec["A_dependencies"]))
    for m, factors in enumerate(spec["A_dependencies"]):
        tensor = arrays[f"{letter}{m}"]
        order = [0, *(1 + i for i in np.argsort(factors))]
        shape = [n if f in factors else 1 for f, n in enumerate(num_states)]
        made[m] = np.broadcast_to(
            tensor.transpose(order).reshape(len(tensor), *shape), (len(tensor), *num_states)
        ).copy()
    return made


def learn(agent: Agent, spec: dict[str, Any], observation: list[int], before: Any, t: int) -> None:
    if spec.get("learn_A"):
        agent.update_A(observation)
    if spec.get("learn_B") and t > 0:
        agent.update_B(before)
    if spec.get("learn_D") and t == 0:
        agent.update_D(agent.qs)


def present_beliefs(agent: Agent, spec: dict[str, Any]) -> Any:
    if spec["inference_algo"] != "mmp":
        return agent.qs
    now = utils.obj_array(len(agent.policies))
    for p in range(len(agent.policies)):
        now[p] = agent.qs[p][-(agent.policy_len + 1)]
    return average_states_over_policies(now, agent.q_pi)


if __name__ == "__main__":
    main(*sys.argv[1:])
