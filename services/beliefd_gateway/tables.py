"""The database: every table, and every statement that the gateway runs on them.

The tables are a projection. The population manifests and the event ring are the truth, so all of this may be deleted
and is made again from what they hold. Times are Unix seconds.

=============  ====================================================================================================
table          a row is
=============  ====================================================================================================
models         a model that a population uses, by the SHA-256 of its content
populations    a population, by its uid; `dropped_s` is set while it is gone
runs           an unbroken spell of stepping of one population, by the place in the ring of its first telemetry
telemetry      what one population did in one interval; kept for a week
worker_events  a worker registered, or was lost
gaps           events that were overwritten in the ring, or lost with an earlier ring, before they were read
cursor         one row: up to where the ring has been read. Written in the transaction of the rows that it caused
=============  ====================================================================================================

``(ring_id, sequence)`` is the place of an event in the ring and the key of what it caused: an event that came in twice
would break the key, and is never silently counted twice.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import sqlalchemy as sa
from sqlalchemy.dialects import postgresql, sqlite
from sqlalchemy.ext.asyncio import AsyncConnection

Row = dict[str, Any]

schema = sa.MetaData()

models = sa.Table(
    "models",
    schema,
    sa.Column("hash", sa.String(64), primary_key=True),
    sa.Column("dtype", sa.String(16), nullable=False),
    sa.Column("num_obs", sa.JSON, nullable=False),
    sa.Column("num_states", sa.JSON, nullable=False),
    sa.Column("num_controls", sa.JSON, nullable=False),
    sa.Column("control_fac_idx", sa.JSON, nullable=False),
    sa.Column("policy_len", sa.Integer, nullable=False),
    sa.Column("num_policies", sa.Integer, nullable=False),
    sa.Column("first_seen_s", sa.Double, nullable=False),
)

populations = sa.Table(
    "populations",
    schema,
    sa.Column("uid", sa.String(16), primary_key=True),
    sa.Column("name", sa.String(128), nullable=False, index=True),
    sa.Column("model", sa.String(64), nullable=False),
    sa.Column("seed", sa.BigInteger, nullable=False),
    sa.Column("durability", sa.String(32), nullable=False),
    sa.Column("rows", sa.BigInteger, nullable=False),
    sa.Column("live", sa.BigInteger, nullable=False),
    sa.Column("record_bytes", sa.Integer, nullable=False),
    sa.Column("quarantined", sa.Boolean, nullable=False),
    sa.Column("first_seen_s", sa.Double, nullable=False),
    sa.Column("dropped_s", sa.Double),
)

runs = sa.Table(
    "runs",
    schema,
    sa.Column("ring_id", sa.String(32), primary_key=True),
    sa.Column("sequence", sa.BigInteger, primary_key=True, autoincrement=False),
    sa.Column("population", sa.String(16), nullable=False, index=True),
    sa.Column("epoch", sa.BigInteger, nullable=False),
    sa.Column("started_s", sa.Double, nullable=False),
    sa.Column("last_s", sa.Double, nullable=False),
    sa.Column("ended_s", sa.Double),
    sa.Column("agent_steps", sa.BigInteger, nullable=False),
    sa.Column("batches", sa.BigInteger, nullable=False),
)

telemetry = sa.Table(
    "telemetry",
    schema,
    sa.Column("ring_id", sa.String(32), primary_key=True),
    sa.Column("sequence", sa.BigInteger, primary_key=True, autoincrement=False),
    sa.Column("population", sa.String(16), nullable=False),
    sa.Column("time_s", sa.Double, nullable=False, index=True),
    sa.Column("interval_s", sa.Double, nullable=False),
    sa.Column("agent_steps", sa.BigInteger, nullable=False),
    sa.Column("batches", sa.BigInteger, nullable=False),
    sa.Column("vfe_mean", sa.Double),
    sa.Column("entropy_mean", sa.Double),
    sa.Column("action_counts", sa.JSON, nullable=False),
    sa.Index("ix_telemetry_population_time_s", "population", "time_s"),
)

worker_events = sa.Table(
    "worker_events",
    schema,
    sa.Column("ring_id", sa.String(32), primary_key=True),
    sa.Column("sequence", sa.BigInteger, primary_key=True, autoincrement=False),
    sa.Column("time_s", sa.Double, nullable=False, index=True),
    sa.Column("epoch", sa.BigInteger, nullable=False),
    sa.Column("event", sa.String(16), nullable=False),
    sa.Column("worker", sa.String(128), nullable=False),
    sa.Column("pid", sa.Integer, nullable=False),
    sa.Column("batches_lost", sa.Integer, nullable=False),
)

gaps = sa.Table(
    "gaps",
    schema,
    sa.Column("ring_id", sa.String(32), primary_key=True),
    sa.Column("first_lost", sa.BigInteger, primary_key=True, autoincrement=False),
    sa.Column("last_lost", sa.BigInteger),
    sa.Column("noted_s", sa.Double, nullable=False),
)

cursor = sa.Table(
    "cursor",
    schema,
    sa.Column("id", sa.Integer, primary_key=True, autoincrement=False),
    sa.Column("ring_id", sa.String(32), nullable=False),
    sa.Column("sequence", sa.BigInteger, nullable=False),
)

# Writing. Every statement of a batch runs in one transaction.


async def insert(connection: AsyncConnection, table: sa.Table, rows: Sequence[Row]) -> None:
    """Add rows that cannot be there yet."""
    if rows:
        await connection.execute(sa.insert(table), rows)


async def upsert(connection: AsyncConnection, table: sa.Table, rows: Iterable[Row], keep: Sequence[str] = ()) -> None:
    """Add rows, or bring them up to date where their key is there, leaving the columns `keep` as they are."""
    rows = list(rows)
    if not rows:
        return
    # Both databases know the same ON CONFLICT; SQLAlchemy has a construct of its own for each.
    dialect = postgresql if connection.dialect.name == "postgresql" else sqlite
    statement = dialect.insert(table)
    keys = [column.name for column in table.primary_key]
    changed = {name: statement.excluded[name] for name in rows[0] if name not in keys and name not in keep}
    await connection.execute(
        statement.on_conflict_do_update(index_elements=keys, set_=changed)
        if changed
        else statement.on_conflict_do_nothing(index_elements=keys),
        rows,
    )


async def mark_dropped(connection: AsyncConnection, dropped_s: Mapping[str, float]) -> None:
    """Note when populations, by uid, were dropped."""
    if dropped_s:
        of_uid = sa.update(populations).where(populations.c.uid == sa.bindparam("gone"))
        statement = of_uid.values(dropped_s=sa.bindparam("at_s"))
        await connection.execute(statement, [{"gone": uid, "at_s": at_s} for uid, at_s in dropped_s.items()])


async def forget_telemetry(connection: AsyncConnection, before_s: float) -> None:
    """Delete intervals that ended before `before_s`; what they add up to stays in `runs`."""
    await connection.execute(sa.delete(telemetry).where(telemetry.c.time_s < before_s))


# Reading.


def where_to_go_on() -> sa.Select[Any]:
    """The cursor; no row in a new database."""
    return sa.select(cursor.c.ring_id, cursor.c.sequence)


def open_runs() -> sa.Select[Any]:
    return sa.select(runs).where(runs.c.ended_s.is_(None))


def live_uids() -> sa.Select[Any]:
    """The uids of populations that are not dropped."""
    return sa.select(populations.c.uid).where(populations.c.dropped_s.is_(None))


def live_populations(name: str | None = None) -> sa.Select[Any]:
    """Populations that are not dropped, or the one of this name, with when each was last stepped."""
    stepped = sa.select(sa.func.max(telemetry.c.time_s)).where(telemetry.c.population == populations.c.uid)
    found = sa.select(populations, stepped.scalar_subquery().label("last_stepped_s")).where(
        populations.c.dropped_s.is_(None)
    )
    if name is not None:
        found = found.where(populations.c.name == name)
    return found.order_by(populations.c.name, populations.c.first_seen_s.desc())


def newest_telemetry(uid: str, since_s: float, limit: int) -> sa.Select[Any]:
    """The newest intervals of a population that ended after `since_s`, the newest first."""
    return (
        sa.select(telemetry)
        .where(telemetry.c.population == uid, telemetry.c.time_s > since_s)
        .order_by(telemetry.c.time_s.desc(), telemetry.c.sequence.desc())
        .limit(limit)
    )


def newest_runs(name: str | None, limit: int) -> sa.Select[Any]:
    """The newest runs, of all populations or of those of this name, the newest first."""
    found = sa.select(runs, populations.c.name).join(populations, populations.c.uid == runs.c.population, isouter=True)
    if name is not None:
        found = found.where(populations.c.name == name)
    return found.order_by(runs.c.started_s.desc(), runs.c.sequence.desc()).limit(limit)


def newest_worker_events(limit: int) -> sa.Select[Any]:
    return (
        sa.select(worker_events).order_by(worker_events.c.time_s.desc(), worker_events.c.sequence.desc()).limit(limit)
    )


def newest_gaps(limit: int) -> sa.Select[Any]:
    return sa.select(gaps).order_by(gaps.c.noted_s.desc(), gaps.c.first_lost.desc()).limit(limit)


def known_models() -> sa.Select[Any]:
    """All models, with the number of their populations that are not dropped."""
    used = (
        sa.select(sa.func.count())
        .select_from(populations)
        .where(populations.c.model == models.c.hash, populations.c.dropped_s.is_(None))
    )
    return sa.select(models, used.scalar_subquery().label("populations")).order_by(models.c.first_seen_s, models.c.hash)
