"""Endpoints, folders and sizes of a stack, from BELIEFD_* in the environment.

=======================  ===========================  =====================================================
variable                 default                      meaning
=======================  ===========================  =====================================================
BELIEFD_DATA             ./var                        the data folder: populations, models, sockets, logs
BELIEFD_ENDPOINT         tcp://127.0.0.1:5757         where simulators connect; a Unix socket in the data
                                                      folder, run/beliefd.sock, serves beside it
BELIEFD_HTTP             127.0.0.1:8757               where the gateway listens
BELIEFD_KEYS             none                         the folder of keys that ``beliefd-keys`` made: who has none
                                                      of them is refused, and any address may be listened on
BELIEFD_DATABASE         SQLite in the data folder    SQLAlchemy URL of the gateway's database
BELIEFD_GATEWAY_THREADS  20                           threads of the gateway for blocking work
BELIEFD_WORKER_MEMORY    2048                         MiB of its own after which a worker is replaced
BELIEFD_WORKER_BATCHES   0                            batches after which a worker is replaced; 0: never
BELIEFD_CHECKPOINT_S     300                          seconds after which a population of durability "process" that
                                                      was stepped gets a checkpoint; 0: never
BELIEFD_JOURNAL          64                           MiB of journal after which one of "disk" gets a checkpoint
BELIEFD_HISTORY          256                          MiB of older journals and checkpoints kept per population, to
                                                      fork from past ticks
BELIEFD_FRAME            64                           MiB of the largest array that travels
BELIEFD_OPEN             1024                         MiB of all open requests together; what goes beyond is told
                                                      to wait, and one request may not be larger
BELIEFD_POPULATIONS      4096                         populations that the server holds
BELIEFD_AGENTS           67108864                     agents that a population ever has
BELIEFD_POLICIES         1000000                      policies of a model
BELIEFD_AWAKE            2                            milliseconds after a client's request for which processors are
                                                      kept from sleeping, and up to 5 more, where the broker may do
                                                      that (README, Operating); 0: never
BELIEFD_LOG_LEVEL        info                         debug, info, warning or error
BELIEFD_CACHE            beliefd in the user's cache  compiled kernels; read by `beliefd.engine.jit`
BELIEFD_CLIENT_KEY       none                         a client's file of keys; read by `beliefd.connect`
BELIEFD_PYTHON           the system's, or python3     the Python of the environment; read by ``scripts/setup``
=======================  ===========================  =====================================================
"""

from __future__ import annotations

import ipaddress
import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlsplit

from beliefd.engine.folderlock import LEASES
from beliefd_proto.errors import InvalidSetting
from beliefd_proto.messages import Limits

LOG_LEVELS = ("debug", "info", "warning", "error")
_SOCKET_PATH_BYTES = 107  # sockaddr_un.sun_path less its closing zero


@dataclass(frozen=True, slots=True)
class Settings:
    """The settings of one stack. Every process of the stack reads the same."""

    data: Path
    endpoint: str
    http_host: str
    http_port: int
    keys: Path | None
    database: str
    gateway_threads: int
    worker_memory_bytes: int
    worker_batches: int
    checkpoint_s: int
    journal_bytes: int
    history_bytes: int
    limits: Limits
    awake_ms: int
    log_level: str

    @classmethod
    def from_environment(cls, environment: Mapping[str, str] = os.environ) -> Settings:
        """Read and check the settings.

        Raises
        ------
        InvalidSetting
            Naming the variable, its value and what is allowed.
        """
        data = Path(environment.get("BELIEFD_DATA") or "var").absolute()
        keys = Path(environment["BELIEFD_KEYS"]).absolute() if environment.get("BELIEFD_KEYS") else None
        host, port = _address("BELIEFD_HTTP", environment.get("BELIEFD_HTTP") or "127.0.0.1:8757", keys)
        settings = cls(
            data=data,
            endpoint=_endpoint(environment.get("BELIEFD_ENDPOINT") or "tcp://127.0.0.1:5757", keys),
            http_host=host,
            http_port=port,
            keys=keys,
            database=environment.get("BELIEFD_DATABASE") or f"sqlite+aiosqlite:///{data}/gateway.db",
            gateway_threads=_count(
                "BELIEFD_GATEWAY_THREADS", environment.get("BELIEFD_GATEWAY_THREADS") or "20", 1, 256
            ),
            worker_memory_bytes=2**20
            * _count("BELIEFD_WORKER_MEMORY", environment.get("BELIEFD_WORKER_MEMORY") or "2048", 1, 2**24),
            worker_batches=_count("BELIEFD_WORKER_BATCHES", environment.get("BELIEFD_WORKER_BATCHES") or "0", 0, 2**62),
            checkpoint_s=_count("BELIEFD_CHECKPOINT_S", environment.get("BELIEFD_CHECKPOINT_S") or "300", 0, 2**31),
            journal_bytes=2**20 * _count("BELIEFD_JOURNAL", environment.get("BELIEFD_JOURNAL") or "64", 1, 2**24),
            history_bytes=2**20 * _count("BELIEFD_HISTORY", environment.get("BELIEFD_HISTORY") or "256", 0, 2**24),
            limits=_limits(environment),
            awake_ms=_count("BELIEFD_AWAKE", environment.get("BELIEFD_AWAKE") or "2", 0, 60_000),
            log_level=_choice("BELIEFD_LOG_LEVEL", environment.get("BELIEFD_LOG_LEVEL") or "info", LOG_LEVELS),
        )
        for path in (settings.client_socket, settings.worker_socket):
            if len(os.fsencode(path)) > _SOCKET_PATH_BYTES:
                raise InvalidSetting(
                    "the sockets in this folder would have a longer path than the system takes; choose a shorter one",
                    field="BELIEFD_DATA",
                    value=str(data),
                    allowed=f"a socket path of at most {_SOCKET_PATH_BYTES} bytes",
                )
        return settings

    @property
    def run(self) -> Path:
        """Sockets, leases and the event ring: what only running processes need."""
        return self.data / "run"

    @property
    def client_socket(self) -> Path:
        return self.run / "beliefd.sock"

    @property
    def worker_socket(self) -> Path:
        return self.run / "workers.sock"

    @property
    def leases(self) -> Path:
        return self.data / LEASES

    @property
    def events(self) -> Path:
        return self.run / "events.ring"

    @property
    def tallies(self) -> Path:
        return self.run / "tallies.bin"

    @property
    def models(self) -> Path:
        return self.data / "models"

    @property
    def populations(self) -> Path:
        return self.data / "populations"

    @property
    def snapshots(self) -> Path:
        return self.data / "snapshots"


def _limits(environment: Mapping[str, str]) -> Limits:
    defaults = Limits()

    def limit(name: str, default: int, high: int) -> int:
        return _count(name, environment.get(name) or str(default), 1, high)

    return Limits(
        frame_bytes=2**20 * limit("BELIEFD_FRAME", defaults.frame_bytes // 2**20, 256),
        open_bytes=2**20 * limit("BELIEFD_OPEN", defaults.open_bytes // 2**20, 2**24),
        populations=limit("BELIEFD_POPULATIONS", defaults.populations, 2**20),
        population_agents=limit("BELIEFD_AGENTS", defaults.population_agents, 2**32),
        policies=limit("BELIEFD_POLICIES", defaults.policies, defaults.policies),
    )


def _count(name: str, text: str, low: int, high: int) -> int:
    try:
        value = int(text)
    except ValueError:
        value = low - 1
    if not low <= value <= high:
        raise InvalidSetting("this is not a usable number", field=name, value=text, allowed=f"{low}..{high}")
    return value


def _choice(name: str, text: str, allowed: tuple[str, ...]) -> str:
    if text not in allowed:
        raise InvalidSetting("this value is not known", field=name, value=text, allowed=", ".join(allowed))
    return text


def _address(name: str, text: str, keys: Path | None) -> tuple[str, int]:
    host, _, port = text.rpartition(":")
    host = host.strip("[]")
    _check_reach(name, text, host, keys)
    return host, _count(name, port, 0, 65535)


def _endpoint(text: str, keys: Path | None) -> str:
    try:
        parts = urlsplit(text)
        host, port = parts.hostname, parts.port
    except ValueError:
        host = port = None
    if host is None or port is None or text != f"tcp://{parts.netloc}" or "@" in text:
        raise InvalidSetting(
            "this is not an endpoint to listen on", field="BELIEFD_ENDPOINT", value=text, allowed="tcp://HOST:PORT"
        )
    _check_reach("BELIEFD_ENDPOINT", text, host, keys)
    return text


def _check_reach(name: str, text: str, host: str, keys: Path | None) -> None:
    """Refuse to listen beyond this machine without keys: whoever can connect may then do everything."""
    if keys is not None:
        return
    try:
        loopback = host == "localhost" or ipaddress.ip_address(host).is_loopback
    except ValueError:
        loopback = False
    if not loopback:
        raise InvalidSetting(
            "without keys beliefd listens on loopback only; make some with beliefd-keys and set BELIEFD_KEYS",
            field=name,
            value=text,
            allowed="an address in 127.0.0.0/8, ::1 or localhost",
        )
