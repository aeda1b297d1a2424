"""What a client may do, and what each command asks of it."""

from __future__ import annotations

import enum

from beliefd_proto.commands import Command


class Role(enum.IntEnum):
    """Each role may do what those before it may."""

    READ = 1
    STEP = 2
    ADMIN = 3

    @property
    def text(self) -> str:
        return self.name.lower()


ROLES: dict[str, Role] = {role.text: role for role in Role}
"""Every role by the name that people write."""

_NEEDED = {
    Command.HELLO: Role.READ,
    Command.PING: Role.READ,
    Command.CANCEL: Role.READ,
    Command.ATTACH: Role.READ,
    Command.LIST: Role.READ,
    Command.READ: Role.READ,
    Command.PARAMETERS: Role.READ,
    Command.STATUS: Role.READ,
    Command.STEP: Role.STEP,
}


def needed(command: Command) -> Role:
    """The least role that may ask for this; the highest for whatever is not named here."""
    return _NEEDED.get(command, Role.ADMIN)
