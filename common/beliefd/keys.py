"""What a client needs for a broker that wants keys: one file, made by ``beliefd-keys`` on the broker's side."""

from __future__ import annotations

import os
import stat
from pathlib import Path
from typing import Annotated, TypeVar

import msgspec

from beliefd_proto.errors import InvalidArgument, InvalidSetting
from beliefd_proto.messages import Name, Text

Z85 = Annotated[str, msgspec.Meta(pattern=r"^[0-9a-zA-Z.\-:+=^!/*?&<>()\[\]{}@%$#]{40}\Z")]
"""A CurveZMQ key of 32 bytes as text (ZeroMQ RFC 32)."""


_Kind = TypeVar("_Kind")


def read_private(
    path: str | os.PathLike[str], kind: type[_Kind], error: type[InvalidArgument] | type[InvalidSetting], field: str
) -> _Kind:
    """Read a JSON file that nobody but its owner may read.

    Raises
    ------
    InvalidArgument, InvalidSetting
        As `error` says: the file is not there, is no such file, or others may read it. It names `field`.
    """
    try:
        with open(path, "rb") as file:
            mode = stat.S_IMODE(os.fstat(file.fileno()).st_mode)
            content = file.read()
    except OSError as failed:
        raise error(f"this file of keys cannot be read: {failed.strerror}", field=field, value=str(path)) from None
    if mode & 0o077:
        raise error(
            "others may read this file of keys; run chmod 600 on it",
            field=field,
            value=f"{path}, mode {mode:04o}",
            allowed="0600",
        )
    try:
        return msgspec.json.decode(content, type=kind)
    except (msgspec.DecodeError, UnicodeDecodeError) as failed:
        # The reason names a field and never its content.
        raise error(
            f"this is no file of keys: {failed}", field=field, value=str(path), allowed="what beliefd-keys wrote"
        ) from None


class Keys(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """Keys of one client.

    Attributes
    ----------
    name : str
        Whom the operator made them for.
    server_key : str
        The broker's public key: no other can pass for it.
    public_key, secret_key : str
        The client's CurveZMQ keys. They encrypt the connection, and the broker lets in those that it knows.
    token : str
        Says which role the client has, at the broker and at the gateway.
    """

    name: Name
    server_key: Z85
    public_key: Z85
    secret_key: Z85
    token: Text

    def __repr__(self) -> str:
        return f"Keys(name={self.name!r})"

    @classmethod
    def read(cls, path: str | os.PathLike[str]) -> Keys:
        """Read a file of keys, which nobody but its owner may read.

        Raises
        ------
        InvalidArgument
            The file is not there, is no such file, or others may read it.
        """
        return read_private(path, cls, InvalidArgument, "keys")

    def write(self, path: str | os.PathLike[str]) -> None:
        """Write a new file that only its owner may read.

        Raises
        ------
        FileExistsError
        """
        with open(os.open(Path(path), os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "wb") as file:
            file.write(msgspec.json.format(msgspec.json.encode(self)))
