"""``beliefd-keys``: makes the keys of a stack and of its clients, shows who has some, and takes them back.

A running broker and gateway follow within a second.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import secrets
from collections.abc import Iterator
from enum import StrEnum
from pathlib import Path
from typing import Annotated, Any

import msgspec
import typer
import zmq

from beliefd.keys import Keys
from beliefd_proto.errors import BeliefdError, InvalidArgument
from beliefd_service.access import CLIENTS_FILE, SERVER_FILE, Access, Grant, ServerKeys, read_grants, sha256_of

_commands = typer.Typer(add_completion=False, no_args_is_help=True, help=__doc__, pretty_exceptions_enable=False)
_Folder = Annotated[
    Path, typer.Option("--folder", envvar="BELIEFD_KEYS", help="The server's folder of keys; made where it is missing.")
]
_Limit = Annotated[float | None, typer.Option(help="A bound; none by default.")]


class _Role(StrEnum):
    READ = "read"
    STEP = "step"
    ADMIN = "admin"


@_commands.command()
def add(
    name: str,
    folder: _Folder,
    role: Annotated[_Role, typer.Option(help="Each may do what those before it may.")] = _Role.STEP,
    out: Annotated[Path | None, typer.Option(help="The client's file. Default: NAME.key")] = None,
    sessions: Annotated[int | None, typer.Option(help="Sessions at once; none by default.")] = None,
    requests_per_s: _Limit = None,
    agents_per_s: _Limit = None,
) -> None:
    """Make the keys of a client. Give it the file over a safe way: whoever has it is that client."""
    file = out or Path(f"{name}.key")
    with _told():
        keys = add_client(
            folder,
            file,
            name=name,
            role=role.value,
            sessions=sessions,
            requests_per_s=requests_per_s,
            agents_per_s=agents_per_s,
        )
    typer.echo(f"{file}: {keys.name} has the role {role.value}")


@_commands.command("list")
def show(folder: _Folder) -> None:
    """Show who has keys, and which role."""
    with _told():
        for grant in read_grants(folder):
            bounds = [f"{field} {bound:g}" for field in _BOUNDS if (bound := getattr(grant, field)) is not None]
            typer.echo("\t".join([grant.name, grant.role, *bounds]))


@_commands.command()
def revoke(name: str, folder: _Folder) -> None:
    """Take a client's keys back. Its sessions end within a second."""
    with _told(), _changing(folder):
        grants = read_grants(folder)
        kept = [grant for grant in grants if grant.name != name]
        if len(kept) == len(grants):
            raise InvalidArgument(
                "nobody of this name has keys", field="name", value=name, allowed=", ".join(g.name for g in grants)
            )
        _write(folder / CLIENTS_FILE, kept)
    typer.echo(f"{name} has no keys any more")


_BOUNDS = ("sessions", "requests_per_s", "agents_per_s")


def add_client(folder: Path, file: Path, *, name: str, role: str, **bounds: float | None) -> Keys:
    """Make the keys of a client, and those of the server where there are none, and write them.

    Raises
    ------
    InvalidArgument
        Somebody of this name has keys, the file is there already, or the name or a bound is not usable.
    InvalidSetting
        The folder is damaged.
    """
    with _changing(folder):
        if not (folder / SERVER_FILE).exists():
            public, secret = zmq.curve_keypair()
            _write(folder / CLIENTS_FILE, [])
            _write(folder / SERVER_FILE, ServerKeys(public.decode(), secret.decode()))
        access, grants = Access.read(folder), read_grants(folder)
        if name == "local" or any(grant.name == name for grant in grants):
            raise InvalidArgument("somebody of this name has keys; revoke them, or choose another", field="name")
        public, secret = zmq.curve_keypair()
        keys = Keys(
            name=name,
            server_key=access.server.public_key,
            public_key=public.decode(),
            secret_key=secret.decode(),
            token=secrets.token_urlsafe(32),
        )
        asked: dict[str, Any] = {
            "name": name,
            "role": role,
            "token_sha256": sha256_of(keys.token),
            "public_key": keys.public_key,
            **bounds,
        }
        try:
            grant = msgspec.convert(asked, Grant)
        except msgspec.ValidationError as error:
            raise InvalidArgument(f"no keys were made: {error}", field="name", value=name) from None
        try:
            keys.write(file)
        except OSError as error:
            raise InvalidArgument(f"cannot write this file: {error.strerror}", field="out", value=str(file)) from None
        _write(folder / CLIENTS_FILE, [*grants, grant])
        return keys


@contextlib.contextmanager
def _changing(folder: Path) -> Iterator[None]:
    """Hold the folder against another who changes it at the same time."""
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    fd = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        fcntl.flock(fd, fcntl.LOCK_EX)
        yield
    finally:
        os.close(fd)


def _write(path: Path, content: Any) -> None:
    """Replace a file at once, so that who reads meanwhile sees the old or the new one."""
    new = path.with_suffix(".new")
    new.unlink(missing_ok=True)
    with open(os.open(new, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "wb") as file:
        file.write(msgspec.json.format(msgspec.json.encode(content)))
        file.flush()
        os.fsync(file.fileno())
    os.replace(new, path)


@contextlib.contextmanager
def _told() -> Iterator[None]:
    """End with the error's one line where something is wrong."""
    try:
        yield
    except BeliefdError as error:
        typer.echo(f"beliefd-keys: {error}", err=True)
        raise typer.Exit(1) from None


def main() -> None:
    _commands()


if __name__ == "__main__":
    main()
