"""Ticks as a client keeps them, whichever of its agents step, fail or step at two times, against a peer that counts."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from peer import Peer, error, frames, population, stepped

import beliefd
from beliefd.ticks import Ticks
from beliefd_proto import Command
from beliefd_proto import messages as m
from beliefd_proto.errors import DeadlineExceeded, InvalidArgument

AGENTS = 6
LIMITS = m.Limits(chunk_agents=4)


class Counting(Peer):
    """Has a tick for each agent, and takes no step but the next one, or one that it took before.

    `refuse` is how many of the next steps fail; of `lose` of them the answer is lost.
    """

    def __init__(self):
        super().__init__(self.answer, LIMITS)
        self.ticks = np.zeros(AGENTS, np.int64)
        self.refuse = self.lose = 0

    def answer(self, header):
        if isinstance(header, m.Attach):
            return population(header.id, rows=AGENTS)
        if not isinstance(header, (m.Step, m.Read)):
            return self.default(header)
        first = header.first
        rows = self.arrays["agents"].astype(int) if first is None else np.arange(first, first + header.count)
        if isinstance(header, m.Read):
            arrays = {"tick": self.ticks[rows], "actions": np.zeros((header.count, 1), np.int32)}
            return frames(Command.VALUES, m.Values(id=header.id, credits=8), arrays)
        asked = self.arrays["ticks"] if header.tick is None else header.tick
        if self.refuse:
            self.refuse -= 1
            return error(header.id, "deadline_exceeded")
        if (asked > self.ticks[rows] + 1).any():
            return error(header.id, "tick_gap")
        self.ticks[rows] = np.maximum(self.ticks[rows], asked)
        if self.lose:
            self.lose -= 1
            return error(header.id, "deadline_exceeded")
        return stepped(header)


def test_a_retry_that_comes_late_takes_no_tick_back():
    with Counting() as peer, beliefd.connect(peer.endpoint) as client:
        mice = client.population("mice")
        everyone = np.zeros(AGENTS, int)
        peer.lose = 2
        with pytest.raises(DeadlineExceeded) as lost:
            mice.step(everyone)
        assert mice.step(everyone).tick.tolist() == [2] * AGENTS
        assert mice.retry(lost.value).tick.tolist() == [1] * AGENTS
        assert mice.step(everyone).tick.tolist() == [3] * AGENTS


def test_the_tick_that_all_have_is_a_number_each_to_whoever_reads_it():
    with Counting() as peer, beliefd.connect(peer.endpoint) as client:
        mice = client.population("mice")
        for tick in (1, 2, 3):
            step = mice.step(np.zeros(AGENTS, int))
            assert (step.tick.dtype, step.tick.tolist()) == (np.dtype(np.int64), [tick] * AGENTS)
        with pytest.raises(ValueError, match="read-only"):
            step.tick[0] = 7  # would be that of all
        some = mice.step(np.zeros(2, int), agents=[1, 4])
        assert some.tick.tolist() == [4, 4]
        assert mice.step(np.zeros(AGENTS, int)).tick.tolist() == [4, 5, 4, 4, 5, 4]


@pytest.mark.parametrize("first", [0, 3])
def test_after_an_interrupted_step_agents_go_on_from_where_they_are(first, monkeypatch):
    """All stood at one tick; whether the step was made is not known, and is asked for those that step next."""
    with Counting() as peer, beliefd.connect(peer.endpoint) as client:
        mice = client.population("mice")
        for _ in range(2):
            mice.step(np.zeros(AGENTS, int))
        drive = client.drive

        def interrupted(done):
            drive(done)
            raise KeyboardInterrupt

        with monkeypatch.context() as patch:
            patch.setattr(client, "drive", interrupted)
            with pytest.raises(KeyboardInterrupt):
                mice.step(np.zeros(AGENTS, int))
        assert peer.ticks.max() == 3
        some = [first, first + 1]
        peer.ticks[:] = 3  # whoever it was that sent the rest
        assert mice.step(np.zeros(2, int), agents=some).tick.tolist() == [4, 4]
        assert mice.step(np.zeros(AGENTS, int)).tick.tolist() == [5 if row in some else 4 for row in range(AGENTS)]


@settings(max_examples=150, deadline=None)
@given(
    st.lists(
        st.tuples(
            st.one_of(st.none(), st.sets(st.integers(0, AGENTS - 1), min_size=1)), st.sampled_from([0, 0, 0, 1, 2])
        ),
        min_size=1,
        max_size=12,
    )
)
def test_a_client_always_asks_for_the_next_tick_of_each_agent(calls):
    """Calls of everyone or of some agents, of which the first chunks fail."""
    with Counting() as peer, beliefd.connect(peer.endpoint) as client:
        mice = client.population("mice")
        for agents, fails in calls:
            rows = np.arange(AGENTS) if agents is None else np.array(sorted(agents))
            peer.refuse = refused = min(fails, 1 + (len(rows) > LIMITS.chunk_agents))
            before = peer.ticks.copy()
            try:
                step = mice.step(np.zeros(len(rows), int), agents=None if agents is None else rows)
            except DeadlineExceeded:
                assert refused
            else:
                assert not refused
                assert step.tick.tolist() == (before[rows] + 1).tolist() == peer.ticks[rows].tolist()


@pytest.fixture
def standing():
    made = Ticks()
    made.set_members(slice(0, 4), 4)
    made.learn(slice(0, 4), np.zeros(4, np.int64))
    made.give_back_unsent(slice(0, 4), [])
    return made


@pytest.mark.parametrize("again", ["give_back", "settle"])
def test_agents_that_were_given_back_stay_with_who_took_them_since(standing, again):
    first, second = [], []
    standing.take(slice(0, 4), first)
    standing.give_back(first)
    standing.take(slice(0, 4), second)
    if again == "give_back":
        standing.give_back(first)
    else:
        standing.settle(None, None, first)
    with pytest.raises(InvalidArgument):
        standing.take(slice(0, 4), [])


def test_who_was_given_back_without_an_answer_is_uncertain_and_who_was_not_sent_is_not(standing):
    taken = []
    assert standing.take(slice(0, 2), taken)
    standing.give_back(taken)
    assert standing.take(slice(2, 4), taken)
    standing.give_back_unsent(slice(2, 4), taken)
    assert standing.uncertain(slice(0, 4)) == slice(0, 2)
    assert not standing.take(slice(0, 4), taken)
