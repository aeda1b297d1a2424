"""When the broker asks the system to keep processors awake, and that it takes the request back."""

import os
import struct
from pathlib import Path

import pytest

from beliefd_broker.vigil import Vigil

ANY_US = 2_000_000_000


def no_refusal(why):
    raise AssertionError(why)


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
    vigil = Vigil(0.002, no_refusal, device)
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
    vigil = Vigil(0.002, no_refusal, device)
    vigil.keep(10.0)
    vigil.close()
    assert os.listdir("/proc/self/fd") == before
    assert not vigil.awake
    vigil.keep(11.0)
    vigil.close()
    assert asked_us(device) == [0]


def test_without_time_to_hold_nothing_is_opened(device):
    vigil = Vigil(0.0, no_refusal, device)
    vigil.keep(10.0)
    assert not vigil.awake
    assert asked_us(device) == []


def test_a_device_that_may_not_be_opened_is_told_of_and_done_without(tmp_path):
    told = []
    vigil = Vigil(0.002, told.append, tmp_path / "none")
    vigil.keep(10.0)
    vigil.look(20.0)
    assert not vigil.awake
    assert len(told) == 1
    assert str(tmp_path / "none") in told[0]


def test_a_device_that_takes_nothing_is_told_of_once_and_let_go():
    before = os.listdir("/proc/self/fd")
    told = []
    vigil = Vigil(0.002, told.append, Path("/dev/full"))
    for now_s in (10.0, 11.0):
        vigil.keep(now_s)
        assert not vigil.awake
        vigil.look(now_s + 0.5)
    assert len(told) == 1
    assert os.listdir("/proc/self/fd") == before
