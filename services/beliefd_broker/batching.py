"""A batch as the message to a worker, and a worker's result as the shares of the requests in it."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import msgspec
import numpy as np
from numpy.typing import DTypeLike, NDArray

from beliefd_broker.request import Chunk, Job, Piece
from beliefd_broker.worker import Batch
from beliefd_proto import Arrays, Command, encode
from beliefd_proto.messages import Part, Work

MOST_PARTS = 4
"""Of a step in so many pieces of one size, or fewer, workers tell the client themselves."""


def job_message(job: Job, epoch: int, number: int) -> list[Any]:
    """The frames of a job: the client's own header and arrays, passed on."""
    work = Work(
        epoch=epoch,
        batch=number,
        kind=job.command,
        population=job.population.info.uid if job.population is not None else "",
        parts=(Part(job.id, 0),),
        request=msgspec.msgpack.encode(msgspec.structs.replace(job.header, arrays=())),
    )
    return encode(Command.WORK, work, job.arrays)


def pieces_message(batch: Batch, epoch: int, alone: bool) -> list[Any]:
    """The frames of a batch of pieces that ask alike, the only one of its load where `alone`.

    One piece travels as slices of the frames it came in; several are put together.
    """
    pieces, shared = batch.pieces, batch.shared
    piece = pieces[0]
    chunk = piece.chunk
    info = chunk.population.info
    # Not where others wait for the same message of the worker. Of a step that is cut small each part would wake the
    # client, on a processor that a worker needs.
    is_much = alone and len(pieces) == 1 and MOST_PARTS * piece.count >= chunk.count and chunk.command is Command.STEP
    arrays: Arrays = {}
    first, tick = None, chunk.tick
    if len(pieces) == 1 and chunk.first is not None:
        first = chunk.first + piece.start
    else:
        arrays["agents"] = _put_together(pieces, np.uint32, Chunk.numbers)
    if chunk.command is Command.STEP and (tick is None or (len(pieces) > 1 and not _at_one_tick(pieces))):
        tick = None
        arrays["ticks"] = _put_together(pieces, np.int64, Chunk.ticks)
    for name, array in chunk.per_agent.items():
        if len(pieces) == 1:
            arrays[name] = array[piece.start : piece.start + piece.count]
        else:
            arrays[name] = np.concatenate([p.chunk.per_agent[name][p.start : p.start + p.count] for p in pieces])
    work = Work(
        epoch=epoch,
        batch=batch.number,
        kind=chunk.command,
        population=info.uid,
        rows=info.rows,
        parts=tuple([part for piece in pieces for part in piece.chunk.parts(piece.start, piece.count)]),
        first=first,
        tick=tick,
        want=chunk.header.want,
        generation=chunk.population.generation,
        tally=None if shared is None else shared.tally,
        from_end=batch.from_end,
        letterbox=chunk.letterbox if is_much else None,
        start=piece.start if is_much else 0,
    )
    return encode(Command.WORK, work, arrays)


def shares(pieces: list[Piece], arrays: Arrays) -> Sequence[tuple[Piece, Arrays]]:
    """Cut the arrays of a result into what belongs to each piece."""
    if len(pieces) == 1:
        return ((pieces[0], dict(arrays)),)  # a copy: of a share its piece takes out what it keeps elsewhere
    cut, at = [], 0
    for piece in pieces:
        cut.append((piece, {name: array[at : at + piece.count] for name, array in arrays.items()}))
        at += piece.count
    return cut


def _at_one_tick(pieces: list[Piece]) -> bool:
    tick = pieces[0].chunk.tick
    return all(piece.chunk.tick == tick for piece in pieces)


def _put_together(
    pieces: list[Piece], dtype: DTypeLike, part: Callable[[Chunk, int, int], int | NDArray[Any]]
) -> NDArray[Any]:
    whole = np.empty(sum([piece.count for piece in pieces]), dtype)
    at = 0
    for piece in pieces:
        whole[at : at + piece.count] = part(piece.chunk, piece.start, piece.count)
        at += piece.count
    return whole
