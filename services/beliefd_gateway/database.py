"""The connections to the database, and its migrations.

SQLite through aiosqlite unless ``BELIEFD_DATABASE`` names another database. All that is particular to SQLite is in
`_prepare_sqlite` and `_sqlite_file`. There is one writing connection: with SQLite more of them would only wait for each
other's lock. In WAL mode readers go on while it writes.
"""

from __future__ import annotations

import os
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

from alembic import command
from alembic.config import Config
from alembic.runtime.migration import MigrationContext
from alembic.script import ScriptDirectory
from sqlalchemy import URL, Connection, event, make_url
from sqlalchemy.exc import ArgumentError, SQLAlchemyError
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine, create_async_engine
from sqlalchemy.pool import AsyncAdaptedQueuePool

from beliefd_proto.errors import FolderNotUsable, InvalidSetting, StartupError

MIGRATIONS = Path(__file__).with_name("migrations")
_READERS = 4
_BUSY_S = 1.0

DatabaseError = (SQLAlchemyError, OSError)
"""What trouble with the database looks like: full disk, lock, lost connection, damaged file."""


class Database:
    """The database behind a URL. Usable after `migrate`; `close` and `migrate` again mend a lost connection."""

    def __init__(self, url: str) -> None:
        """Take the URL; nothing is opened yet.

        Raises
        ------
        InvalidSetting
            The URL names no database that can be used from here.
        FolderNotUsable
            The folder of the SQLite file cannot be written.
        """
        try:
            self._url = make_url(url)
            self._file = _sqlite_file(self._url)
            self._writer = self._engine(1, "BEGIN IMMEDIATE")
            self._reader = self._engine(_READERS, "BEGIN")
        except (ArgumentError, ImportError, SQLAlchemyError) as error:
            raise InvalidSetting(
                f"this names no database that can be used: {error}",
                field="BELIEFD_DATABASE",
                value=_without_password(url),
                allowed="a URL of SQLAlchemy with an async driver, such as sqlite+aiosqlite:////folder/gateway.db",
            ) from None

    @property
    def shown_url(self) -> str:
        """The URL, fit for a log."""
        return self._url.render_as_string(hide_password=True)

    async def migrate(self) -> None:
        """Bring the schema up to date.

        Raises
        ------
        StartupError
            A newer version of the gateway has migrated this database.
        SQLAlchemyError, OSError
            The database cannot be used now.
        """
        async with self._writer.begin() as connection:
            await connection.run_sync(_migrate)

    @asynccontextmanager
    async def writing(self) -> AsyncIterator[AsyncConnection]:
        """A transaction on the writing connection. For one task at a time."""
        self._check_file()
        async with self._writer.begin() as connection:
            yield connection

    @asynccontextmanager
    async def reading(self) -> AsyncIterator[AsyncConnection]:
        """A transaction that sees one state of the database."""
        async with self._reader.begin() as connection:
            yield connection

    async def close(self) -> None:
        """Let go of all connections; they come back when they are needed."""
        await self._writer.dispose()
        await self._reader.dispose()

    def _engine(self, connections: int, begin: str) -> AsyncEngine:
        engine = create_async_engine(
            self._url, poolclass=AsyncAdaptedQueuePool, pool_size=connections, max_overflow=0, pool_timeout=_BUSY_S
        )
        if self._file is not None:
            _prepare_sqlite(engine, begin)
        return engine

    def _check_file(self) -> None:
        """Notice that the file was deleted: an open connection would go on writing to what nobody can see."""
        if self._file is not None and not self._file.exists():
            raise FileNotFoundError(f"{self._file} was deleted")


def _migrate(connection: Connection) -> None:
    config = Config()
    config.set_main_option("script_location", str(MIGRATIONS).replace("%", "%%"))
    config.set_main_option("path_separator", "os")
    config.attributes["connection"] = connection
    known = {revision.revision for revision in ScriptDirectory.from_config(config).walk_revisions()}
    found = MigrationContext.configure(connection).get_current_heads()
    if unknown := set(found) - known:
        raise StartupError(
            "a newer beliefd has migrated this database; start that version, or move the file away: it is made anew",
            field="BELIEFD_DATABASE",
            value=", ".join(sorted(unknown)),
            allowed=", ".join(sorted(known)),
        )
    command.upgrade(config, "head")


def _sqlite_file(url: URL) -> Path | None:
    """The file of a SQLite database, its folder checked; None for another database."""
    if url.get_backend_name() != "sqlite":
        return None
    if not url.database or url.database == ":memory:" or url.database.startswith("file:"):
        raise ArgumentError("a database in memory cannot be shared between connections; name a file")
    file = Path(url.database).absolute()
    if not os.access(file.parent, os.W_OK | os.X_OK):
        raise FolderNotUsable(
            "the folder of the database is missing or cannot be written; make it, mend its mode, or choose another",
            field="BELIEFD_DATABASE",
            value=str(file.parent),
        )
    return file


def _prepare_sqlite(engine: AsyncEngine, begin: str) -> None:
    @event.listens_for(engine.sync_engine, "connect")
    def connected(connection: Any, record: object) -> None:
        # The driver would begin transactions by itself, and not before SELECT; `began` does it instead.
        connection.isolation_level = None
        cursor = connection.cursor()
        cursor.execute(f"PRAGMA busy_timeout = {round(_BUSY_S * 1000)}")
        cursor.execute("PRAGMA journal_mode = WAL")
        # No sync at each commit: power loss may take the last ones, but rows and cursor go together and are read again.
        cursor.execute("PRAGMA synchronous = NORMAL")
        cursor.close()

    @event.listens_for(engine.sync_engine, "begin")
    def began(connection: Connection) -> None:
        connection.exec_driver_sql(begin)


def _without_password(url: str) -> str:
    try:
        return make_url(url).render_as_string(hide_password=True)
    except (ArgumentError, ValueError):
        return "a text that is no URL"
