"""Where everything stands in an agent's record.

A record is a commit word, two slots, and what the agent learned. The commit word is the last committed tick, and that
tick's slot is number ``tick & 1``; the other slot is idle. A step writes the idle slot, and only then the commit word.

==================  ==============  =====================================================================
field               type            content
==================  ==============  =====================================================================
commit word         int64           last committed tick; 0 for an agent that never stepped
slot 0, slot 1      a slot each     at a multiple of 8 bytes
copy 0, 1, 2        a copy each     of what the agent has learned, if it learns, at a multiple of 8 bytes
==================  ==============  =====================================================================

==================  ==============  =====================================================================
field of a slot     type            content
==================  ==============  =====================================================================
tick                int64           the tick that this slot holds
request id          uint64[2]       of the request that wrote it; the same in every retry
flags               int32           bit 0: the step was a reset; bit 1: the executed action of a control was given;
                                    bit 2: this or an earlier step was not a first one, so that B may have been
                                    learned; bit 3: the same of the step before
vfe                 dtype           variational free energy after inference, nats
observation         int32[M]        index per modality; -1 missing, -2 given as a distribution (not kept)
action              int32[U]        the action selected, per control
beliefs             dtype[sum S]    posterior over hidden states, factor after factor
==================  ==============  =====================================================================

==================  ==============  =====================================================================
field of a copy     type            content
==================  ==============  =====================================================================
tick                int64           the tick whose counts these are; see `beliefd.engine.copies`
changed             int32[M + F]    what the step changed: the observation of an A, the action of a B; -1 nothing,
                                    -2 everything
counts              dtype[...]      the arrays of `ModelInfo.learned`, each as `beliefd.engine.own` says
==================  ==============  =====================================================================

The counts after tick t are copy t mod 3. A step judges policies by the counts before it, so those of the last two ticks
stay whole while a step writes the third copy: whoever reads the agent finds them, even where that step died halfway.

Agents that infer or learn from a window of steps have their last steps in a ring at the end of the record. It has one
entry more than the window has steps, and tick t writes entry ``t mod (window + 1)``: the one that the committed state
does not need. So a step is written once and never copied, and death before the commit word leaves the window as it was.

==================  ==============  =====================================================================
field of an entry   type            content
==================  ==============  =====================================================================
span                int32           steps in the window of this tick, itself among them; 1 at a first step
observation         int32[M]        as in the slot
moves               int32[F]        the action that led to this step, per factor on the joint axis of its controls
beliefs             dtype[sum S]    posterior over hidden states: of this step, where smoothing reads it later; else of
                                    the window's first step, from which the prior of the next one comes
distribution        dtype[sum O]    observations given as distributions, modality after modality; else of no meaning
==================  ==============  =====================================================================

Each field is aligned to its item size; slots, copies, entries and records to 8 bytes. A record of zeros is an agent
that never stepped: its prior is D.
"""

from __future__ import annotations

import hashlib
import math
from dataclasses import dataclass, fields

import numpy as np

from beliefd_proto.model_info import ModelInfo

FORMAT_VERSION = 1
FLAG_RESET = 1
FLAG_EXECUTED = 2
FLAG_MOVED = 4
FLAG_MOVED_BEFORE = 8
COUNT_COPIES = 3
_ALIGNMENT = 8


@dataclass(frozen=True)
class WindowLayout:
    """The ring of an agent's last steps. Offsets of fields count from the start of an entry.

    Attributes
    ----------
    steps : int
        In the longest window; the ring has an entry more.
    start : int
        Offset of entry 0 in the record.
    entry_bytes : int
        A multiple of 8.
    span, observation, moves, beliefs, distribution : int
    """

    steps: int
    start: int
    entry_bytes: int
    span: int
    observation: int
    moves: int
    beliefs: int
    distribution: int

    @classmethod
    def of(cls, info: ModelInfo, start: int) -> WindowLayout | None:
        """Lay out the ring that begins at `start`; None for agents that keep no steps."""
        smooths = info.inference_algo in ("exact", "ovf") and any(
            name.startswith(("pA", "pB")) for name in info.learned
        )
        if not smooths and info.inference_algo not in ("mmp", "vmp"):
            return None
        real_bytes = np.dtype(info.dtype).itemsize
        offsets, entry_bytes = _placed(
            ("span", 4, 1),
            ("observation", 4, info.num_modalities),
            ("moves", 4, info.num_factors),
            ("beliefs", real_bytes, sum(info.num_states)),
            ("distribution", real_bytes, sum(info.num_obs)),
        )
        return cls(steps=info.inference_horizon, start=start, entry_bytes=entry_bytes, **offsets)

    @property
    def end(self) -> int:
        return self.start + (self.steps + 1) * self.entry_bytes


@dataclass(frozen=True)
class RecordLayout:
    """Byte offsets of a record's fields. Offsets of slot fields count from the start of the slot.

    Attributes
    ----------
    dtype : str
        ``"float32"`` or ``"float64"``.
    record_bytes, slot_bytes : int
        Size of a record and of a slot, multiples of 8.
    slot_start : int
        Offset of slot 0 in the record.
    tick, request_id, flags, vfe, observation, action, beliefs : int
        Offsets in a slot.
    counts, counts_bytes, counts_start : int
        Offset of the first copy in the record, the size of a copy, and the offset of the counts in it.
    window : WindowLayout or None
    rate : int or None
        Offset in a slot, of agents that update their precision.
    """

    dtype: str
    num_modalities: int
    num_controls: int
    total_states: int
    slot_start: int
    slot_bytes: int
    record_bytes: int
    tick: int
    request_id: int
    flags: int
    vfe: int
    observation: int
    action: int
    beliefs: int
    counts: int
    counts_bytes: int
    counts_start: int
    window: WindowLayout | None = None
    rate: int | None = None

    @classmethod
    def of(cls, info: ModelInfo) -> RecordLayout:
        """Lay out the records of a model's agents."""
        real_bytes = np.dtype(info.dtype).itemsize
        total_states = sum(info.num_states)
        num_counts = sum(math.prod(shape) for shape in info.learned.values())
        offsets, slot_bytes = _placed(
            ("tick", 8, 1),
            ("request_id", 8, 2),
            ("flags", 4, 1),
            ("vfe", real_bytes, 1),
            ("observation", 4, info.num_modalities),
            ("action", 4, len(info.num_controls)),
            ("beliefs", real_bytes, total_states),
            *([("rate", real_bytes, 1)] if info.updates_gamma else []),
        )
        slot_start = 8
        counts = slot_start + 2 * slot_bytes
        copy, counts_bytes = _placed(
            ("tick", 8, 1), ("changed", 4, info.num_modalities + info.num_factors), ("counts", real_bytes, num_counts)
        )
        counts_bytes *= num_counts > 0
        end = counts + COUNT_COPIES * counts_bytes
        window = WindowLayout.of(info, end)
        return cls(
            dtype=info.dtype,
            num_modalities=info.num_modalities,
            num_controls=len(info.num_controls),
            total_states=total_states,
            slot_start=slot_start,
            slot_bytes=slot_bytes,
            record_bytes=end if window is None else window.end,
            window=window,
            counts=counts,
            counts_bytes=counts_bytes,
            counts_start=copy["counts"],
            **offsets,
        )

    @property
    def hash(self) -> str:
        """16 hexadecimal digits that differ wherever two layouts differ."""
        # What a model does not use is left out, so that new fields leave the files of others as they are.
        unused = () if self.counts_bytes else ("counts", "counts_bytes", "counts_start")
        used = {field.name: getattr(self, field.name) for field in fields(self) if field.name not in unused}
        named = ", ".join(f"{name}={value!r}" for name, value in used.items() if value is not None)
        return hashlib.sha256(f"{FORMAT_VERSION} RecordLayout({named})".encode()).hexdigest()[:16]


def _placed(*items: tuple[str, int, int]) -> tuple[dict[str, int], int]:
    """Place fields, each a name, the bytes of an item and how many items, one after the other and aligned.

    Returns
    -------
    dict of str to int
        The offset of each.
    int
        Where they end, aligned.
    """
    offsets: dict[str, int] = {}
    end = 0
    for name, item_bytes, count in items:
        offsets[name] = _round_up(end, item_bytes)
        end = offsets[name] + item_bytes * count
    return offsets, _round_up(end, _ALIGNMENT)


def _round_up(offset: int, multiple: int) -> int:
    return -(-offset // multiple) * multiple
