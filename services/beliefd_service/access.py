"""Who may do what: the folder of keys that ``beliefd-keys`` writes, and broker and gateway read.

``server.json`` holds the broker's key pair, ``clients.json`` the grants. Of a client's token only the SHA-256 is kept:
who reads the grants can become none of the clients. Whoever can read the server's secret key is the operator, and
knows the token of the stack's own processes, which is derived from it.
"""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import Annotated, Literal

import msgspec

from beliefd.keys import Z85, Keys, read_private
from beliefd_proto import Role
from beliefd_proto.errors import InvalidSetting
from beliefd_proto.messages import Name
from beliefd_proto.roles import ROLES

SERVER_FILE = "server.json"
CLIENTS_FILE = "clients.json"
_LOCAL = b"beliefd: the stack's own processes\0"
_Rate = Annotated[float, msgspec.Meta(gt=0, le=1e12)]


class ServerKeys(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The broker's CurveZMQ key pair."""

    public_key: Z85
    secret_key: Z85

    def __repr__(self) -> str:
        return f"ServerKeys(public_key={self.public_key!r})"

    @property
    def local_keys(self) -> Keys:
        """What the stack's own processes use."""
        token = hashlib.sha256(_LOCAL + self.secret_key.encode()).hexdigest()
        return Keys(
            name="local",
            server_key=self.public_key,
            public_key=self.public_key,
            secret_key=self.secret_key,
            token=token,
        )


class Grant(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """What one client may do.

    `sessions` bounds its sessions at the broker, `requests_per_s` its requests at broker and gateway, `agents_per_s`
    the agents that it steps and reads; None does not bound.
    """

    name: Name
    role: Literal["read", "step", "admin"]
    token_sha256: Annotated[str, msgspec.Meta(pattern=r"^[0-9a-f]{64}\Z")]
    public_key: Z85
    sessions: Annotated[int, msgspec.Meta(ge=1, le=2**20)] | None = None
    requests_per_s: _Rate | None = None
    agents_per_s: _Rate | None = None

    @property
    def level(self) -> Role:
        return ROLES[self.role]


class Access:
    """The grants of a stack. Read again by `renewed` when the files have changed."""

    def __init__(self, folder: Path, server: ServerKeys, grants: tuple[Grant, ...], version: tuple[int, ...]) -> None:
        self.folder = folder
        self.server = server
        local = Grant(
            name="local",
            role="admin",
            token_sha256=sha256_of(server.local_keys.token),
            public_key=server.public_key,
        )
        self.grants = (*grants, local)
        self.public_keys = frozenset(grant.public_key.encode() for grant in self.grants)
        self._by_token = {grant.token_sha256: grant for grant in self.grants}
        self._version = version

    @classmethod
    def read(cls, folder: Path) -> Access:
        """Read the folder that BELIEFD_KEYS names.

        Raises
        ------
        InvalidSetting
            It is not there, damaged, or others may read it.
        """
        version = _version(folder)
        server = read_private(folder / SERVER_FILE, ServerKeys, InvalidSetting, "BELIEFD_KEYS")
        return cls(folder, server, read_grants(folder), version)

    def renewed(self) -> Access | None:
        """What the folder holds now; None where nothing has changed.

        Raises
        ------
        InvalidSetting
        """
        return Access.read(self.folder) if _version(self.folder) != self._version else None

    def grant(self, token: str) -> Grant | None:
        """The grant of whoever shows this token; None for a stranger."""
        return self._by_token.get(sha256_of(token))


def read_grants(folder: Path) -> tuple[Grant, ...]:
    """All grants of the folder, in the order in which they were made.

    Raises
    ------
    InvalidSetting
    """
    return read_private(folder / CLIENTS_FILE, tuple[Grant, ...], InvalidSetting, "BELIEFD_KEYS")


def sha256_of(token: str) -> str:
    return hashlib.sha256(token.encode()).hexdigest()


def _version(folder: Path) -> tuple[int, ...]:
    """Changes whenever one of the files is written anew."""
    try:
        found = [(folder / name).stat() for name in (SERVER_FILE, CLIENTS_FILE)]
    except OSError as error:
        raise InvalidSetting(
            f"no keys can be read here: {error.strerror}; beliefd-keys add makes some",
            field="BELIEFD_KEYS",
            value=str(folder),
        ) from None
    return tuple(number for status in found for number in (status.st_mtime_ns, status.st_ino, status.st_size))
