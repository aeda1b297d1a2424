"""The populations that a broker serves, and those that are there but cannot be read."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from beliefd_broker.population import Damaged, Population
from beliefd_proto.errors import BeliefdError, CorruptStore, InvalidArgument, StorageError, TooLarge, UnknownPopulation
from beliefd_proto.messages import Create, Fork, Limits, Restore

_DURABILITIES = ("process", "disk")


class Registry:
    """Finds populations by uid and by name, and says which more may be made within `limits`."""

    def __init__(self, limits: Limits) -> None:
        self._limits = limits
        self._by_uid: dict[str, Population] = {}
        self._damaged: list[Damaged] = []

    def __iter__(self) -> Iterator[Population]:
        return iter(self._by_uid.values())

    def __contains__(self, uid: str) -> bool:
        return uid in self._by_uid

    @property
    def state_bytes(self) -> int:
        """What the populations take in memory."""
        return sum([population.state_bytes for population in self])

    def add(self, population: Population) -> None:
        self._by_uid[population.info.uid] = population

    def remove(self, uid: str) -> Population:
        """Serve a population no longer."""
        return self._by_uid.pop(uid)

    def add_damaged(self, damaged: Iterable[Damaged]) -> None:
        """Keep the names of populations that cannot be read: whoever asks for one is told why."""
        self._damaged.extend(damaged)

    def replace_damaged(self, population: Population, error: BeliefdError) -> StorageError:
        """Take a population for damaged from now on; returns what is told of it."""
        info = self.remove(population.info.uid).info
        told = error if isinstance(error, StorageError) else CorruptStore(error.message)
        self._damaged.append(Damaged(info.uid, info.name, told))
        return told

    def get(self, uid: str) -> Population:
        """The population of this uid.

        Raises
        ------
        UnknownPopulation
        StorageError
            It is damaged.
        """
        population = self._by_uid.get(uid)
        if population is None:
            self.check_damaged(uid)
            raise UnknownPopulation(
                "there is no such population; it may have been dropped", field="population", value=uid
            )
        return population

    def get_or_none(self, uid: str) -> Population | None:
        """The population of this uid; None where there is none that can be read."""
        return self._by_uid.get(uid)

    def find(self, name: str) -> Population | None:
        """The population of this name; None where there is none that can be read."""
        return next((population for population in self if population.info.name == name), None)

    def named(self, name: str) -> Population:
        """The population of this name.

        Raises
        ------
        UnknownPopulation
        StorageError
            It is damaged.
        """
        population = self.find(name)
        if population is None:
            self.check_damaged(name)
            raise UnknownPopulation("there is no population of this name", field="name", value=name)
        return population

    def check_damaged(self, uid_or_name: str) -> None:
        """Say that a population is there and cannot be read.

        Raises
        ------
        StorageError
            `CorruptStore` as a rule.
        """
        for damaged in self._damaged:
            if uid_or_name in (damaged.uid, damaged.name):
                told = damaged.error
                raise type(told)(
                    f"this population is there but damaged: {told.message}", field="population", value=uid_or_name
                )

    def check_making(self, header: Create | Restore | Fork) -> None:
        """Refuse a population that cannot be made.

        Raises
        ------
        TooLarge, InvalidArgument
        StorageError
            The name is that of a damaged one.
        """
        self.check_damaged(header.name)
        if self.find(header.name) is None and len(self._by_uid) >= self._limits.populations:
            raise TooLarge(
                "this server holds as many populations as it may",
                field="populations",
                value=len(self._by_uid),
                allowed=str(self._limits.populations),
            )
        if not isinstance(header, Create):
            return
        if header.durability not in _DURABILITIES:
            raise InvalidArgument(
                "this durability is not offered",
                field="durability",
                value=header.durability,
                allowed=" or ".join(map(repr, _DURABILITIES)),
            )
        self.check_room(header.agents, None)

    def check_room(self, count: int, population: Population | None) -> None:
        """Refuse more agents than `population`, or a new one, may have.

        Raises
        ------
        TooLarge
        """
        room = self._limits.population_agents - (population.info.rows if population is not None else 0)
        if not 1 <= count <= room:
            field = "agents" if population is None else "count"
            raise TooLarge("a population has a bounded size", field=field, value=count, allowed=f"1..{room}")
