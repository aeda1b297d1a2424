from __future__ import annotations

import asyncio
import sqlite3
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import msgspec
import pytest
import sqlalchemy as sa
from alembic.autogenerate import compare_metadata
from alembic.runtime.migration import MigrationContext
from gateway_world import MODEL
from sqlalchemy.exc import IntegrityError

from beliefd_gateway import tables
from beliefd_gateway.database import Database
from beliefd_proto.errors import FolderNotUsable, InvalidSetting, StartupError

ROW = {"id": 1, "ring_id": "a" * 32, "sequence": 5}


def _url(folder: Path) -> str:
    return f"sqlite+aiosqlite:///{folder}/gateway.db"


def _with(folder: Path, work: Callable[[Database], Awaitable[Any]]) -> Any:
    async def run() -> Any:
        database = Database(_url(folder))
        try:
            return await work(database)
        finally:
            await database.close()

    return asyncio.run(run())


def test_migrating_makes_exactly_the_described_schema(tmp_path: Path) -> None:
    async def differences(database: Database) -> list[Any]:
        await database.migrate()
        async with database.writing() as connection:
            return await connection.run_sync(
                lambda sync: compare_metadata(MigrationContext.configure(sync), tables.schema)
            )

    assert _with(tmp_path, differences) == []


def test_migrating_a_current_database_changes_nothing(tmp_path: Path) -> None:
    async def twice(database: Database) -> tuple[str, int]:
        await database.migrate()
        async with database.writing() as connection:
            await tables.upsert(connection, tables.cursor, [ROW])
        await database.close()
        await database.migrate()
        async with database.reading() as connection:
            return tuple((await connection.execute(tables.where_to_go_on())).one())

    assert _with(tmp_path, twice) == (ROW["ring_id"], ROW["sequence"])


def test_a_newer_database_is_refused_and_left_alone(tmp_path: Path) -> None:
    _with(tmp_path, lambda database: database.migrate())
    with sqlite3.connect(tmp_path / "gateway.db") as connection:
        connection.execute("UPDATE alembic_version SET version_num = '9999'")
    connection.close()
    with pytest.raises(StartupError, match="9999"):
        _with(tmp_path, lambda database: database.migrate())
    with sqlite3.connect(tmp_path / "gateway.db") as connection:
        assert connection.execute("SELECT version_num FROM alembic_version").fetchall() == [("9999",)]
    connection.close()


@pytest.mark.parametrize(
    "url",
    [
        "no url",
        "sqlite+aiosqlite://",
        "sqlite+aiosqlite:///:memory:",
        "sqlite:////tmp/gateway.db",
        "nosuch+driver://host/base",
        "postgresql+nosuchdriver://user:secret@host/base",
    ],
)
def test_a_url_that_names_no_usable_database_is_refused(url: str) -> None:
    with pytest.raises(InvalidSetting) as refused:
        Database(url)
    assert refused.value.field == "BELIEFD_DATABASE"
    assert "secret" not in str(refused.value)


def test_a_missing_folder_is_refused(tmp_path: Path) -> None:
    with pytest.raises(FolderNotUsable, match="BELIEFD_DATABASE"):
        Database(_url(tmp_path / "missing"))


def test_rows_of_a_transaction_that_fails_are_not_there(tmp_path: Path) -> None:
    gap = {"ring_id": "a", "first_lost": 1, "last_lost": 2, "noted_s": 0.0}

    async def twice_the_same(database: Database) -> None:
        async with database.writing() as connection:
            await tables.upsert(connection, tables.cursor, [ROW])
            await tables.insert(connection, tables.gaps, [gap, gap])

    async def fail(database: Database) -> int:
        await database.migrate()
        with pytest.raises(IntegrityError):
            await twice_the_same(database)
        async with database.reading() as connection:
            return len((await connection.execute(tables.where_to_go_on())).all())

    assert _with(tmp_path, fail) == 0


def test_upsert_keeps_what_it_is_told_to_keep(tmp_path: Path) -> None:
    def model(first_seen_s: float, policy_len: int) -> tables.Row:
        told = {**msgspec.structs.asdict(MODEL), "policy_len": policy_len, "first_seen_s": first_seen_s}
        return {name: value for name, value in told.items() if name in tables.models.c}

    async def twice(database: Database) -> tuple[float, int]:
        await database.migrate()
        async with database.writing() as connection:
            await tables.upsert(connection, tables.models, [model(1.0, 1)], keep=["first_seen_s"])
            await tables.upsert(connection, tables.models, [model(2.0, 3)], keep=["first_seen_s"])
            return tuple((await connection.execute(sa.select(tables.models.c["first_seen_s", "policy_len"]))).one())

    assert _with(tmp_path, twice) == (1.0, 3)


def test_readers_go_on_while_somebody_writes(tmp_path: Path) -> None:
    async def both(database: Database) -> int:
        await database.migrate()
        async with database.writing() as writer:
            await tables.upsert(writer, tables.cursor, [ROW])
            async with database.reading() as reader:
                return len((await reader.execute(tables.where_to_go_on())).all())

    assert _with(tmp_path, both) == 0


def test_a_deleted_file_is_noticed_before_anything_is_written_into_nowhere(tmp_path: Path) -> None:
    async def delete(database: Database) -> None:
        await database.migrate()
        (tmp_path / "gateway.db").unlink()
        with pytest.raises(OSError, match="deleted"):
            async with database.writing():
                pass

    _with(tmp_path, delete)


def test_a_file_that_is_no_database_is_trouble_and_not_a_crash(tmp_path: Path) -> None:
    (tmp_path / "gateway.db").write_bytes(b"not a database" * 1000)
    with pytest.raises(sa.exc.DatabaseError):
        _with(tmp_path, lambda database: database.migrate())
