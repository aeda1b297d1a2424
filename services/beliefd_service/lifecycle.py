"""How a process of the stack starts, learns that it shall end, and ends."""

from __future__ import annotations

import os
import resource
import signal
import sys
from collections.abc import Callable
from types import FrameType

from beliefd_proto.errors import BeliefdError, FolderNotUsable
from beliefd_service.logging import Logger, configure
from beliefd_service.settings import Settings

EXIT_CANNOT_START = 78  # EX_CONFIG of sysexits.h
EXIT_FAILED = 70  # EX_SOFTWARE


class StopSignal:
    """SIGTERM and SIGINT as a file descriptor that becomes readable, for a poll loop."""

    def __init__(self) -> None:
        self.fd, self._write_fd = os.pipe2(os.O_NONBLOCK | os.O_CLOEXEC)
        self._written = False
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, self._arrived)

    def _arrived(self, number: int, frame: FrameType | None) -> None:
        self._written = True
        os.write(self._write_fd, b"\0")

    @property
    def requested(self) -> bool:
        if not self._written:  # asked at every turn of a loop: to read would cost a system call and an exception
            return False
        self._written = False
        try:
            return bool(os.read(self.fd, 16))
        except BlockingIOError:
            return False


def run(process: str, main: Callable[[Settings, Logger], None], **context: str) -> int:
    """Run `main` as a process of the stack and return its exit code.

    0 after an orderly end; 78 with one clear line where it cannot start or go on for a cause that the error tree knows;
    70 with the whole story in the log for any other failure. `context` goes into every line of the log.
    """
    os.umask(0o077)
    # The core of a worker is as large as the populations that it maps. The hard limit stays for who wants one.
    resource.setrlimit(resource.RLIMIT_CORE, (0, resource.getrlimit(resource.RLIMIT_CORE)[1]))
    try:
        settings = Settings.from_environment()
    except BeliefdError as error:
        print(f"{process}: {error.code}: {error}", file=sys.stderr)
        return EXIT_CANNOT_START
    return guarded(main, settings, configure(process, settings.log_level).bind(**context))


def guarded(main: Callable[[Settings, Logger], None], settings: Settings, logger: Logger) -> int:
    """The exit code of a process that is `main`, see `run`."""
    try:
        main(settings, logger)
    except BeliefdError as error:
        logger.error("cannot_run", code=error.code, reason=str(error))
        return EXIT_CANNOT_START
    except Exception:
        logger.exception("failed")
        return EXIT_FAILED
    logger.info("ended")
    return 0


def raise_descriptor_limit() -> None:
    """Take as many file descriptors as the system gives: every connection is one, and the usual 1,024 are few."""
    hard = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))


def make_folders(settings: Settings) -> None:
    """Make the folders of a stack where they are missing.

    Raises
    ------
    FolderNotUsable
    """
    for folder in (settings.data, settings.run, settings.leases, settings.models, settings.populations):
        try:
            folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        except OSError as error:
            raise FolderNotUsable(
                f"cannot make this folder: {error.strerror}; mend it, or choose another with BELIEFD_DATA",
                field="BELIEFD_DATA",
                value=str(folder),
            ) from None
        if not os.access(folder, os.W_OK | os.X_OK):
            read_only = os.statvfs(folder).f_flag & os.ST_RDONLY
            why = "it is on a file system that is mounted read-only" if read_only else "mend its owner or mode"
            raise FolderNotUsable(
                f"cannot write to this folder: {why}; or choose another with BELIEFD_DATA",
                field="BELIEFD_DATA",
                value=str(folder),
            )
