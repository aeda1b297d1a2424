"""The thread that talks to the broker: the one owner of the gateway's client, which asks for STATUS again and again."""

from __future__ import annotations

import queue
import threading
from collections.abc import Callable
from concurrent.futures import Future

from beliefd import Client, Keys
from beliefd_proto.errors import BeliefdError, InternalError, Unavailable
from beliefd_proto.messages import StatusReport
from beliefd_service.logging import Logger

POLL_S = 0.5
TIMEOUT_S = 1.0
_MAX_WAITING = 256


class Bridge(threading.Thread):
    """Calls `reported` or `failed` after each question. Other threads ask through a queue, by `ask`."""

    def __init__(
        self,
        endpoint: str,
        reported: Callable[[StatusReport], None],
        failed: Callable[[BeliefdError], None],
        logger: Logger,
        keys: Keys | None = None,
    ) -> None:
        super().__init__(name="gateway-broker")
        self._endpoint = endpoint
        self._reported = reported
        self._failed = failed
        self._logger = logger
        # None asks the thread to end; a future is done once a question that was put after it has been answered.
        self._asked: queue.Queue[Future[None] | None] = queue.Queue(_MAX_WAITING)
        self._client = Client(endpoint, keys)
        self._stopping = threading.Event()

    def ask(self) -> Future[None]:
        """Have the broker asked now, not at the next turn. The future is done after `reported` or `failed`."""
        asked: Future[None] = Future()
        try:
            self._asked.put_nowait(asked)
        except queue.Full:
            asked.set_result(None)
        return asked

    def stop(self) -> None:
        """Have the thread end soon, also if it waits for an answer."""
        self._stopping.set()
        self._client.close()
        try:
            self._asked.put_nowait(None)
        except queue.Full:
            return  # then it is not waiting for a question

    def run(self) -> None:
        waiting: list[Future[None]] = []
        while not self._stopping.is_set():
            self._ask_broker()
            _answer(waiting)
            waiting = self._next_questions(POLL_S)
        _answer([*waiting, *self._next_questions(0.0)])

    def _ask_broker(self) -> None:
        try:
            report = self._client.status(timeout_s=TIMEOUT_S)
        except BeliefdError as error:
            if not self._stopping.is_set():
                self._failed(error)
                if not isinstance(error, Unavailable):
                    self._logger.warning("status_refused", code=error.code, reason=str(error))
        except Exception:
            # Whatever it is, the gateway goes on without the broker rather than without this thread.
            self._logger.exception("status_failed")
            self._failed(InternalError("the broker's answer could not be used; the gateway's log has the whole story"))
        else:
            self._reported(report)

    def _next_questions(self, wait_s: float) -> list[Future[None]]:
        """Wait for the next turn, or for somebody who asks; all who ask by then share one question."""
        asked: list[Future[None] | None] = []
        try:
            asked.append(self._asked.get(timeout=wait_s))
            while True:
                asked.append(self._asked.get_nowait())
        except queue.Empty:
            return [future for future in asked if future is not None]


def _answer(waiting: list[Future[None]]) -> None:
    for asked in waiting:
        # Who asked may have given up, and a cancelled future takes no result.
        if asked.set_running_or_notify_cancel():
            asked.set_result(None)
