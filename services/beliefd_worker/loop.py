"""The worker's loop: one connection, one batch at a time.

A worker owns nothing but its lease: what it maps belongs to the data folder, and whatever it was doing when it dies,
another worker does again. It trusts what the broker sends, since the broker has checked it. It tells the broker of all
that it did, and of some of it the client too.
"""

from __future__ import annotations

import gc
import secrets
import time
from typing import Any

from beliefd.engine.jit import fingerprint
from beliefd.letterbox import Post
from beliefd_proto import Command, Message, decode, encode
from beliefd_proto import messages as m
from beliefd_proto.bundle import bundle, unbundled
from beliefd_proto.error_message import to_header
from beliefd_proto.errors import BeliefdError
from beliefd_service.lifecycle import StopSignal
from beliefd_service.logging import Logger
from beliefd_service.process import ProcessIdentity, Usage, usage
from beliefd_service.processor import give_way
from beliefd_service.settings import Settings
from beliefd_worker.execution import Outcome, execute
from beliefd_worker.line import Line
from beliefd_worker.shelf import Shelf

HELLO_MS = 100
_LEAVE_S = 5.0
_GC_OBJECTS = 50_000


class Worker:
    """Registers with the broker, runs what it sends, and leaves when asked."""

    def __init__(self, name: str, settings: Settings, logger: Logger, stop: StopSignal) -> None:
        self._name = name
        self._logger = logger
        self._stop = stop
        self._settings = settings
        self._shelf = Shelf(settings)
        self._identity = ProcessIdentity.own()
        self._incarnation = secrets.token_bytes(16)
        self._epoch = 0
        self._usage_s, self._used = float("-inf"), Usage(0.0, 0, 0)
        self._batches = 0
        self._leave_by_s: float | None = None
        self._left = False
        self._post = Post()
        self._line = Line(settings.worker_socket, self._incarnation, stop.fd)

    def run(self) -> None:
        """Work until asked to stop and told by the broker that nothing more is coming."""
        # Messages make no cycles: what is left to collect is rare, and a pause in the middle of a step is not.
        gc.freeze()
        gc.set_threshold(_GC_OBJECTS)
        give_way()
        self._hello()
        while not self._left or self._line.clogged:  # what it was given after it asked is told too
            if not self._line.wait(HELLO_MS) and self._leave_by_s is None:
                self._hello()
            if self._stop.requested:
                self._leave()
            for frames in self._line.receive():
                works = unbundled(frames)
                if len(works) == 1:
                    self._handle(decode(works[0]))
                else:
                    messages = [decode(work) for work in works]
                    self._line.send(bundle([self._run(w.header, w) for w in messages if isinstance(w.header, m.Work)]))
            if self._leave_by_s is not None and (time.monotonic() > self._leave_by_s or not self._line.stands):
                return  # no broker answers: there is nothing in our hands that it could wait for

    def close(self) -> None:
        self._shelf.close()
        self._post.close()
        self._line.close()

    def _hello(self) -> None:
        """Say who we are and that we are idle; a broker that does not know us welcomes us with its epoch."""
        if self._line.clogged:
            return
        used = self._usage()
        hello = m.WorkerHello(
            worker=self._name,
            pid=self._identity.pid,
            start_time=self._identity.start_time,
            boot_id=self._identity.boot_id,
            incarnation=self._incarnation,
            epoch=self._epoch,
            fingerprint=fingerprint(),
            cpu_s=used.cpu_s,
            rss_bytes=used.rss_bytes,
            worn=self._worn(used),
        )
        self._line.send(encode(Command.WORKER_HELLO, hello))

    def _leave(self) -> None:
        self._leave_by_s = time.monotonic() + _LEAVE_S
        self._logger.info("leaving")
        self._line.send(encode(Command.LEAVING, m.Leaving(worker=self._name)))

    def _handle(self, message: Message) -> None:
        header = message.header
        match header:
            case m.Work():
                self._line.send(self._run(header, message))
            case m.WorkerWelcome():
                # Work of the last broker came over another connection, and is done or was dropped with it.
                if header.epoch != self._epoch:
                    self._epoch = header.epoch
                    self._logger.info("registered", epoch=self._epoch)
                self._hello()
            case m.Forget():
                self._shelf.forget(header.population)
            case m.Retire() if self._leave_by_s is None:
                self._leave()
            case m.Left():
                self._left = True
            case _:
                self._logger.error("unexpected_message", command=message.command.name)

    def _run(self, work: m.Work, message: Message) -> list[Any]:
        """Run one batch and make the message that tells its outcome, whatever happens."""
        try:
            outcome = execute(work, message.arrays, self._shelf)
        except Exception as error:
            log = self._logger.bind(batch=work.batch, population=work.population, request=work.parts[0].id.hex())
            if isinstance(error, BeliefdError):
                log.warning("refused", kind=work.kind.name, code=error.code, reason=str(error))
            else:
                log.exception("batch_failed", kind=work.kind.name)
            outcome = Outcome(error=to_header(error, work.parts[0].id))
        told = work.letterbox is not None and self._tell(work.letterbox, work, outcome)
        self._batches += 1
        used = self._usage()
        result = m.Result(
            epoch=work.epoch,
            batch=work.batch,
            elapsed_ns=outcome.elapsed_ns,
            error=outcome.error,
            info=outcome.info,
            first=outcome.first,
            count=outcome.count,
            spec=outcome.spec,
            telemetry=outcome.telemetry,
            journal_bytes=outcome.journal_bytes,
            told=told,
            cpu_s=used.cpu_s,
            rss_bytes=used.rss_bytes,
            worn=self._worn(used),
        )
        return encode(Command.RESULT, result, outcome.arrays)

    def _tell(self, letterbox: bytes, work: m.Work, outcome: Outcome) -> bool:
        """Tell the client itself of a step in which all went well; whether it was told."""
        if not outcome.count or "status" in outcome.arrays:
            return False
        piece = work.parts[0]
        start = work.start + (piece.count - outcome.count if work.from_end else 0)
        part = m.SteppedPart(id=piece.id, start=start, count=outcome.count)
        return self._post.put(letterbox, encode(Command.STEPPED_PART, part, outcome.arrays))

    def _worn(self, used: Usage) -> bool:
        """Whether it is time for another worker to take our place. The broker says when: never two at a time."""
        limit = self._settings.worker_batches
        return 0 < limit <= self._batches or used.private_bytes > self._settings.worker_memory_bytes

    def _usage(self) -> Usage:
        """CPU time and memory of this process, as they were at most 100 ms ago."""
        now_s = time.monotonic()
        if now_s - self._usage_s > HELLO_MS / 1000:
            self._usage_s, self._used = now_s, usage()
        return self._used
