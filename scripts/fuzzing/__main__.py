"""``scripts/fuzz``: mutated frames at a stack of its own; seeded, so that the same frames are sent again."""

from __future__ import annotations

import json
import random
import resource
import tempfile
import time
from pathlib import Path
from typing import Annotated, Any

import typer

import beliefd
from beliefd.worlds import tmaze
from beliefd_proto.errors import BeliefdError
from beliefd_service.stack import Stack
from fuzzing.canary import Canary
from fuzzing.senders import Bytes, Client, Hung, Web
from provenance import provenance

MOST_GROWTH_MIB = 192
"""What broker or gateway may grow by: what the allocator keeps of large messages, and what libraries load late."""
_LIMITS = {"BELIEFD_POPULATIONS": "2", "BELIEFD_AGENTS": "10000", "BELIEFD_OPEN": "64"}
"""Two populations are there, so that a frame that turned out to be a valid CREATE makes no third."""
_SHARES = {"tcp": 0.55, "unix": 0.35, "bytes": 0.06, "web": 0.04}
_EVERY = 8
"""Bursts between two steps of the canary."""


def main(
    frames: Annotated[int, typer.Option(help="How many frames to send.")] = 100_000,
    seed: Annotated[int, typer.Option(help="Of all that is random.")] = 0,
    json_file: Annotated[Path | None, typer.Option("--json", help="Write what was found to this file.")] = None,
) -> None:
    """Send them, and say what they did."""
    with tempfile.TemporaryDirectory(prefix="bd-") as folder, Stack(Path(folder), 2, _LIMITS) as stack:
        found = fuzzed(stack, frames, seed)
    for name, value in found.items():
        typer.echo(f"{name:24} {value}")
    if json_file is not None:
        json_file.write_text(json.dumps({**provenance(), **found}, indent=1) + "\n")
    raise typer.Exit(1 if found["violations"] else 0)


def fuzzed(stack: Stack, frames: int, seed: int) -> dict[str, Any]:
    """Send about `frames` mutated frames to all sockets of a fresh stack; what it did, and what it should not have."""
    rng = random.Random(seed)
    model = tmaze()
    violations: list[str] = []
    started_s = time.monotonic()
    with beliefd.connect(stack.endpoint) as client:
        victim = client.create_population("victim", model, agents=64, seed=seed)
        canary = Canary(client, model, 100, seed)
        path = Path(stack.local_endpoint.removeprefix("unix://"))
        senders: dict[str, Client | Bytes | Web] = {
            "tcp": Client(stack.endpoint, victim.uid, model, rng),
            "unix": Client(stack.local_endpoint, victim.uid, model, rng),
            "bytes": Bytes(stack.endpoint, path, victim.uid, model, rng),
            "web": Web(stack.http, rng),
        }
        before = _processes(stack)
        sent = dict.fromkeys(senders, 0)
        bursts = 0
        try:
            while sum(sent.values()) < frames and not violations:
                behind = min(senders, key=lambda name: sent[name] / _SHARES[name])
                sent[behind] += senders[behind].burst()
                bursts += 1
                if bursts % _EVERY == 0 and (differs := canary.step()):
                    violations.append(differs)
            for name in ("tcp", "unix", "web"):
                senders[name].burst()
            if differs := canary.step():
                violations.append(differs)
            names = sorted(info.name for info in client.populations())
            if names != ["canary", "victim"]:
                violations.append(f"populations are {names}")
            if victim.model() != model:
                violations.append("the victim's model has changed")
            status = client.status()
            if status.epoch != 1:
                violations.append(f"the broker was started {status.epoch} times")
        except (Hung, BeliefdError, OSError) as error:
            violations.append(f"{type(error).__name__}: {error}")
        after = _processes(stack)
        for sender in senders.values():
            if isinstance(sender, Client):
                sender.close()
    violations += _harm(before, after)
    broker_answers = sum(each.answers for each in senders.values() if isinstance(each, Client))
    web = senders["web"]
    return {
        "seed": seed,
        "frames": sum(sent.values()),
        **{f"frames over {name}": count for name, count in sent.items()},
        "answers of the broker": broker_answers,
        "answers of the gateway": web.statuses if isinstance(web, Web) else {},
        "steps of the canary": canary.steps,
        "seconds": round(time.monotonic() - started_s, 1),
        **{f"{name}, MiB": f"{before[name][1]} -> {after[name][1]}" for name in ("broker", "gateway")},
        "violations": violations,
    }


def _processes(stack: Stack) -> dict[str, tuple[int | None, int]]:
    """Pid and resident MiB of every process that mutated frames can reach."""
    found = {name: stack.pid(name) for name in ("broker", "gateway")}
    found |= {name: stack.worker_pid(name) for name in ("worker_00", "worker_01")}
    return {name: (pid, _resident_mib(pid)) for name, pid in found.items()}


def _resident_mib(pid: int | None) -> int:
    if pid is None:
        return 0
    return int(Path(f"/proc/{pid}/statm").read_text().split()[1]) * resource.getpagesize() // 2**20


def _harm(before: dict[str, tuple[int | None, int]], after: dict[str, tuple[int | None, int]]) -> list[str]:
    harm = [f"{name} died" for name in before if before[name][0] != after[name][0]]
    grown = [name for name in ("broker", "gateway") if after[name][1] - before[name][1] > MOST_GROWTH_MIB]
    return harm + [f"{name} grew from {before[name][1]} to {after[name][1]} MiB" for name in grown]


if __name__ == "__main__":
    typer.run(main)
