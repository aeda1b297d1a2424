"""The checker of scripts/chaos believes an honest diary, and notices each lie that it is there for."""

from dataclasses import replace
from types import SimpleNamespace

import msgspec
import numpy as np
import pytest

from beliefd.engine import Engine
from beliefd_proto import Applied
from nemesis.checker import Checker
from nemesis.diary import Diary, Ended, Found, Reader, Sent
from nemesis.herds import HERDS
from nemesis.inputs import observations, resets

HERD = replace(HERDS[0], agents=6)
EVERYONE = np.arange(HERD.agents)


class Story:
    """What a herd writes when an engine answers it."""

    def __init__(self):
        self.engine = Engine(HERD.make(), agents=HERD.agents, seed=HERD.seed)
        self.model = HERD.make()
        self.records = [found(np.zeros(HERD.agents, int))]
        self.number = 0

    def sent(self, ticks, agents=EVERYONE):
        self.number += 1
        self.records.append(Sent(self.number, 0.0, agents.astype(np.int64).tobytes(), ticks.astype(np.int64).tobytes()))

    def applied(self, ticks, agents=EVERYONE):
        return self.engine.step(
            observations(HERD.seed, self.model.num_obs, agents, ticks),
            agents=agents,
            reset=resets(HERD.seed, agents, ticks),
            want=("vfe",),
        )

    def answered(self, step):
        self.records.append(
            Ended(
                self.number,
                1.0,
                -1.0,
                "",
                ticks=step.tick.astype(np.int64).tobytes(),
                actions=step.actions.tobytes(),
                vfe=step.vfe.tobytes(),
            )
        )

    def failed(self, code, applied, ticks):
        told = np.broadcast_to(applied, len(ticks)).astype(np.uint8)
        self.records.append(
            Ended(self.number, 1.0, -1.0, code, "why", told.tobytes(), ticks.astype(np.int64).tobytes())
        )

    def step(self, tick):
        ticks = np.full(HERD.agents, tick)
        self.sent(ticks)
        self.answered(self.applied(ticks))

    def verdict(self, ticks=None):
        checker = Checker(HERD)
        checker.follow(self.records)
        checker.conclude(self.engine.read().tick.astype(np.int64) if ticks is None else ticks)
        return checker.verdict.violations


def found(ticks, fresh=True):
    return Found(0.0, fresh, EVERYONE.tobytes(), ticks.astype(np.int64).tobytes())


@pytest.fixture
def story():
    told = Story()
    for tick in range(1, 5):
        told.step(tick)
    return told


def test_the_truth_is_believed(story):
    assert story.verdict() == []


def test_a_step_acknowledged_twice(story):
    story.records += story.records[-2:]
    assert "acknowledged again" in story.verdict()[0]


@pytest.fixture
def settled_late(story):
    """A story whose last step was made for four agents when its deadline came, and for the others when asked again."""
    ticks = np.full(HERD.agents, 5)
    made, other = EVERYONE < 4, EVERYONE >= 4
    story.sent(ticks)
    first = story.applied(ticks[made], EVERYONE[made])
    for otherwise in (Applied.UNKNOWN, Applied.NO, Applied.UNKNOWN):
        rest = np.where(EVERYONE == 5, Applied.UNKNOWN, otherwise)
        story.failed("deadline_exceeded", np.where(made, Applied.YES, rest), ticks)
    then = story.applied(ticks[other], EVERYONE[other])
    whole = {name: np.concatenate([getattr(s, name) for s in (first, then)]) for name in ("tick", "actions", "vfe")}
    story.answered(SimpleNamespace(**whole))
    return story


def test_a_step_that_was_made_for_some_is_told_of_once_more_when_it_is_for_all(settled_late):
    assert settled_late.verdict() == []


def test_what_is_told_once_more_is_the_same(settled_late):
    told = settled_late.records[-1]
    body = bytearray(told.vfe)
    body[0] ^= 1
    settled_late.records[-1] = msgspec.structs.replace(told, vfe=bytes(body))
    assert settled_late.verdict() == ["mice: agent 0, tick 5: not what the engine answers"]
    ticks = np.array([4, 5, 5, 5, 5, 5])
    settled_late.records[-1] = msgspec.structs.replace(told, ticks=ticks.tobytes())
    assert "at other ticks than before" in settled_late.verdict()[0]


def test_a_step_that_was_left_out(story):
    del story.records[-4:-2]
    assert "acknowledged after a gap" in story.verdict()[0]


def test_two_steps_in_the_wrong_order(story):
    story.records[-4:-2], story.records[-2:] = story.records[-2:], story.records[-4:-2]
    assert "acknowledged after a gap" in story.verdict()[0]
    assert any("acknowledged again" in violation for violation in story.verdict())


@pytest.mark.parametrize("what", ["actions", "vfe"])
def test_an_answer_of_other_bits(story, what):
    body = bytearray(getattr(story.records[-1], what))
    body[0] ^= 1
    story.records[-1] = msgspec.structs.replace(story.records[-1], **{what: bytes(body)})
    assert story.verdict() == ["mice: agent 0, tick 4: not what the engine answers"]


def test_an_acknowledged_step_that_is_lost(story):
    assert "is at tick 3 (in the end)" in story.verdict(np.full(HERD.agents, 3))[0]


def test_a_step_that_nobody_sent(story):
    story.records.append(found(np.full(HERD.agents, 5)))
    assert "is at tick 5 (read)" in story.verdict()[0]


def test_an_end_after_the_deadline(story):
    story.records[-1] = msgspec.structs.replace(story.records[-1], late_s=0.6)
    assert "0.600 s after its deadline" in story.verdict()[0]


def test_a_step_that_was_given_up_long_before_its_deadline(story):
    story.sent(np.full(HERD.agents, 5))
    story.failed("deadline_exceeded", Applied.NO, np.full(HERD.agents, 5))
    assert story.verdict() == []
    story.records[-1] = msgspec.structs.replace(story.records[-1], late_s=-3.0)
    assert story.verdict() == ["mice: step 5 was given up after 1.000 of its 4.000 s"]


def test_an_error_that_no_fault_explains(story):
    story.sent(np.full(HERD.agents, 5))
    story.failed("internal_error", Applied.NO, np.full(HERD.agents, 5))
    assert "internal_error: why" in story.verdict()[0]


def test_a_step_that_was_said_to_be_not_made_and_was(story):
    ticks = np.full(HERD.agents, 5)
    story.sent(ticks)
    story.failed("deadline_exceeded", Applied.NO, ticks)
    story.applied(ticks)
    assert "is at tick 5 (in the end)" in story.verdict()[0]


def test_a_step_of_a_client_that_died_may_be_made_or_not_and_once(story):
    ticks = np.full(HERD.agents, 5)
    story.sent(ticks)
    story.records.append(found(np.full(HERD.agents, 4)))
    story.applied(ticks[:2], EVERYONE[:2])  # comes late, after the read
    story.sent(ticks[2:], EVERYONE[2:])
    story.answered(story.applied(ticks[2:], EVERYONE[2:]))
    assert story.verdict() == []
    story.applied(ticks[:2] + 1, EVERYONE[:2])
    assert "is at tick 6 (in the end)" in story.verdict()[0]


def test_the_next_client_is_overtaken_by_what_the_last_one_sent(story):
    """It sent the inputs of tick 5, and they were taken for tick 6."""
    ticks = np.full(HERD.agents, 5)
    story.sent(ticks)
    story.records.append(found(np.full(HERD.agents, 4)))
    story.sent(ticks)
    story.applied(ticks)
    story.answered(story.applied(ticks))
    assert story.verdict() == []


def test_a_diary_is_read_while_it_is_written(tmp_path):
    reader = Reader(tmp_path / "diary")
    assert list(reader.more()) == []
    with Diary(tmp_path / "diary") as diary:
        diary.write(found(np.zeros(6)))
        assert [record.fresh for record in reader.more()] == [True]
        diary.write(Sent(1, 0.0, b"", b""))
        assert [record.number for record in reader.more()] == [1]
    with open(tmp_path / "diary", "ab") as file:
        file.write(b"\x09\x00\x00\x00cut")
    assert list(reader.more()) == []
