"""Tables of the README, in Markdown, from a report. What was not measured has no row."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

_PEERS = {
    "pymdp": "pymdp 1.0.4, best batch",
    "legacy": "pymdp 0.0.7.1, a loop",
    "threads": "a thread per agent",
    "pool": "process pool, Manager",
    "ray": "Ray actors",
}
_ONE_AGENT = ("one-agent", "one-agent-asleep")
NOT_MEASURED = "-"
EXPLORER = "explorer-50"
"""The work of FreeAgentics' own kind of agent."""


def peers_table(report: dict[str, Any]) -> str:
    """The rate of beliefd in each work, how many times that of every other program it is, and whether actions agree."""
    peers = {name: {e["work"]: e for e in entries} for name, entries in report["peers"].items()}
    works = list(dict.fromkeys(work for entries in peers.values() for work in entries))
    rows = []
    for work in works:
        measured = [entries[work] for entries in peers.values() if work in entries and entries[work]["ratio"]]
        if measured:
            ours = number(measured[0]["beliefd_agent_steps_per_s"])
            rows.append([f"`{work}`", ours, *(_versus(entries.get(work)) for entries in peers.values())])
    if not rows:
        return ""
    checks = [entry["check"] for entries in peers.values() for entry in entries.values() if "check" in entry]
    decisions, excluded, differing = (
        sum(check[key] for check in checks) for key in ("decisions", "excluded", "differing")
    )
    compared = (
        f"\nDecisions compared with theirs in the same run: {decisions:,}. Nearly tied, and left out: {excluded:,}. "
        f"Different: {differing:,}.\n"
    )
    return table(["agent-steps per second", "beliefd", *(_PEERS[name] for name in peers)], rows) + compared


def _versus(entry: dict[str, Any] | None) -> str:
    if entry is None or not entry["ratio"]:
        return NOT_MEASURED
    return f"{number(entry['agent_steps_per_s'])} (**{times(entry['ratio'])}**)"


def served_table(report: dict[str, Any]) -> str:
    """What a client of the broker gets."""
    rows = []
    for name, work in report.get("works", {}).items():
        rows.append(
            [
                f"`{name}`, one call after the other",
                f"{number(work['agent_steps_per_s'])} agent-steps/s",
                f"{work['served_over_engine']:.0%} of the kernels in-process",
            ]
        )
    for name, flight in report.get("flight", {}).items():
        beside = (
            f"{flight['served_over_engine']:.0%} of the kernels in-process, which have one call after the other; "
            f"workers {flight['workers_busy']:.0%} busy"
        )
        what = f"`{name.rpartition('-')[0]}`, {flight['populations']} populations in flight"
        rows.append([what, f"{number(flight['agent_steps_per_s'])} agent-steps/s", beside])
    for section in _ONE_AGENT:
        if not (one := report.get(section)):
            continue
        bare = one["bare_double_hop"]
        processors = "kept awake" if one["kept_awake"] else "that sleep"
        rows.append(
            [
                f"one agent, one client, processors {processors}",
                f"p50 {one['p50_ms']:.2f} ms, p99 {one['p99_ms']:.2f} ms, p99.9 {one['p99.9_ms']:.2f} ms",
                f"a bare double hop of ZeroMQ: {bare['p50_ms']:.2f}, {bare['p99_ms']:.2f}, {bare['p99.9_ms']:.2f} ms",
            ]
        )
    if one := report.get("one-agent"):
        parts = one["processor_us"]
        rows.append(
            [
                "processor time of such a call",
                f"{sum(parts.values()):.0f} us",
                ", ".join(f"{name} {spent:.0f}" for name, spent in parts.items()),
            ]
        )
        prepared = one["prepare_us"]
        rows.append(
            [
                "a part of it: preparing the message",
                f"{prepared['after_a_pause']:.0f} us after {one['pause_ms']:.1f} ms in which the process computed in "
                "registers alone",
                f"{prepared['again_and_again']:.0f} us again and again",
            ]
        )
    for found in report.get("clients", []):
        where = "one population" if found["populations"] == 1 else f"{found['populations']} populations"
        rows.append(
            [
                f"{found['clients']:,} clients with an agent each, {where}",
                f"{number(found['steps_per_s'])} steps/s",
                f"{found['served']:,} served; p50 {found['p50_ms']:.1f} ms, p99 {found['p99_ms']:.1f} ms",
            ]
        )
    rows += [
        [
            f"`{found['work']}`, over the Unix socket",
            f"{number(found['ipc_agent_steps_per_s'])} agent-steps/s",
            f"over TCP {number(found['tcp_agent_steps_per_s'])}: {found['ipc_over_tcp']:.2f}x",
        ]
        for found in report.get("transports", [])
    ]
    if fair := report.get("fairness"):
        rows.append(
            [
                f"one agent, while another client steps {fair['agents']:,} without end",
                f"p50 {fair['p50_ms']:.1f} ms, p99 {fair['p99_ms']:.1f} ms, p99.9 {fair['p99.9_ms']:.1f} ms",
                f"the other: {number(fair['flood_agent_steps_per_s'])} agent-steps/s",
            ]
        )
    rows += _growth(report)
    return table(["through the broker, 2 workers", "measured", "beside"], rows)


def _growth(report: dict[str, Any]) -> list[list[str]]:
    rows = []
    for scaling in report.get("scaling", []):
        beside = f"`Engine`: two threads against one: {times(scaling['engine_two_over_one'])}"
        rows.append([f"`{scaling['work']}`: two workers against one", times(scaling["two_over_one"]), beside])
    if sizes := report.get("sizes"):
        first, last = sizes["sizes"][0], sizes["sizes"][-1]
        spread = f"within {sizes['spread']:.0%} from {first['agents']:,} agents on"
        cost = f"{last['engine_ns']:.0f} ns on one core, {last['served_ns']:.0f} ns served"
        rows.append([f"an agent-step of {last['agents']:,} T-mazes", cost, spread])
        memory = sizes["bytes_per_agent"]
        whole = f"{memory['files']:.0f} bytes in files, {memory['processes']:.0f} in processes"
        rows.append([f"an agent of {sizes['agents']:,}", whole, f"{last['record_bytes']} in its record"])
    for name, roof in report.get("roof", {}).items():
        achieved = f"{roof['fma_per_s'] / 1e9:.1f} G multiply-adds/s"
        rows.append([f"`{name}`: a whole step on one core", achieved, f"{roof['share']:.0%} of sgemm of these sizes"])
    if profile := report.get("profile"):
        shares = (
            f"{profile['memory']:.0%} memory, {profile['logarithms_and_exponentials']:.0%} logarithms and exponentials"
        )
        rows.append(["a T-maze step on one core", f"{profile['step_ns']:.0f} ns an agent", shares])
    return rows


def workers_table(report: dict[str, Any]) -> str:
    """What a worker costs, by how it started."""
    if "worker_cost" not in report:
        return ""
    rows = []
    for how, title in (("forked", "forked by the preloader"), ("alone", "each by itself")):
        memory, restarts = report["worker_cost"][how]["memory"], report["worker_cost"][how]["restarts"]
        rows.append(
            [
                title,
                f"{memory['private_kb_per_worker'] / 1024:.1f} MB",
                f"{memory['pss_kb_per_worker'] / 1024:.1f} MB",
                f"{memory['workers']}: {memory['pss_kb_in_all'] / 1024:.0f} MB",
                f"{restarts['ready_beyond_supervisord_ms']:.0f} ms ({restarts['longest_beyond_supervisord_ms']:.0f})",
                f"{restarts['first_step_ms']:.1f} ms, then {restarts['later_steps_ms']:.1f} ms",
            ]
        )
    heads = ["workers", "private memory of one", "PSS of one", "PSS of all", "ready after kill -9", "first batch"]
    return table(heads, rows)


def analysis_table(report: dict[str, Any]) -> str:
    """The table of FreeAgentics' analysis."""
    rows = [
        [
            row["means"] + (", grid explorers" if row["work"] == EXPLORER else ""),
            f"{row['agents']:,}",
            number(row["agent_steps_per_s"]),
            f"{row['efficiency']:.0%}" if row["efficiency"] < 10 else times(row["efficiency"]),
            f"{row['cpu']:.0%}",
            f"{row['memory_mb_per_agent']:.3g} MB",
            f"{row['communication_us']:.3g} us",
            f"{row['cold_s']:.2g} s" if row["cold_s"] is not None else NOT_MEASURED,
        ]
        for row in report.get("analysis", [])
        if "skipped" not in row
    ]
    heads = ["agents (of the T-maze) as", "agents", "agent-steps/s", "of the rate of one", "CPU", "memory an agent"]
    return table([*heads, "communication", "cold"], rows)


def durability_table(report: dict[str, Any]) -> str:
    """What surviving a power loss costs beside surviving a crash."""
    found = report.get("durability")
    if not found:
        return ""
    rows = [
        [
            f"`{name}`, one call after the other",
            f"{number(work['process_agent_steps_per_s'])} agent-steps/s",
            f"{number(work['disk_agent_steps_per_s'])} agent-steps/s",
            f"{work['disk_over_process']:.0%}",
        ]
        for name, work in found["works"].items()
    ]
    process, disk = found["one_agent"]["process"], found["one_agent"]["disk"]
    rows.append(
        [
            "one agent, one client",
            *(f"p50 {times['p50_ms']:.2f} ms, p99 {times['p99_ms']:.2f} ms" for times in (process, disk)),
            f"{disk['p50_ms'] - process['p50_ms']:+.2f} ms, {disk['p99_ms'] - process['p99_ms']:+.2f} ms",
        ]
    )
    keeping = found["keeping"]
    rows.append([f"`{keeping['work']}`: a checkpoint", "", f"{keeping['checkpoint_s'] * 1e3:.0f} ms", ""])
    rate = number(keeping["replayed_steps"] / keeping["replay_s"])
    rows.append([f"`{keeping['work']}`: its journal stepped again", "", f"{rate} agent-steps/s", ""])
    return table(["what it costs to last", 'durability "process"', '"disk"', "disk beside process"], rows)


def origin_table(report: dict[str, Any]) -> str:
    """The claims of that analysis beside what was measured."""
    measured = [row for row in report.get("analysis", []) if "skipped" not in row]
    own = {(row["means"], row["agents"]): row for row in measured if row["work"] == EXPLORER}
    rows = {(row["means"], row["agents"]): row for row in measured if row["work"] != EXPLORER}
    threads, pool = rows.get(("threads", 50)), rows.get(("pool", 50))
    many, one_call = rows.get(("beliefd", 10_000)), rows.get(("beliefd", 50))
    lines = []
    if threads:
        lines.append(["50 agents as threads", "28.4% of the rate of one", f"{threads['efficiency']:.0%} of it"])
    if threads and pool:
        than = times(pool["agent_steps_per_s"] / threads["agent_steps_per_s"])
        lines.append(
            [
                "50 agents in processes, or the hybrid of both",
                "78% efficiency; 3 to 4 times the rate of threads; 85%+ of the CPU",
                f"{than} the rate of threads; {pool['cpu']:.0%} of the CPU",
            ]
        )
        for clients in (50, 150):
            if served := own.get(("beliefd, a client each", clients)):
                basis = own[("threads", clients)]["agent_steps_per_s"]
                pools = own[("pool", clients)]["agent_steps_per_s"]
                rate = served["agent_steps_per_s"]
                lines.append(
                    [
                        f"{clients} of its grid explorers, beliefd with a client each",
                        "",
                        f"{times(rate / basis)} the rate of threads, {times(rate / pools)} that of the pool",
                    ]
                )
    if threads and many:
        than = times(many["agent_steps_per_s"] / threads["agent_steps_per_s"])
        lines.append(["10,000 agents, beliefd in one call", "", f"{than} the rate of 50 threads"])
    if pool and one_call:
        here = f"pool: {pool['communication_us']:.0f} us; beliefd: {one_call['communication_us']:.2g} us"
        if many:
            here += f" with 50 agents a call, {many['communication_us']:.2g} us with 10,000"
        lines.append(["communication per agent-step", "10 us", here])
        memory = f"pool: {pool['memory_mb_per_agent']:.1f} MB; beliefd: {one_call['memory_mb_per_agent']:.1f} MB"
        lines.append(["memory an agent, 50 agents", "60 MB", f"{memory}, everything counted"])
    lines.append(["when a process crashes", "isolated, restarted", "nothing is lost, no action changes"])
    return table(["", "in that analysis", "here"], lines)


def table(heads: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """A Markdown table; nothing where there are no rows."""
    if not rows:
        return ""
    lines = [heads, ["---"] * len(heads), *rows]
    return "".join(f"| {' | '.join(line)} |\n" for line in lines)


def number(x: float) -> str:
    """Three digits, with M for millions."""
    if x >= 1e6:
        return f"{x / 1e6:.3g} M"
    return f"{float(f'{x:.3g}'):,.0f}" if x >= 100 else f"{x:.3g}"


def times(ratio: float) -> str:
    """Two digits and a multiplication sign."""
    return f"{float(f'{ratio:.2g}'):,.0f}x" if ratio >= 10 else f"{ratio:.1f}x"
