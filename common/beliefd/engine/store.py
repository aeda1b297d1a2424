"""The records of one population: in a memory-mapped file, or in memory.

The file ``agents.bin`` is a header of 4096 bytes and then the records. It only ever grows: nothing truncates or moves
it while a process may have it mapped. Its bytes are always allocated on disk before they are mapped, because touching
a hole of a sparse file on a full disk kills the process (SIGBUS).
"""

from __future__ import annotations

import contextlib
import errno
import mmap
import os
import zlib
from collections.abc import Iterator
from pathlib import Path
from types import TracebackType
from typing import Any, Protocol, Self

import numpy as np
from numpy.typing import NDArray

from beliefd.engine.layout import FORMAT_VERSION, RecordLayout
from beliefd_proto.errors import CorruptStore, DiskFull, FolderNotUsable, StorageError

HEADER_BYTES = 4096
_MAGIC = b"beliefd agents\n"
_BLOCK_BYTES = 2**20


class Layout(Protocol):
    """What a store has to know of its records, such as a `beliefd.engine.layout.RecordLayout`."""

    @property
    def dtype(self) -> str: ...

    @property
    def record_bytes(self) -> int: ...

    @property
    def hash(self) -> str: ...


class Store:
    """The mapped records of a population.

    Attributes
    ----------
    layout : Layout
    rows : int
        Records that are mapped. The file may hold more, where another process grew it: see `ensure`.
    bytes, int32, int64, real : ndarray, shape (rows, record_bytes / itemsize)
        The same records seen as uint8, int32, int64 and the model's dtype.
    """

    def __init__(self, layout: Layout, buffer: Any, path: Path | None) -> None:
        self.layout = layout
        self.path = path
        self._map(buffer)

    @classmethod
    def in_memory(cls, layout: Layout, rows: int) -> Self:
        """Hold `rows` never-stepped agents in this process alone."""
        # An anonymous mapping gives zeroed pages when they are touched, and is aligned.
        return cls(layout, _anonymous(layout, rows), None)

    @classmethod
    def create(cls, path: Path, layout: Layout, rows: int) -> Self:
        """Make the file of a new population of never-stepped agents.

        Raises
        ------
        DiskFull, FolderNotUsable
            Nothing stands at `path` then.
        """
        unfinished = path.with_name(path.name + ".new")
        with storage_errors(path):
            try:
                with open(unfinished, "w+b", buffering=0) as file:
                    os.posix_fallocate(file.fileno(), 0, HEADER_BYTES + rows * layout.record_bytes)
                    os.pwrite(file.fileno(), _header(layout), 0)
                    os.fsync(file.fileno())
                os.rename(unfinished, path)
            except BaseException:
                unfinished.unlink(missing_ok=True)
                raise
            sync_folder(path.parent)
        return cls.open(path, layout)

    @classmethod
    def open(cls, path: Path, layout: Layout, *, writable: bool = True) -> Self:
        """Map an existing file; what is not writable may stand in a folder that is not.

        Raises
        ------
        CorruptStore
            The file is missing, is no store, or belongs to another layout.
        FolderNotUsable
        """
        return cls(layout, _mapped(path, layout, writable), path)

    def ensure(self, rows: int) -> None:
        """Map at least `rows` records: what another process may have added by `grow`.

        Raises
        ------
        CorruptStore
            The file does not hold that many.
        """
        if rows <= self.rows:
            return
        if self.path is not None:
            self._map(_mapped(self.path, self.layout))
        if rows > self.rows:
            raise CorruptStore(
                f"{self.path or 'memory'} holds fewer agents than the population counts",
                field=self.path.name if self.path is not None else "memory",
                value=self.rows,
                allowed=f"at least {rows}",
            )

    def grow(self, rows: int) -> None:
        """Extend to at least `rows` records; the new agents never stepped. Views taken before see the old rows.

        Raises
        ------
        DiskFull, FolderNotUsable
            The old rows are as they were.
        """
        if rows <= self.rows:
            return
        if self.path is None:
            buffer = _anonymous(self.layout, rows)
            np.frombuffer(buffer, np.uint8)[: self.bytes.size] = self.bytes.reshape(-1)
            self._map(buffer)
            return
        with storage_errors(self.path), open(self.path, "r+b", buffering=0) as file:
            os.posix_fallocate(file.fileno(), 0, HEADER_BYTES + rows * self.layout.record_bytes)
            os.fsync(file.fileno())
        self.ensure(rows)

    @property
    def _slots(self) -> RecordLayout:
        assert isinstance(self.layout, RecordLayout)  # what has no slots is never stepped
        return self.layout

    def request_ids(self, rows: NDArray[np.int64]) -> NDArray[np.uint64]:
        """The request that each agent was last stepped by, (n, 2); zeros for one that never stepped."""
        ticks = self.int64[rows, 0]
        at = (self._slots.slot_start + (ticks & 1) * self._slots.slot_bytes + self._slots.request_id) // 8
        ids = np.stack([self.int64[rows, at], self.int64[rows, at + 1]], axis=1)
        ids[ticks == 0] = 0
        return ids.view(np.uint64)

    def step_back(self, rows: NDArray[np.int64]) -> None:
        """Undo the last step of agents, where the state before it still stands in their other slot."""
        before = self.int64[rows, 0] - 1
        at = (self._slots.slot_start + (before & 1) * self._slots.slot_bytes + self._slots.tick) // 8
        there = (before == 0) | ((before > 0) & (self.int64[rows, at] == before))
        self.int64[rows[there], 0] -= 1

    def set_actions(self, rows: NDArray[np.int64], ticks: NDArray[np.int64], actions: NDArray[np.int32]) -> None:
        """Overwrite the actions in the slots of these ticks."""
        at = (self._slots.slot_start + (ticks & 1) * self._slots.slot_bytes + self._slots.action) // 4
        for control in range(actions.shape[1]):
            self.int32[rows, at + control] = actions[:, control]

    def copy_to(self, path: Path, rows: int) -> int:
        """Write the first `rows` records to a file that `open` opens, synced; returns the CRC-32 of the records.

        Raises
        ------
        DiskFull, FolderNotUsable
        """
        checksum = 0
        with storage_errors(path), open(path, "wb", buffering=0) as file:
            file.write(_header(self.layout))
            for block in self._blocks(rows):
                write_all(file.fileno(), block.data)
                checksum = zlib.crc32(block.data, checksum)
            os.fsync(file.fileno())
        return checksum

    def copy_from(self, other: Store) -> int:
        """Take over all records of another store, which has no more of them; returns their CRC-32."""
        checksum = 0
        at = 0
        for block in other._blocks(other.rows):
            self.bytes[at : at + len(block)] = block
            at += len(block)
            checksum = zlib.crc32(block.data, checksum)
        return checksum

    def sync(self) -> None:
        """Have on disk what was written through any mapping of the file."""
        if self.path is not None:
            with storage_errors(self.path), open(self.path, "rb") as file:
                os.fsync(file.fileno())

    def _blocks(self, rows: int) -> Iterator[NDArray[np.uint8]]:
        """The records in parts that a cache holds."""
        step = max(1, _BLOCK_BYTES // self.layout.record_bytes)
        for start in range(0, rows, step):
            yield self.bytes[start : min(start + step, rows)]

    def close(self) -> None:
        """Let go of the mapping; it ends when the last view of it is gone."""
        self._map(_anonymous(self.layout, 0))

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def _map(self, buffer: Any) -> None:
        offset = 0 if self.path is None or len(buffer) < HEADER_BYTES else HEADER_BYTES
        self.rows = (len(buffer) - offset) // self.layout.record_bytes

        def view(dtype: str) -> NDArray[Any]:
            columns = self.layout.record_bytes // np.dtype(dtype).itemsize
            return np.frombuffer(buffer, dtype, count=self.rows * columns, offset=offset).reshape(self.rows, columns)

        self.bytes: NDArray[np.uint8] = view("uint8")
        self.int32: NDArray[np.int32] = view("int32")
        self.int64: NDArray[np.int64] = view("int64")
        self.real: NDArray[np.floating] = view(self.layout.dtype)


def write_all(fd: int, data: Any) -> None:
    """Write all bytes of a buffer, whatever part of them a call takes."""
    view = memoryview(data).cast("B")
    while view:
        view = view[os.write(fd, view) :]


def sync_folder(folder: Path) -> None:
    """Make renames and new names in a folder survive a power loss."""
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def storage_error(error: OSError, path: Path) -> StorageError:
    """Translate an error of the operating system into one that says what to do."""
    if error.errno in (errno.ENOSPC, errno.EDQUOT, errno.EFBIG):
        return DiskFull("no space left to write it; free some and try again", field=str(path))
    return FolderNotUsable(
        f"cannot be used ({error.strerror}); check its owner, its rights and that it is mounted", field=str(path)
    )


@contextlib.contextmanager
def storage_errors(path: Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise storage_error(error, path) from error


def _anonymous(layout: Layout, rows: int) -> mmap.mmap:
    # A mapping has at least one byte; the remainder is no record.
    mapping = mmap.mmap(-1, max(1, rows * layout.record_bytes), flags=mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS)
    with contextlib.suppress(OSError):  # a system may have no large pages; with them fewer have to be looked up
        mapping.madvise(mmap.MADV_HUGEPAGE)
    return mapping


def _header(layout: Layout) -> bytes:
    text = f"format {FORMAT_VERSION}\nrecord_bytes {layout.record_bytes}\nlayout {layout.hash}\n"
    return (_MAGIC + text.encode()).ljust(HEADER_BYTES, b"\0")


def _mapped(path: Path, layout: Layout, writable: bool = True) -> mmap.mmap:
    try:
        with open(path, "r+b" if writable else "rb", buffering=0) as file:
            size = os.fstat(file.fileno()).st_size
            if size < HEADER_BYTES or os.pread(file.fileno(), HEADER_BYTES, 0) != _header(layout):
                raise CorruptStore(
                    f"{path} is not the store of this model and format; restore the folder from a copy, or remove it",
                    field=path.name,
                    value=size,
                    allowed=f"a header of {HEADER_BYTES} bytes for layout {layout.hash}",
                )
            return mmap.mmap(file.fileno(), size, access=mmap.ACCESS_WRITE if writable else mmap.ACCESS_READ)
    except FileNotFoundError as error:
        raise CorruptStore(f"{path} is missing; restore the folder from a copy, or remove it") from error
    except OSError as error:
        raise storage_error(error, path) from error
