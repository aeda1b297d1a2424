from __future__ import annotations

import os
import subprocess
import threading
import time

import numpy as np
import pytest
import typer

from benches.__main__ import chosen, failed_checks
from benches.comparison import agreement, batches_of
from benches.peers import PEERS
from benches.processes import children, cpu_s, cpu_used_s, pss_kb, thread_s, total_kb, tree
from benches.scaling import spread
from benches.timing import in_turns, percentiles, ratio, repeated, rounded, without_raw
from benches.works import WORKS


def test_a_ratio_is_the_median_of_ratios_in_turns() -> None:
    assert ratio([2.0, 9.0, 4.0], [1.0, 3.0, 1.0]) == 3.0
    with pytest.raises(ValueError, match="zip"):
        ratio([1.0], [1.0, 2.0])


def test_calls_are_made_in_turns_and_as_often() -> None:
    made: list[str] = []
    first, second = in_turns([lambda: made.append("a"), lambda: made.append("b")], limit_s=0.0, least=3)
    assert made == ["a", "b"] * 3
    assert len(first) == len(second) == 3


def test_a_turn_may_be_a_block_of_calls_after_one_that_does_not_count() -> None:
    made: list[str] = []
    first, second = in_turns([lambda: made.append("a"), lambda: made.append("b")], limit_s=0.0, least=3, block=2)
    assert made == ["a", "a", "a", "b", "b", "b"] * 2
    assert len(first) == len(second) == 4


def test_repeated_calls_end_with_their_time_but_are_made_at_least_so_often() -> None:
    assert len(repeated(lambda: None, limit_s=0.0, least=4)) == 4
    assert len(repeated(lambda: None, limit_s=60.0, most=5)) == 5


def test_percentiles_are_in_milliseconds() -> None:
    assert percentiles([0.001] * 99 + [0.1])["p50_ms"] == pytest.approx(1.0)
    assert percentiles([0.002] * 3) == pytest.approx({"p50_ms": 2.0, "p99_ms": 2.0, "p99.9_ms": 2.0})


def test_raw_numbers_are_left_out_wherever_they_are() -> None:
    report = {"a": [{"raw": [1], "b": 2}], "raw": 3, "c": {"raw": {}, "d": "e"}}
    assert without_raw(report) == {"a": [{"b": 2}], "c": {"d": "e"}}


def test_numbers_in_a_file_have_six_digits() -> None:
    assert rounded({"a": [0.123456789, 7, "x", None, True]}) == {"a": [0.123457, 7, "x", None, True]}


def test_decisions_without_a_margin_do_not_count_and_may_be_one_in_a_hundred() -> None:
    theirs = np.zeros((2, 100, 1), np.int64)
    ours, margins = theirs.copy(), np.ones((2, 100))
    ours[1, 3], margins[1, 3] = 1, 1e-6
    found = agreement(theirs, ours, margins, 1e-5)
    assert found == {"decisions": 200, "excluded": 1, "differing": 0, "margin": 1e-5, "passed": True}
    margins[:, 5:7] = 0.0
    assert agreement(theirs, ours, margins, 1e-5)["passed"] is False
    ours[0, 0] = 1
    assert agreement(theirs, ours, np.ones((2, 100)), 1e-5)["differing"] == 2


def test_a_peer_tries_small_batches_and_the_whole_work() -> None:
    assert batches_of(PEERS["pymdp"], WORKS["tmaze-10000"]) == [1, 10, 100, 1_000, 10_000]
    assert batches_of(PEERS["pool"], WORKS["explorer-50"]) == [50]
    assert batches_of(PEERS["legacy"], WORKS["tmaze-10000"]) == [4]


def test_checks_that_failed_are_found_and_skipped_works_are_not_failures() -> None:
    entries = [
        {"work": "a", "ratio": 2.0, "check": {"passed": False}, "raw": [1]},
        {"work": "b", "ratio": 2.0, "check": {"passed": True}},
        {"work": "c", "ratio": None, "skipped": "too many agents"},
    ]
    assert failed_checks({"peers": {"pool": entries}}) == [
        {"peer": "pool", "work": "a", "ratio": 2.0, "check": {"passed": False}}
    ]


def test_only_known_names_are_taken() -> None:
    assert chosen("b,a", ["a", "b", "c"], "--peers") == ["a", "b"]
    assert chosen("", ["a"], "--peers") == []
    with pytest.raises(typer.BadParameter, match="'x'"):
        chosen("a,x", ["a"], "--peers")


def test_processes_are_counted_with_their_children_and_without_those_that_ended() -> None:
    with subprocess.Popen(["sleep", "60"]) as process:
        family = tree(os.getpid())
        assert process.pid in children(os.getpid())
        assert process.pid in family
        before_s = cpu_s(family)
        assert total_kb(pss_kb, family) > total_kb(pss_kb, [process.pid]) > 0
        process.kill()
    assert process.pid not in cpu_s(family)
    assert cpu_used_s(before_s) >= 0.0
    assert children(process.pid) == []
    assert total_kb(pss_kb, [process.pid]) == 0


def test_a_thread_takes_the_processor_time_of_what_it_did() -> None:
    pid, mine = os.getpid(), threading.get_native_id()
    begun_s, before_s = time.thread_time(), thread_s(pid)
    while time.thread_time() < begun_s + 0.05:
        pass
    after_s = thread_s(pid)
    [own] = [key for key in after_s if key[0] == mine]
    assert 0.04 < after_s[own] - before_s[own] < 0.07


def test_the_spread_of_sizes_is_that_within_rounds():
    speeds = (1.0, 2.0, 1.7, 1.0, 2.2)
    small, large = [220.0 * speed for speed in speeds], [200.0 * speed for speed in speeds]
    assert spread([small, large]) == pytest.approx(0.1)
    large[1] *= 3.0  # one round in which the machine changed
    assert spread([small, large]) == pytest.approx(0.1)
    assert spread([small, large, [400.0 * speed for speed in speeds]]) == pytest.approx(1.0)
