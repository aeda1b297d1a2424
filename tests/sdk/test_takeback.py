"""Taking a request back: in the session at once, at the broker by CANCEL, and through the future of `submit`."""

import numpy as np
import pytest
from peer import Peer, error, request, step_header, stepped, welcome
from test_session import greeted, hand_in, outcome, sent

import beliefd
from beliefd_proto import Applied, Command
from beliefd_proto import messages as m
from beliefd_proto.errors import Cancelled

NOW = 30.0


def test_what_waits_here_ends_at_once_as_not_applied():
    session = greeted(credits=1)
    hand_in(session, Command.ATTACH, request(), 100.0)
    waiting = hand_in(session, Command.STEP, step_header(count=2), 100.0)
    assert len(sent(session)) == 1
    session.cancel(waiting)
    assert session.next_wakeup_s(5.0) == 5.0
    told = outcome(session, waiting)
    assert isinstance(told, Cancelled)
    assert told.applied.tolist() == [Applied.NO] * 2
    assert sent(session) == []


def test_what_is_open_is_cancelled_at_the_broker_once_and_ends_as_that_says():
    session = greeted()
    pending = hand_in(session, Command.STEP, step_header(count=2), 100.0)
    sent(session)
    session.cancel(pending)
    session.cancel(pending)
    (header,) = sent(session)
    assert isinstance(header, m.Cancel)
    assert header.requests == (pending.header.id,)
    assert not pending.done()
    session.receive(error(pending.header.id, "cancelled"), 1.0)
    assert isinstance(outcome(session, pending), Cancelled)
    session.cancel(pending)
    assert sent(session) == []


def test_what_the_broker_had_no_room_for_does_not_wait_again():
    session = greeted()
    pending = hand_in(session, Command.STEP, step_header(), 100.0)
    sent(session)
    session.cancel(pending)
    session.receive(error(pending.header.id, "busy", retry_after_ms=50), 1.0)
    assert outcome(session, pending).applied.tolist() == [Applied.NO]
    assert session.idle


def test_another_broker_is_asked_to_settle_it_and_told_again_that_it_is_cancelled():
    session = greeted()
    pending = hand_in(session, Command.STEP, step_header(), 100.0)
    sent(session)
    session.cancel(pending)
    sent(session)
    session.receive(error(bytes(16), "hello_required"), 1.0)
    (hello,) = sent(session, 1.0)
    session.receive(welcome(hello.id, epoch=2), 1.0)
    again, cancel = sent(session, 1.0)
    assert again.id == pending.header.id
    assert cancel.requests == (pending.header.id,)


def answers(cancelled):
    """A broker that keeps steps waiting until they are cancelled, or that has begun them all."""
    steps = []

    def answer(header):
        match header:
            case m.Step():
                steps.append(header)
                return None
            case m.Cancel():
                (step,) = (step for step in steps if step.id in header.requests)
                return error(step.id, "cancelled") if cancelled else stepped(step)
        return Peer.default(header)

    return answer


def test_a_future_that_is_cancelled_raises_and_its_agents_step_again():
    with Peer(answers(cancelled=True)) as peer, beliefd.connect(peer.endpoint) as client:
        mice = client.population("mice")
        future = mice.submit(np.zeros(8, int), timeout_s=NOW)
        peer.wait_for(m.Step)
        assert future.cancel()
        with pytest.raises(Cancelled) as caught:
            future.result()
        assert len(caught.value.applied) == 8
        assert not future.cancel()
        again = mice.submit(np.zeros(8, int), timeout_s=NOW)
        peer.wait_for(m.Step, 2)
        again.cancel()
        with pytest.raises(Cancelled):
            again.result(NOW)  # waits without driving


def test_a_future_of_what_was_begun_has_its_result_though_it_was_cancelled():
    with Peer(answers(cancelled=False)) as peer, beliefd.connect(peer.endpoint) as client:
        future = client.population("mice").submit(np.zeros(8, int), timeout_s=NOW)
        peer.wait_for(m.Step)
        assert future.cancel()
        assert future.result().tick.tolist() == [1] * 8


def test_what_waits_for_a_credit_is_cancelled_though_nobody_waits_for_it():
    peer = Peer(lambda header: None if isinstance(header, m.Step) and header.tick == 2 else Peer.default(header))
    with peer, beliefd.connect(peer.endpoint) as client:
        mice = client.population("mice")
        mice.step(np.zeros(8, int))  # after this nobody has to be asked where the agents are
        mice.submit(np.zeros(1, int), agents=[0], timeout_s=NOW)
        peer.wait_for(m.Step, 2)
        client._session._credits = 1
        waiting = mice.submit(np.zeros(1, int), agents=[1], timeout_s=NOW)
        waiting.cancel()
        with pytest.raises(Cancelled) as caught:
            waiting.result(NOW)
        assert caught.value.applied.tolist() == [Applied.NO]
        assert peer.count(m.Step) == 2
