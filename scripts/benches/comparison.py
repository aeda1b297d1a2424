"""One work done by a peer and by beliefd, in turns, block after block."""

from __future__ import annotations

import statistics
import tempfile
from pathlib import Path
from typing import Any

from beliefd.client import Client
from benches.driver import Driver, DriverFailed
from benches.drivers.given import save_given
from benches.peers import PEERS, Peer
from benches.served import Walk, fresh_name, material
from benches.works import WORKS, Work

_LONGEST_S = 20.0
"""A round of a peer that would take longer is not waited for."""
_MOST_EXCLUDED = 0.01
_MOST_TESTED = 1_000


def compare(client: Client, peer_name: str, works: list[str], quick: bool) -> list[dict[str, Any]]:
    """An entry per work: the ratio of the rates, the rates, the check of the actions, and all raw numbers."""
    entries = []
    for name in works:
        try:
            if WORKS[name].peers and peer_name not in WORKS[name].peers:
                entries.append({"work": name, "ratio": None, "skipped": "it does not do that"})
                continue
            entries.append({"work": name, **compare_work(client, PEERS[peer_name], WORKS[name], quick)})
        except DriverFailed as error:
            entries.append({"work": name, "ratio": None, "skipped": f"failed: {error}"})
    return entries


def compare_work(client: Client, peer: Peer, work: Work, quick: bool) -> dict[str, Any]:
    """What `compare` says of one work."""
    if work.agents > peer.most_agents:
        return {"ratio": None, "skipped": f"more than {peer.most_agents:,} agents"}
    block_s, blocks = (0.3, 3) if quick else (1.0, 7)
    model, history = material(work, max(work.agents, *peer.batches, peer.sample))
    served = client.create_population(fresh_name(work.name), model, agents=work.agents)
    walk = Walk(served, history.cut(work.agents), forced=True)
    walk.steps(block_s)
    with tempfile.TemporaryDirectory(prefix="bd-") as folder, peer.start() as driver:
        given = Path(folder) / "given.npz"
        save_given(given, model, history.observations, history.actions)
        tried = batches_tried(driver, given, batches_of(peer, work), block_s)
        rates = {int(batch): entry["agent_steps_per_s"] for batch, entry in tried.items() if "step_s" in entry}
        if not rates:
            served.drop()
            return {"ratio": None, "skipped": "; ".join(str(entry["skipped"]) for entry in tried.values())}
        best = max(rates, key=lambda batch: rates[batch])
        tested = min(work.agents, peer.sample or _MOST_TESTED, _MOST_TESTED)
        driver.prepare(given, tested)
        # Who learns is compared from its first step on.
        unused = client.create_population(fresh_name(work.name), model, agents=work.agents)
        check = compared(peer, driver, Path(folder) / "choices.npz", Walk(unused, walk.history, forced=True), tested)
        unused.drop()
        driver.prepare(given, best)
        theirs, ours = [], []
        for _ in range(blocks):
            theirs.append(driver.steps(10_000, block_s)["step_s"])
            ours.append(walk.steps(block_s))
    served.drop()
    their_rates = [best / statistics.median(block) for block in theirs]
    our_rates = [work.agents / statistics.median(block) for block in ours]
    return {
        "ratio": statistics.median(a / b for a, b in zip(our_rates, their_rates, strict=True)),
        "agent_steps_per_s": statistics.median(their_rates),
        "beliefd_agent_steps_per_s": statistics.median(our_rates),
        "best_batch": best,
        "check": check,
        "raw": {"batches": tried, "peer_step_s": theirs, "beliefd_step_s": ours},
    }


def batches_of(peer: Peer, work: Work) -> list[int]:
    """How many agents in one go are tried."""
    if peer.sample:
        return [min(peer.sample, work.agents)]
    return sorted({*peer.batches, work.agents})


def batches_tried(driver: Driver, given: Path, batches: list[int], limit_s: float) -> dict[str, dict[str, Any]]:
    """The rate with each batch, from the smallest on; what is left out is said."""
    tried: dict[str, dict[str, Any]] = {}
    rate = 0.0
    for batch in batches:
        if rate and batch / rate > _LONGEST_S:
            tried[str(batch)] = {"skipped": f"a step of {batch:,} agents would take {batch / rate:.0f} s"}
            continue
        try:
            cold = driver.prepare(given, batch)
            step_s = driver.steps(10_000, limit_s)["step_s"]
        except DriverFailed as error:
            tried[str(batch)] = {"skipped": f"failed: {error}"}
            continue
        rate = batch / statistics.median(step_s)
        tried[str(batch)] = {"agent_steps_per_s": rate, "step_s": step_s, "cold_s": cold}
    return tried


def compared(peer: Peer, driver: Driver, path: Path, walk: Walk, agents: int) -> dict[str, Any]:
    """Whether both chose the same actions along the forced history. Decisions within the peer's margin are left out."""
    actions, margins = driver.check(path)
    return agreement(actions[:, :agents], walk.choices()[:, :agents], margins[:, :agents], peer.margin)


def agreement(theirs: Any, ours: Any, margins: Any, least_margin: float) -> dict[str, Any]:
    """Counts of decisions: all, those that `least_margin` leaves out, and of the others those that differ.

    Parameters
    ----------
    theirs, ours : ndarray of int, shape (ticks, agents, factors)
    margins : ndarray of float, shape (ticks, agents)
    """
    excluded = margins <= least_margin
    differing = (theirs != ours).any(axis=2) & ~excluded
    counts = {"decisions": int(excluded.size), "excluded": int(excluded.sum()), "differing": int(differing.sum())}
    passed = counts["differing"] == 0 and counts["excluded"] <= _MOST_EXCLUDED * counts["decisions"]
    return {**counts, "margin": least_margin, "passed": bool(passed)}
