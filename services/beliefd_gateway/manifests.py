"""The populations on disk, as their manifests tell: what the database is made again from."""

from __future__ import annotations

from dataclasses import dataclass

from beliefd.engine.manifest import read_manifest
from beliefd_proto.errors import BeliefdError
from beliefd_proto.messages import PopulationInfo
from beliefd_service.logging import Logger
from beliefd_service.population_info import population_info
from beliefd_service.settings import Settings


@dataclass(frozen=True, slots=True)
class OnDisk:
    """Populations whose manifest could be read, and the uids of all that have a folder."""

    infos: tuple[PopulationInfo, ...]
    uids: frozenset[str]


def scan(settings: Settings, logger: Logger) -> OnDisk:
    """Read every manifest of the data folder. One that cannot be read is logged; its population stays as it is known.

    Populations change meanwhile, so this shows no one instant. Each manifest is read together with its members, and
    after them whether the population is quarantined. What changes later, or is removed while it is read (it may then
    count as one that cannot be read), is told by events that are still to come in the ring.
    """
    infos, uids = [], set()
    for folder in sorted(settings.populations.glob("[0-9a-f]*")):
        uids.add(folder.name)
        try:
            manifest, members = read_manifest(folder)
        except BeliefdError as error:
            logger.warning("population_not_readable", folder=folder.name, code=error.code, reason=str(error))
            continue
        infos.append(population_info(manifest, members, quarantined=(folder / "quarantined").exists()))
    return OnDisk(tuple(infos), frozenset(uids))
