"""Precision: how an agent's confidence in G follows from whether the evidence agrees with it. One formula."""

from __future__ import annotations

import numpy as np

from naive_maths import Vector, softmax

SWEEPS = 16
LEAST = 2.0**-10


def updated_precision(neg_efe: Vector, F: Vector, log_habit: Vector, before: float, beta: float) -> tuple[float, float]:
    """SPM's descent on free energy of the rate parameter of gamma, from `before`, with the prior `beta`.

    With the policies before and after the evidence, p = softmax(gamma G + ln E) and q = softmax(gamma G + ln E - F),

        rate <- rate - (rate - beta + (q - p) . G) / 2,    gamma = 1 / rate

    `SWEEPS` times, the rate being kept at `LEAST` beta or more. Friston et al. (2017), Active inference: a process
    theory, Neural Comput. 29(1), table 2; spm_MDP_VB_X. Where all policies have the same F, q is p, and a rate of beta
    stays.

    Returns
    -------
    tuple of float
        The rate and gamma.
    """
    rate = before
    for _ in range(SWEEPS):
        prior = softmax(neg_efe / rate + log_habit)
        posterior = softmax(neg_efe / rate + log_habit - F)
        rate -= 0.5 * (rate - beta + float((posterior - prior) @ neg_efe))
        rate = max(rate, LEAST * beta)
    return rate, 1.0 / rate


def free_energy_of_rate(neg_efe: Vector, F: Vector, log_habit: Vector, rate: float, beta: float) -> float:
    """What the update descends on: -ln sum_pi p_pi exp(-F_pi), and the divergence of the rate from its prior."""
    prior = softmax(neg_efe / rate + log_habit)
    return float(-np.log(prior @ np.exp(-F))) + beta / rate + float(np.log(rate))
