"""A population's manifest as the facts that clients are told."""

from __future__ import annotations

from beliefd.engine.layout import RecordLayout
from beliefd.engine.manifest import Manifest
from beliefd.engine.members import Members
from beliefd_proto.messages import PopulationInfo, Rebuilt


def population_info(
    manifest: Manifest, members: Members, *, quarantined: bool = False, rebuilt: Rebuilt | None = None
) -> PopulationInfo:
    """What LIST, ATTACH and the events tell of a population."""
    return PopulationInfo(
        uid=manifest.uid,
        name=manifest.name,
        model=manifest.model,
        seed=manifest.seed,
        durability=manifest.durability,
        rows=manifest.rows,
        live=len(members),
        record_bytes=RecordLayout.of(manifest.model).record_bytes,
        quarantined=quarantined,
        rebuilt=rebuilt,
    )
