"""The session's rules, and: whatever is lost or sent twice, every request ends once and by its deadline."""

import itertools
import secrets

import msgspec
import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from peer import done, error, frames, request, step_header, welcome

from beliefd.session import SILENCE_S, Pending, Session
from beliefd_proto import Applied, Command, Message, decode, encode
from beliefd_proto import messages as m
from beliefd_proto.errors import BeliefdError, DeadlineExceeded, Disconnected, MalformedMessage, VersionMismatch

DEADLINE_S = 100.0


def sent(session, now_s=0.0):
    """What the session sends now, decoded."""
    return [decode([bytes(f) for f in message]).header for message in session.take_outgoing(now_s)]


def test_a_session_that_introduces_itself_says_hello_at_once_and_then_all_that_is_open():
    session = greeted()
    asked = [Pending(Command.ATTACH, request(), {}, DEADLINE_S) for _ in range(2)]
    for pending in asked:
        session.submit(pending)
    assert len(sent(session)) == 2
    session.introduce()
    assert session.next_wakeup_s(0.0) <= 0.0
    (hello,) = sent(session)
    assert isinstance(hello, m.Hello)
    assert sent(session) == []
    session.receive(welcome(hello.id, epoch=2), 0.0)
    assert [header.id for header in sent(session)] == [pending.header.id for pending in asked]


def greeted(credits=8, **more):
    """A session that has been welcomed."""
    session = Session()
    (hello,) = sent(session)
    session.receive(welcome(hello.id, credits=credits, **more), 0.0)
    return session


def submit(session, count=1, deadline_s=DEADLINE_S, kind=request, command=Command.ATTACH):
    headers = [kind() for _ in range(count)]
    return headers, [hand_in(session, command, header, deadline_s) for header in headers]


def hand_in(session, command, header, deadline_s):
    pending = Pending(command, header, {}, deadline_s)
    session.submit(pending)
    return pending


def resolve(session):
    while session.ended:
        session.ended.popleft().resolve()


def outcome(session, future):
    resolve(session)
    assert future.done()
    return future.outcome


@pytest.mark.parametrize(("remaining_s", "told_ms"), [(10.0, 9900), (0.4, 300), (0.2, 150), (0.0, 0)])
def test_the_broker_is_told_a_slightly_earlier_deadline(remaining_s, told_ms):
    session = greeted()
    submit(session, deadline_s=remaining_s)
    assert sent(session, 0.0)[0].deadline_ms == told_ms


def test_hello_comes_before_anything_else():
    session = Session(client="me", session_id=bytes(range(16)))
    headers, _ = submit(session)
    (hello,) = sent(session)
    assert (hello.session, hello.versions, hello.client) == (bytes(range(16)), (1,), "me")
    assert sent(session, SILENCE_S / 2) == []
    session.receive(welcome(hello.id, epoch=7, limits=m.Limits(chunk_agents=5)), 0.1)
    assert (session.epoch, session.limits.chunk_agents) == (7, 5)
    assert [header.id for header in sent(session, 0.1)] == [header.id for header in headers]


def test_a_hello_without_answer_is_sent_again():
    session = Session()
    (first,) = sent(session)
    assert session.next_wakeup_s(0.0) == SILENCE_S
    (second,) = sent(session, SILENCE_S)
    assert first.session == second.session
    session.receive(welcome(first.id), 0.3)
    session.receive(welcome(second.id, credits=1), 0.3)
    submit(session, 3)
    assert len(sent(session, 0.3)) == 3  # the second welcome took no credits away


def test_credits_bound_what_is_open_and_answers_renew_them():
    session = greeted(credits=2)
    headers, futures = submit(session, 5)
    assert [h.id for h in sent(session)] == [h.id for h in headers[:2]]
    assert sent(session) == []
    session.receive(done(headers[1].id, credits=3), 0.0)
    assert outcome(session, futures[1]).header.credits == 3
    assert [h.id for h in sent(session)] == [h.id for h in headers[2:4]]
    session.receive(done(headers[0].id, credits=0), 0.0)
    assert [h.id for h in sent(session)] == [headers[4].id]


def test_what_remains_of_the_deadline_travels():
    session = greeted()
    submit(session, deadline_s=10.0)
    assert sent(session, 7.5)[0].deadline_ms == 2400


def test_what_waited_for_credits_until_no_time_is_left_is_not_sent_and_was_not_made():
    session = greeted(credits=1)
    headers, futures = submit(session, 2, deadline_s=1.0, kind=step_header, command=Command.STEP)
    (late,), _ = submit(session, deadline_s=1.2)
    sent(session)
    session.receive(done(headers[0].id), 0.95)
    assert [h.id for h in sent(session, 0.95)] == [late.id]
    session.tick(1.0)
    error = outcome(session, futures[1])
    assert isinstance(error, DeadlineExceeded)
    assert set(error.applied) == {Applied.NO}


def test_a_broker_that_forgot_us_is_greeted_again_and_all_that_is_open_is_sent_again():
    session = greeted()
    headers, futures = submit(session, 3)
    sent(session)
    session.receive(done(headers[0].id), 0.0)
    for header in headers[1:]:
        session.receive(error(header.id, "hello_required"), 1.0)
    (hello,) = sent(session, 1.0)
    assert isinstance(hello, m.Hello)
    session.receive(welcome(hello.id, epoch=2), 1.0)
    assert [h.id for h in sent(session, 1.0)] == [h.id for h in headers[1:]]
    session.receive(done(headers[2].id), 1.0)
    resolve(session)
    assert [future.done() for future in futures] == [True, False, True]


def test_silence_brings_a_ping_and_only_what_the_broker_does_not_hold_is_sent_again():
    session = greeted()
    headers, _ = submit(session, 3)
    sent(session)
    session.tick(SILENCE_S * 0.9)
    assert sent(session, SILENCE_S * 0.9) == []
    session.tick(SILENCE_S)
    (ping,) = sent(session, SILENCE_S)
    assert ping.pending == tuple(header.id for header in headers)
    pong = m.Pong(id=ping.id, epoch=1, unknown=(headers[1].id, secrets.token_bytes(16)))
    session.receive(frames(Command.PONG, pong), SILENCE_S)
    assert [h.id for h in sent(session, SILENCE_S)] == [headers[1].id]


def test_pings_without_answer_become_rarer_up_to_two_seconds():
    session = greeted()
    submit(session, deadline_s=1000.0)
    sent(session)
    asked, now_s = [], 0.0
    while len(asked) < 6:
        now_s = session.next_wakeup_s(now_s)
        session.tick(now_s)
        asked += [now_s] * len(sent(session, now_s))
    gaps = np.diff(asked)
    np.testing.assert_allclose(gaps, [0.5, 1.0, 2.0, 2.0, 2.0])


def test_an_idle_session_is_silent():
    session = greeted()
    session.tick(1e6)
    assert sent(session, 1e6) == []
    assert session.idle
    assert session.next_wakeup_s(5.0) == 65.0


def test_who_is_refused_as_busy_waits_as_long_as_the_broker_said():
    session = greeted()
    headers, futures = submit(session, 1)
    sent(session)
    session.receive(error(headers[0].id, "busy", retry_after_ms=200), 1.0)
    resolve(session)
    assert not futures[0].done()
    assert sent(session, 1.1) == []
    assert session.next_wakeup_s(1.1) == pytest.approx(1.2)
    assert [h.id for h in sent(session, 1.2)] == [headers[0].id]
    session.receive(done(headers[0].id), 1.3)
    assert outcome(session, futures[0]).command is Command.DONE


def test_a_busy_broker_gets_fewer_at_once_until_it_says_more():
    session = greeted(credits=8)
    headers, futures = submit(session, 4)
    sent(session)
    session.receive(error(headers[3].id, "busy", retry_after_ms=1), 1.0)
    assert sent(session, 2.0) == []  # three are open, and three was too many to add to
    session.receive(done(headers[0].id, credits=8), 2.0)
    assert [h.id for h in sent(session, 2.0)] == [headers[3].id]
    assert len(futures) == 4


def test_the_deadline_of_what_was_sent_leaves_it_open_whether_it_was_applied():
    session = greeted(credits=1)
    _, (first, second) = submit(session, 2, deadline_s=5.0, kind=step_header, command=Command.STEP)
    sent(session)
    assert session.next_wakeup_s(4.9) <= 5.0
    session.tick(4.99)
    assert not session.ended
    session.tick(5.0)
    told, untold = outcome(session, first), outcome(session, second)
    assert isinstance(told, DeadlineExceeded)
    assert isinstance(untold, DeadlineExceeded)
    assert told.applied.tolist() == [Applied.UNKNOWN]
    assert untold.applied.tolist() == [Applied.NO]
    assert session.idle


def test_a_step_that_was_only_ever_refused_as_busy_was_not_applied():
    session = greeted()
    (header,), (future,) = submit(session, deadline_s=5.0, kind=step_header, command=Command.STEP)
    sent(session)
    session.receive(error(header.id, "busy", retry_after_ms=60_000), 1.0)
    session.tick(5.0)
    assert outcome(session, future).applied.tolist() == [Applied.NO]


def test_without_a_broker_the_error_says_so():
    session = Session()
    _, (future,) = submit(session, deadline_s=1.0)
    sent(session)
    session.tick(1.0)
    assert isinstance(outcome(session, future), Disconnected)


def test_a_late_answer_is_ignored():
    session = greeted()
    (header,), (future,) = submit(session, deadline_s=1.0)
    sent(session)
    session.tick(1.0)
    assert isinstance(outcome(session, future), DeadlineExceeded)
    session.receive(done(header.id), 2.0)
    session.receive(done(header.id), 2.0)
    assert not session.ended


def test_an_error_becomes_an_exception_of_the_tree_with_what_the_broker_said_per_agent():
    session = greeted()
    header = step_header(count=3)
    future = hand_in(session, Command.STEP, header, DEADLINE_S)
    sent(session)
    told = m.Error(id=header.id, code="tick_taken", message="taken", field="tick", index=(4,), value="1")
    applied = np.array([0, 1, 1], np.uint8)
    session.receive(frames(Command.ERROR, told, {"applied": applied}), 0.0)
    caught = outcome(session, future)
    assert (caught.code, caught.field, caught.index) == ("tick_taken", "tick", (4,))
    np.testing.assert_array_equal(caught.applied, applied)


def test_an_error_without_an_id_ends_the_only_request_it_can_mean():
    session = greeted()
    headers, (first, second) = submit(session, 2, kind=step_header, command=Command.STEP)
    sent(session)
    session.receive(error(bytes(16), "malformed_message"), 0.0)
    assert not session.ended
    session.receive(done(headers[0].id), 0.0)
    session.receive(error(bytes(16), "malformed_message"), 0.0)
    caught = outcome(session, second)
    assert isinstance(caught, MalformedMessage)
    assert caught.applied.tolist() == [Applied.UNKNOWN]
    assert first.done()


@pytest.mark.parametrize("reply", ["in our version", "in another"])
def test_a_broker_of_another_version_is_told_at_once(reply):
    session = Session()
    _, (future, step) = submit(session, 2, kind=step_header, command=Command.STEP)
    (hello,) = sent(session)
    frames = error(hello.id, "version_mismatch", allowed="2")
    if reply == "in another":
        frames[0] = b"bd\x02\xff"
    session.receive(frames, 0.1)
    assert isinstance(outcome(session, future), VersionMismatch)
    assert step.outcome.applied.tolist() == [Applied.NO]
    assert session.idle


def test_close_ends_everything():
    session = greeted(credits=1)
    _, futures = submit(session, 2, kind=step_header, command=Command.STEP)
    sent(session)
    session.close("closed")
    told = [outcome(session, future) for future in futures]
    assert [type(e) for e in told] == [Disconnected, Disconnected]
    assert [e.applied.tolist() for e in told] == [[Applied.UNKNOWN], [Applied.NO]]
    assert session.idle


@given(st.lists(st.binary(max_size=40), max_size=4))
def test_noise_changes_nothing(noise):
    # A broker of another version is no noise: no request will ever be answered.
    assume(not noise or noise[0][:2] != b"bd" or noise[0][2:3] == b"\x01")
    session = greeted()
    (header,), (future,) = submit(session)
    sent(session)
    session.receive(noise, 0.0)
    assert not session.ended
    session.receive(done(header.id), 0.0)
    assert outcome(session, future).command is Command.DONE


class Broker:
    """Holds requests and answers each once, knows sessions until it restarts, and takes no more than its credits."""

    def __init__(self):
        self.epoch = 0
        self.known = False
        self.open = {}
        self.answered = []

    def restart(self):
        self.epoch += 1
        self.known = False
        self.open.clear()

    def take(self, header, credits):
        if isinstance(header, m.Hello):
            self.known = True
            return [welcome(header.id, epoch=self.epoch, credits=credits)]
        if not self.known:
            return [error(header.id, "hello_required")]
        if isinstance(header, m.Ping):
            unknown = tuple(pending for pending in header.pending if pending not in self.open)
            return [frames(Command.PONG, m.Pong(id=header.id, epoch=self.epoch, unknown=unknown))]
        if header.id not in self.open and len(self.open) >= credits:
            return [error(header.id, "busy", retry_after_ms=20)]
        self.open[header.id] = header
        return []

    def answer(self, credits):
        request_id = next(iter(self.open))
        del self.open[request_id]
        self.answered.append(request_id)
        return done(request_id, credits=credits)


@settings(max_examples=150)
@given(st.data())
def test_whatever_is_lost_every_request_ends_once_and_by_its_deadline(data):
    """Messages are lost or doubled, never overtake each other; the broker restarts and is busy. Then all goes well."""
    session, broker = Session(), Broker()
    up, down, left, futures, ended = [], [], [], {}, {}
    now_s = 0.0

    def carry(queue, deliver, faults):
        while queue:
            message = queue.pop(0)
            for _ in range(data.draw(st.sampled_from([1, 1, 1, 0, 2])) if faults else 1):
                deliver(message)

    def to_broker(message):
        down.extend(broker.take(decode([bytes(f) for f in message]).header, credits=2))

    def settle():
        while session.ended:
            pending = session.ended.popleft()
            assert pending.header.id not in ended
            ended[pending.header.id] = now_s
            pending.resolve()

    def turn(faults):
        """As a client takes its turns: it reads no more once nothing is awaited, and ticks when that is due."""
        read_enough = False

        def hear(message):
            nonlocal read_enough
            if read_enough:
                left.append(message)
                return
            session.receive(message, now_s)
            read_enough = session.idle

        up.extend(session.take_outgoing(now_s))
        due_s = session.next_wakeup_s(now_s)
        carry(up, to_broker, faults)
        down[:0] = left
        left.clear()
        carry(down, hear, faults)
        if now_s >= due_s:
            session.tick(now_s)
        settle()

    for _ in range(data.draw(st.integers(3, 30))):
        match data.draw(st.sampled_from(["submit", "submit", "turn", "turn", "answer", "restart", "time"])):
            case "submit":
                header = request()
                deadline_s = now_s + data.draw(st.sampled_from([0.3, 2.0, 50.0]))
                futures[header.id] = hand_in(session, Command.ATTACH, header, deadline_s), deadline_s
            case "answer" if broker.open:
                down.append(broker.answer(credits=2))
            case "restart":
                broker.restart()
            case "time":
                now_s += data.draw(st.sampled_from([0.01, 0.3, 1.0]))
        turn(faults=True)
    while not session.idle:
        turn(faults=False)
        while broker.open:
            down.append(broker.answer(credits=2))
        for _ in range(3):  # a PING; that it was not known; HELLO
            turn(faults=False)
        wakeup_s = session.next_wakeup_s(now_s)
        assert session.idle or wakeup_s > now_s  # else its shell would spin
        now_s = max(wakeup_s, now_s)
        assert now_s < 1000.0
    assert set(ended) == set(futures)
    for request_id, (future, deadline_s) in futures.items():
        assert future.done()
        told = future.outcome
        assert isinstance(told, Message | BeliefdError)
        if isinstance(told, Message):
            assert request_id in broker.answered
        else:
            assert isinstance(told, DeadlineExceeded | Disconnected)
            assert ended[request_id] >= deadline_s
        if deadline_s > now_s + 1.0:
            assert isinstance(told, Message)


def test_the_error_of_an_earlier_attempt_does_not_end_a_retry():
    """The broker's late word on the first sending must not be taken for the outcome of the second."""
    session = greeted()
    headers, _ = submit(session)
    sent(session)
    again = msgspec.structs.replace(headers[0], attempt=1)
    now_s = DEADLINE_S + 1
    session.tick(now_s)
    hand_in(session, Command.ATTACH, again, now_s + 10)
    sent(session, now_s)
    session.receive(error(again.id, "deadline_exceeded"), now_s)
    assert not session.idle
    told = m.Error(id=again.id, code="deadline_exceeded", message="", attempt=1)
    session.receive(encode(Command.ERROR, told), now_s)
    assert session.idle


@pytest.mark.parametrize(
    ("code", "told"),
    [("deadline_exceeded", Applied.UNKNOWN), ("stale_tick", Applied.UNKNOWN), ("tick_gap", Applied.NO)],
)
def test_what_was_sent_twice_may_have_been_applied_the_first_time(code, told):
    """The broker that says so was started in between: it does not know what the one before it began."""
    session = greeted()
    header = step_header(count=2)
    future = hand_in(session, Command.STEP, header, DEADLINE_S)
    sent(session)
    session.receive(error(header.id, "hello_required"), 1.0)
    (hello,) = sent(session, 1.0)
    session.receive(welcome(hello.id, epoch=2), 1.0)
    assert [h.id for h in sent(session, 1.0)] == [header.id]
    said = m.Error(id=header.id, code=code, message="")
    session.receive(frames(Command.ERROR, said, {"applied": np.array([0, 1], np.uint8)}), 2.0)
    assert outcome(session, future).applied.tolist() == [told, Applied.YES]


def part(of, start, count, action=None):
    """What a worker says of some agents: each takes its own number as action."""
    actions = np.arange(start, start + count, dtype=np.int8) if action is None else np.full(count, action, np.int8)
    header = m.SteppedPart(id=of.id, start=start, count=count)
    return frames(Command.STEPPED_PART, header, {"actions": actions[:, None]})


def stepping(session, count=6):
    (header,), (pending,) = submit(session, kind=lambda: step_header(count), command=Command.STEP)
    sent(session)
    return header, pending


def test_hello_says_where_the_letterbox_is():
    (hello,) = sent(Session(letterbox=b"L" * 16))
    assert hello.letterbox == b"L" * 16


@pytest.mark.parametrize("cuts", [(), (2,), (5, 1), (4, 2)])
def test_a_step_is_answered_once_all_of_it_was_told_in_whatever_order(cuts):
    session = greeted()
    header, pending = stepping(session)
    ends = [0, *sorted(cuts), 6]
    parts = [part(header, start, stop - start) for start, stop in itertools.pairwise(ends)]
    for each in parts[:0:-1]:
        session.receive(each, 0.0)
        assert not pending.done()
    session.receive(parts[0], 0.0)
    message = outcome(session, pending)
    assert message.command is Command.STEPPED
    assert message.arrays["actions"][:, 0].tolist() == list(range(6))
    assert session.idle


def test_parts_of_another_way_to_share_a_step_do_not_count_twice():
    session = greeted()
    header, pending = stepping(session)
    session.receive(part(header, 0, 4), 0.0)
    session.receive(part(header, 2, 4), 0.0)
    assert not pending.done()
    session.receive(part(header, 0, 2), 0.0)
    assert outcome(session, pending).arrays["actions"][:, 0].tolist() == list(range(6))


def test_what_the_broker_says_of_a_step_counts_though_a_part_was_told():
    session = greeted()
    header, pending = stepping(session)
    session.receive(part(header, 0, 4), 0.0)
    session.receive(error(header.id, "deadline_exceeded"), 0.0)
    assert isinstance(outcome(session, pending), DeadlineExceeded)
    session.receive(part(header, 4, 2), 0.0)
    assert not session.ended


def test_parts_of_what_is_not_open_or_no_step_are_ignored():
    session = greeted()
    _, step = stepping(session, count=1)
    (asked,), (attached,) = submit(session)
    sent(session)
    session.receive(part(step_header(), 0, 1), 0.0)
    session.receive(part(asked, 0, 1), 0.0)
    assert not step.done()
    assert not attached.done()


def test_words_of_strangers_do_not_keep_from_asking_the_broker():
    session = greeted()
    _, pending = stepping(session)
    now_s, asked = 0.0, 0
    for _ in range(20):
        now_s += SILENCE_S / 2
        session.receive(part(step_header(), 0, 1), now_s)
        session.tick(now_s)
        asked += sum(isinstance(header, m.Ping) for header in sent(session, now_s))
    assert asked > 1
    assert not pending.done()


def test_who_is_told_by_workers_alone_gets_its_credits_back_after_a_busy():
    session = greeted(credits=8)
    headers, _ = submit(session, count=3, kind=step_header, command=Command.STEP)
    sent(session)
    for header in headers:
        session.receive(error(header.id, "busy", retry_after_ms=10), 0.0)
    again = sent(session, 1.0)
    assert len(again) == 1
    session.receive(part(again[0], 0, 1), 1.0)
    submit(session, count=10, kind=step_header, command=Command.STEP)
    assert len(sent(session, 1.0)) == 8


def test_who_was_told_in_parts_sends_what_waited_for_credits():
    session = greeted(credits=1)
    first, _ = stepping(session)
    (second,), _ = submit(session, kind=step_header, command=Command.STEP)
    assert not sent(session)
    session.receive(part(first, 0, 6), 0.0)
    assert [header.id for header in sent(session)] == [second.id]


def test_a_part_of_no_agents_is_no_message():
    session = greeted()
    header, pending = stepping(session)
    session.receive(part(header, 0, 0), 0.0)
    assert not pending.done()
