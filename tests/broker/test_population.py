"""What the broker learns of a population from its batches."""

import msgspec
import pytest
from broker_world import INFO, population

from beliefd_broker.population import TILE_AGENTS, cost_key, guess_ns
from beliefd_proto import Command, Want
from beliefd_proto.messages import Telemetry


def test_batches_add_up_and_what_was_not_sampled_is_not_told():
    mice = population()
    mice.count_steps(10, Telemetry(agents=10, vfe_sum=20.0, action_counts=(4, 6)))
    mice.count_steps(100, None)
    mice.count_steps(40, Telemetry(agents=30, vfe_sum=20.0, action_counts=(0, 0, 30)))
    told = mice.take_telemetry(5.0, 1, 0.5)
    assert (told.agent_steps, told.batches, told.vfe_mean, told.action_counts) == (150, 3, 1.0, (4, 6, 30))
    assert told.entropy_mean is None
    assert mice.take_telemetry(6.0, 1, 0.5) is None
    mice.count_steps(1, None)
    assert mice.take_telemetry(6.5, 1, 0.5).vfe_mean == 1.0  # as it was sampled last
    mice.count_steps(10, Telemetry(agents=10, entropy_sum=3.0, entropy_agents=2))
    assert mice.take_telemetry(7.0, 1, 0.5).entropy_mean == 1.5


def test_small_batches_do_not_tell_what_an_agent_takes():
    """They measure the cost of a call: taken for that of an agent it would never be corrected."""
    mice = population()
    first_guess_ns = TILE_AGENTS * guess_ns(INFO)
    mice.record(1, 1, 300_000_000, now_s=0.0)
    assert mice.predicted_ns(1, 1) == first_guess_ns
    assert mice.batch_agents(1, 2e6) == TILE_AGENTS
    mice.record(1, 1000, 1_000_000, now_s=0.0)
    assert mice.predicted_ns(1, 10) == pytest.approx(64_000)
    assert mice.predicted_ns(1, 65) == pytest.approx(128_000)
    assert mice.batch_agents(1, 2e6) == 2000
    assert mice.predicted_ns(2, 1) == first_guess_ns


def test_few_agents_are_known_by_their_like_after_a_larger_batch_was_held_up():
    mice = population()
    mice.record(1, TILE_AGENTS, 10_000_000, now_s=0.0)
    for _ in range(50):
        mice.record(1, 1, 60_000, now_s=0.0)
    assert mice.predicted_ns(1, 1) < 100_000


def test_a_large_batch_outweighs_small_and_slow_first_ones_and_later_ones_are_averaged():
    mice = population()
    mice.record(1, 100, 1_000_000, now_s=0.0)
    mice.record(1, 9_900, 9_900_000, now_s=0.0)
    assert mice.batch_agents(1, 1e6) == pytest.approx(1000, rel=0.1)
    mice.record(1, 100, 1_000_000, now_s=0.0)
    assert mice.predicted_ns(1, 64) == pytest.approx(64 * (1090 + 0.2 * (10_000 - 1090)))


def test_a_large_model_is_known_to_be_slow_before_its_first_step():
    """400 states, a million policies: minutes. Taken for quick it would count as hung, and its workers be killed."""
    large = msgspec.structs.replace(INFO, num_states=(400,), num_obs=(400,), policy_len=6, num_policies=10**6)
    assert guess_ns(large) > 60e9
    assert guess_ns(INFO) < 100_000


def test_no_two_ways_to_ask_have_one_pace():
    wants = range(2 * max(Want))
    keys = {cost_key(command, want) for command in (Command.STEP, Command.READ) for want in wants}
    assert len(keys) == 2 * len(wants)
