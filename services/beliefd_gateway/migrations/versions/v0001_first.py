"""The first schema."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0001"
down_revision = None


def upgrade() -> None:
    op.create_table(
        "models",
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
    op.create_table(
        "populations",
        sa.Column("uid", sa.String(16), primary_key=True),
        sa.Column("name", sa.String(128), nullable=False),
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
    op.create_index("ix_populations_name", "populations", ["name"])
    op.create_table(
        "runs",
        sa.Column("ring_id", sa.String(32), primary_key=True),
        sa.Column("sequence", sa.BigInteger, primary_key=True, autoincrement=False),
        sa.Column("population", sa.String(16), nullable=False),
        sa.Column("epoch", sa.BigInteger, nullable=False),
        sa.Column("started_s", sa.Double, nullable=False),
        sa.Column("last_s", sa.Double, nullable=False),
        sa.Column("ended_s", sa.Double),
        sa.Column("agent_steps", sa.BigInteger, nullable=False),
        sa.Column("batches", sa.BigInteger, nullable=False),
    )
    op.create_index("ix_runs_population", "runs", ["population"])
    op.create_table(
        "telemetry",
        sa.Column("ring_id", sa.String(32), primary_key=True),
        sa.Column("sequence", sa.BigInteger, primary_key=True, autoincrement=False),
        sa.Column("population", sa.String(16), nullable=False),
        sa.Column("time_s", sa.Double, nullable=False),
        sa.Column("interval_s", sa.Double, nullable=False),
        sa.Column("agent_steps", sa.BigInteger, nullable=False),
        sa.Column("batches", sa.BigInteger, nullable=False),
        sa.Column("vfe_mean", sa.Double),
        sa.Column("entropy_mean", sa.Double),
        sa.Column("action_counts", sa.JSON, nullable=False),
    )
    op.create_index("ix_telemetry_time_s", "telemetry", ["time_s"])
    op.create_index("ix_telemetry_population_time_s", "telemetry", ["population", "time_s"])
    op.create_table(
        "worker_events",
        sa.Column("ring_id", sa.String(32), primary_key=True),
        sa.Column("sequence", sa.BigInteger, primary_key=True, autoincrement=False),
        sa.Column("time_s", sa.Double, nullable=False),
        sa.Column("epoch", sa.BigInteger, nullable=False),
        sa.Column("event", sa.String(16), nullable=False),
        sa.Column("worker", sa.String(128), nullable=False),
        sa.Column("pid", sa.Integer, nullable=False),
        sa.Column("batches_lost", sa.Integer, nullable=False),
    )
    op.create_index("ix_worker_events_time_s", "worker_events", ["time_s"])
    op.create_table(
        "gaps",
        sa.Column("ring_id", sa.String(32), primary_key=True),
        sa.Column("first_lost", sa.BigInteger, primary_key=True, autoincrement=False),
        sa.Column("last_lost", sa.BigInteger),
        sa.Column("noted_s", sa.Double, nullable=False),
    )
    op.create_table(
        "cursor",
        sa.Column("id", sa.Integer, primary_key=True, autoincrement=False),
        sa.Column("ring_id", sa.String(32), nullable=False),
        sa.Column("sequence", sa.BigInteger, nullable=False),
    )
