"""When the broker asks the system to keep processors awake, and that it takes the request back."""

import os
import struct

import pytest

from beliefd_broker.vigil import Vigil

ANY_US = 2_000_000_000


@pytest.fixture
def device(tmp_path):
    path = tmp_path / "cpu_dma_latency"
    path.touch()
    return path


def asked_us(device):
    """All that was asked for, in microseconds."""
    written = device.read_bytes()
    return list(struct.unpack(f"={len(written) // 4}i", written))


def test_processors_are_kept_awake_from_the_first_message_until_after_the_last(device):
    vigil = Vigil(0.002, device)
    assert not vigil.awake
    assert asked_us(device) == []
    vigil.keep(10.0)
    assert vigil.awake
    vigil.keep(10.0015)
    vigil.look(10.003)
    assert vigil.awake
    assert asked_us(device) == [0]
    vigil.look(10.0036)
    assert not vigil.awake
    assert asked_us(device) == [0, ANY_US]
    vigil.look(11.0)
    vigil.keep(12.0)
    assert asked_us(device) == [0, ANY_US, 0]


def test_to_close_lets_go_of_the_device(device):
    before = os.listdir("/proc/self/fd")
    vigil = Vigil(0.002, device)
    vigil.keep(10.0)
    vigil.close()
    assert os.listdir("/proc/self/fd") == before
    assert not vigil.awake
    vigil.keep(11.0)
    vigil.close()
    assert asked_us(device) == [0]


def test_without_time_to_hold_nothing_is_opened(device):
    vigil = Vigil(0.0, device)
    vigil.keep(10.0)
    assert not vigil.awake
    assert not vigil.refusal
    assert asked_us(device) == []


def test_a_device_that_may_not_be_written_is_told_of_and_done_without(tmp_path):
    vigil = Vigil(0.002, tmp_path / "none")
    vigil.keep(10.0)
    vigil.look(20.0)
    assert not vigil.awake
    assert str(tmp_path / "none") in vigil.refusal
