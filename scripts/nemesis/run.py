"""A run: faults drawn from a seed, one after the other, each followed until every herd is served again."""

from __future__ import annotations

import math
import random
import sys
import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from beliefd_proto.errors import BeliefdError
from nemesis.checker import Verdict
from nemesis.faults import KINDS, Kind, nothing
from nemesis.herds import HERDS
from nemesis.scene import NotRecovered, Scene
from nemesis.silence import longest_silence

_SPACING_S = (0.05, 0.8)


@dataclass
class Fault:
    """One fault of a plan: all that is drawn of it. `began_s` and `ended_s` are when it happened."""

    kind: Kind
    lasts_s: float
    spacing_s: float
    seed: int
    began_s: float = 0.0
    ended_s: float = 0.0


def plan(seed: int, count: int, kinds: Sequence[Kind]) -> list[Fault]:
    """`count` faults, and the controls among them: every kind once, then by weight. The same ones for the same seed."""
    draw = random.Random(seed)
    first = draw.sample(kinds, len(kinds))
    faults: list[Fault] = []
    while sum(fault.kind.do is not nothing for fault in faults) < count:
        kind = first.pop() if first else draw.choices(kinds, [kind.weight for kind in kinds])[0]
        faults.append(Fault(kind, draw.uniform(*kind.lasts_s), draw.uniform(*_SPACING_S), draw.randrange(2**32)))
    return faults


def run(seed: int, count: int, names: Sequence[str] = (), patient: bool = False) -> dict[str, Any]:
    """Make a stack, attack it, and report: see `report`. `patient` allows clients any time without an answer."""
    with tempfile.TemporaryDirectory(prefix="bd-") as folder:
        scene = Scene(Path(folder))
        kinds = [
            kind for kind in KINDS if (kind.name in names or not names) and (scene.disk.mountable or not kind.mounts)
        ]
        done: list[Fault] = []
        failure, watched_until_s = "", math.inf
        with scene:
            try:
                scene.recover()
                for fault in plan(seed, count, kinds):
                    done.append(fault)
                    suffer(scene, fault)
                    longest = longest_silence(scene.verdicts, fault.began_s, time.monotonic())
                    say(f"{len(done)}: {fault.kind.name}: no answer for {longest.lasted_s:.2f} s")
                watched_until_s = time.monotonic()
                scene.end_herds()
                scene.compare()
            except (NotRecovered, BeliefdError, ConnectionError) as error:
                failure = f"after {done[-1].kind.name if done else 'nothing'}: {error}"
        return report(scene, seed, done, watched_until_s, failure, patient)


def suffer(scene: Scene, fault: Fault) -> None:
    time.sleep(fault.spacing_s)
    scene.wait_until_calm()
    fault.began_s = time.monotonic()
    with fault.kind.do(scene, random.Random(fault.seed)):
        time.sleep(fault.lasts_s)
    fault.ended_s = time.monotonic()
    scene.recover()


def report(
    scene: Scene, seed: int, faults: Sequence[Fault], watched_until_s: float, failure: str, patient: bool
) -> dict[str, Any]:
    """What a run came to: per kind how often, and how long a client waited; per herd what it did; what was violated."""
    verdicts = scene.verdicts
    violations = [*([failure] if failure else []), *scene.violations]
    for verdict in verdicts.values():
        violations += verdict.violations
    silences: dict[str, list[float]] = {}
    untils_s = [fault.began_s for fault in faults[1:]] + [min(watched_until_s, time.monotonic())]
    for number, (fault, until_s) in enumerate(zip(faults, untils_s, strict=True), 1):
        longest = longest_silence(verdicts, fault.began_s, until_s)
        silences.setdefault(fault.kind.name, []).append(longest.lasted_s)
        allowed_s = fault.kind.most_s + (fault.ended_s - fault.began_s if fault.kind.silences else 0.0)
        if not patient and longest.lasted_s > allowed_s:
            violations.append(f"fault {number}, {fault.kind.name}: {longest}; {allowed_s:.3f} s are allowed")
    return {
        "seed": seed,
        "faults": sum(fault.kind.do is not nothing for fault in faults),
        "mounts": scene.disk.mountable,
        "seconds": faults[-1].ended_s - faults[0].began_s if faults else 0.0,
        "killed_in_their_first_second": scene.young,
        "kinds": {
            kind.name: {
                "count": len(silences[kind.name]),
                "silence_median_s": float(np.median(silences[kind.name])),
                "silence_max_s": max(silences[kind.name]),
                "allowed_s": kind.most_s,
                "and_its_own_time": kind.silences,
            }
            for kind in KINDS
            if kind.name in silences
        },
        "herds": {herd.name: told(verdicts[herd.name]) for herd in HERDS},
        "violations": violations,
    }


def told(verdict: Verdict) -> dict[str, Any]:
    return {
        "lives": verdict.lives,
        "steps": verdict.steps,
        "agent_steps": verdict.agent_steps,
        "errors": dict(sorted(verdict.errors.items())),
        "latest_s": verdict.latest_s,
    }


def say(text: str) -> None:
    print(f"scripts/chaos: {time.strftime('%H:%M:%S')} {text}", file=sys.stderr, flush=True)
