"""Where everything stands in an agent's record.

A record is a commit word and two slots. The commit word is the last committed tick, and that tick's slot is number
``tick & 1``; the other slot is idle. A step writes the idle slot, and only then the commit word.

==================  ==============  =====================================================================
field               type            content
==================  ==============  =====================================================================
commit word         int64           last committed tick; 0 for an agent that never stepped
slot 0, slot 1      a slot each     at a multiple of 8 bytes
==================  ==============  =====================================================================

==================  ==============  =====================================================================
field of a slot     type            content
==================  ==============  =====================================================================
tick                int64           the tick that this slot holds
request id          uint64[2]       of the request that wrote it; the same in every retry
flags               int32           bit 0: the step was a reset; bit 1: the executed action of a control was given;
                                    bit 2: this or an earlier step was not a first one, so that B may have been learned
vfe                 dtype           variational free energy after inference, nats
observation         int32[M]        index per modality; -1 missing, -2 given as a distribution (not kept)
action              int32[U]        the action selected, per control
beliefs             dtype[sum S]    posterior over hidden states, factor after factor
counts              dtype[...]      what the agent has learned, if it learns: the arrays of `ModelInfo.learned`, each as
                                    `beliefd.engine.own` says
==================  ==============  =====================================================================

Each field is aligned to its item size, slots and records to 8 bytes. A record of zeros is an agent that never stepped:
its prior is D.
"""

from __future__ import annotations

import hashlib
import math
from dataclasses import dataclass

import numpy as np

from beliefd_proto.model_info import ModelInfo

FORMAT_VERSION = 1
FLAG_RESET = 1
FLAG_EXECUTED = 2
FLAG_MOVED = 4
_ALIGNMENT = 8


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
    tick, request_id, flags, vfe, observation, action, beliefs, counts : int
        Offsets in a slot.
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

    @classmethod
    def of(cls, info: ModelInfo) -> RecordLayout:
        """Lay out the records of a model's agents."""
        real_bytes = np.dtype(info.dtype).itemsize
        total_states = sum(info.num_states)
        num_counts = sum(math.prod(shape) for shape in info.learned.values())
        fields = (
            ("tick", 8, 1),
            ("request_id", 8, 2),
            ("flags", 4, 1),
            ("vfe", real_bytes, 1),
            ("observation", 4, info.num_modalities),
            ("action", 4, len(info.num_controls)),
            ("beliefs", real_bytes, total_states),
            ("counts", real_bytes, num_counts),
        )
        offsets: dict[str, int] = {}
        end = 0
        for name, item_bytes, count in fields:
            offsets[name] = _round_up(end, item_bytes)
            end = offsets[name] + item_bytes * count
        slot_bytes = _round_up(end, _ALIGNMENT)
        slot_start = 8
        return cls(
            dtype=info.dtype,
            num_modalities=info.num_modalities,
            num_controls=len(info.num_controls),
            total_states=total_states,
            slot_start=slot_start,
            slot_bytes=slot_bytes,
            record_bytes=slot_start + 2 * slot_bytes,
            **offsets,
        )

    @property
    def hash(self) -> str:
        """16 hexadecimal digits that differ wherever two layouts differ."""
        return hashlib.sha256(f"{FORMAT_VERSION} {self!r}".encode()).hexdigest()[:16]


def _round_up(offset: int, multiple: int) -> int:
    return -(-offset // multiple) * multiple
