"""The bytes of a journal: what is read is what was written, or nothing."""

import typing

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from beliefd.engine.batch import StepInputs
from beliefd.engine.journalentry import (
    NOT_STATE,
    Entry,
    EntryHead,
    SegmentHead,
    Skipped,
    decode_entry,
    encode_entry,
    read_frames,
    segment_start,
)
from beliefd.observations import Observations
from models import tmaze

START = segment_start(SegmentHead(uid="a" * 16, layout="l", fingerprint="f"))


def some_inputs(rng, n, full=True):
    """Inputs in which every field has a value, whatever fields there are, made from their annotations."""
    arguments = {}
    for name, kind in typing.get_type_hints(StepInputs).items():
        optional = type(None) in typing.get_args(kind)
        if optional:
            if not full and rng.random() < 0.5:
                continue
            (kind,) = (k for k in typing.get_args(kind) if k is not type(None))
        if kind is Observations:
            arguments[name] = Observations(
                rng.integers(-2, 300, (n, 3)).astype(np.int32), (None, rng.dirichlet(np.ones(4), n), None)
            )
        elif kind is int:
            arguments[name] = 0
        else:
            assert typing.get_origin(kind) is np.ndarray, f"say in journalentry how {name} is journalled"
            dtype = typing.get_args(typing.get_args(kind)[1])[0]
            shape = (n,) if name in ("rows", "ticks", "reset") else (n, 2)
            high = 2 if name == "reset" else 2**31
            arguments[name] = rng.integers(0, high, shape).astype(dtype)
    return StepInputs(**arguments)


def entry(rng, n=5, full=True, number=1):
    inputs = some_inputs(rng, n, full)
    previous = rng.integers(0, 2**63, (n, 2)).astype(np.uint64)
    return Entry(2, number, inputs, previous, rng.integers(0, 4, (n, 2)).astype(np.int32))


def decoded(data):
    """The entries in a segment, and the bytes that are none."""
    entries, skipped = [], []
    for frame in read_frames(memoryview(data)):
        if isinstance(frame, Skipped):
            skipped.append(frame)
        elif isinstance(frame[0], EntryHead):
            head, payload, start = frame
            entries.append(decode_entry(payload, head, start))
    return entries, skipped


def assert_same(a, b):
    assert (a.epoch, a.batch) == (b.epoch, b.batch)
    arrays = {"previous_ids": (a.previous_ids, b.previous_ids), "actions": (a.actions, b.actions)}
    for name in StepInputs.__struct_fields__:
        left, right = getattr(a.inputs, name), getattr(b.inputs, name)
        if isinstance(left, Observations):
            arrays["indices"] = left.indices, right.indices
            assert len(left.distributions) == len(right.distributions)
            for m, (p, q) in enumerate(zip(left.distributions, right.distributions, strict=True)):
                assert (p is None) == (q is None)
                if p is not None:
                    arrays[f"distribution{m}"] = p, q
        elif isinstance(left, np.ndarray):
            arrays[name] = left, right
        else:
            assert left == right, name
    for name, (left, right) in arrays.items():
        assert left.dtype == right.dtype, name
        assert left.tobytes() == right.tobytes(), name
        assert left.flags.carray, f"kernels do not take {name} like this"


def test_every_field_of_the_inputs_is_journalled_unless_it_decides_nothing():
    """Whoever adds an input to a step and forgets the journal fails here."""
    (found,), _ = decoded(b"".join(encode_entry(entry(np.random.default_rng(0)))))
    for name in StepInputs.__struct_fields__:
        assert name in NOT_STATE or getattr(found.inputs, name) is not None, name
    assert {"want"} == NOT_STATE


@given(seed=st.integers(0, 2**32 - 1), n=st.integers(1, 80))
def test_what_was_written_is_read(seed, n):
    written = entry(np.random.default_rng(seed), n, full=False)
    (read,), skipped = decoded(b"".join(encode_entry(written)))
    assert_same(read, written)
    assert skipped == []


@pytest.mark.parametrize("value", [0.0, -0.0])
def test_zeros_keep_their_sign(value):
    written = entry(np.random.default_rng(0))
    written.inputs.observations.distributions[1][:] = value
    (read,), _ = decoded(b"".join(encode_entry(written)))
    assert_same(read, written)


def test_agents_in_a_row_of_one_request_take_a_byte_per_modality_and_control():
    n, info = 10_000, tmaze().info
    inputs = StepInputs(
        rows=np.arange(500, 500 + n),
        ticks=np.full(n, 2**40),
        request_ids=np.full((n, 2), 2**63, np.uint64),
        observations=Observations(
            np.tile(np.arange(3, dtype=np.int32), (n, 1)) + np.arange(n)[:, None] % 2, (None,) * 3
        ),
    )
    actions = (np.arange(2 * n).reshape(n, 2) % 4).astype(np.int32)
    size = len(b"".join(encode_entry(Entry(1, 1, inputs, inputs.request_ids, actions))))
    per_agent = info.num_modalities + len(info.num_controls)
    assert size < n * per_agent + 600


def test_a_segment_cut_at_every_byte_gives_the_entries_before_the_cut():
    rng = np.random.default_rng(1)
    written = [entry(rng, n, number=n) for n in (1, 4, 2)]
    parts = [START, *(b"".join(encode_entry(e)) for e in written)]
    ends = np.cumsum([len(part) for part in parts])
    data = b"".join(parts)
    for cut in range(len(data) + 1):
        entries, skipped = decoded(data[:cut])
        whole = int(np.searchsorted(ends, cut, side="right"))
        assert len(entries) == max(whole - 1, 0)
        at = int(ends[whole - 1]) if whole else 0
        assert skipped == ([Skipped(at, cut, torn=True)] if cut > at else [])
        for read, wrote in zip(entries, written, strict=False):
            assert_same(read, wrote)


@given(seed=st.integers(0, 2**32 - 1), data=st.data())
def test_altered_bytes_take_their_entry_away_and_no_other(seed, data):
    rng = np.random.default_rng(seed)
    written = [entry(rng, int(rng.integers(1, 6)), number=i) for i in range(4)]
    parts = [b"".join(encode_entry(e)) for e in written]
    segment = bytearray(b"".join(parts))
    ends = np.cumsum([len(part) for part in parts])
    at = data.draw(st.integers(0, len(segment) - 1))
    segment[at] ^= 1 << data.draw(st.integers(0, 7))
    hit = int(np.searchsorted(ends, at, side="right"))
    entries, skipped = decoded(bytes(segment))
    expected = [e for i, e in enumerate(written) if i != hit]
    assert [e.batch for e in entries] == [e.batch for e in expected]
    for read, wrote in zip(entries, expected, strict=True):
        assert_same(read, wrote)
    assert skipped == [Skipped(int(ends[hit]) - len(parts[hit]), int(ends[hit]), torn=hit == 3)]


@given(noise=st.binary(max_size=300))
def test_noise_is_no_entry(noise):
    entries, skipped = decoded(noise)
    assert entries == []
    assert sum(s.stop - s.start for s in skipped) == len(noise)


def test_arrays_are_of_the_types_that_kernels_take():
    """A decoded entry steps as the call did, so nothing may come back narrower than it went in."""
    written = entry(np.random.default_rng(2))
    (read,), _ = decoded(b"".join(encode_entry(written)))
    assert isinstance(read.inputs.rows, np.ndarray)
    kinds: dict[str, NDArray] = {"rows": read.inputs.rows, "ids": read.inputs.request_ids}
    assert {name: array.dtype.str for name, array in kinds.items()} == {"rows": "<i8", "ids": "<u8"}
    assert all(array.flags.writeable and array.flags.c_contiguous for array in kinds.values())
