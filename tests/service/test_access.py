"""The folder of keys: made by beliefd-keys, read by broker and gateway, and by nobody else."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

from beliefd.keys import Keys
from beliefd_proto import Role
from beliefd_proto.errors import InvalidArgument, InvalidSetting
from beliefd_service.access import CLIENTS_FILE, SERVER_FILE, Access
from beliefd_service.keys import add_client


def keys_command(folder, *arguments):
    command = [str(Path(sys.executable).with_name("beliefd-keys")), *arguments]
    return subprocess.run(command, env={"BELIEFD_KEYS": str(folder)}, capture_output=True, text=True, check=False)


@pytest.mark.slow
def test_the_command_makes_shows_and_takes_back(tmp_path):
    folder = tmp_path / "keys"
    for name, role in (("robot", "step"), ("page", "read")):
        done = keys_command(folder, "add", name, "--role", role, "--out", str(tmp_path / f"{name}.key"))
        assert done.returncode == 0, done.stderr
    assert keys_command(folder, "list").stdout.splitlines() == ["robot\tstep", "page\tread"]
    robot = Keys.read(tmp_path / "robot.key")
    access = Access.read(folder)
    assert access.grant(robot.token).level is Role.STEP
    assert robot.public_key.encode() in access.public_keys
    assert robot.server_key == access.server.public_key
    assert keys_command(folder, "revoke", "robot").returncode == 0
    renewed = access.renewed()
    assert renewed.grant(robot.token) is None
    assert robot.public_key.encode() not in renewed.public_keys
    assert renewed.renewed() is None


@pytest.mark.slow
@pytest.mark.parametrize(
    "arguments",
    [
        ("add", "robot"),  # has some
        ("add", "local"),
        ("add", "../up"),
        ("add", "new", "--requests-per-s", "-1"),
        ("add", "new", "--sessions", "0"),
        ("add", "new", "--out", "/nowhere/new.key"),
        ("revoke", "ghost"),
    ],
)
def test_what_the_command_refuses_changes_nothing(tmp_path, arguments):
    folder = tmp_path / "keys"
    add_client(folder, tmp_path / "robot.key", name="robot", role="step")
    before = {path.name: path.read_bytes() for path in folder.iterdir()}
    elsewhere = () if "--out" in arguments or arguments[0] != "add" else ("--out", str(tmp_path / "x.key"))
    done = keys_command(folder, *arguments, *elsewhere)
    assert done.returncode == 1
    assert done.stderr.startswith("beliefd-keys: ")
    assert "Traceback" not in done.stderr
    assert {path.name: path.read_bytes() for path in folder.iterdir()} == before


def test_neither_secrets_nor_modes_leak(tmp_path):
    folder = tmp_path / "keys"
    keys = add_client(folder, tmp_path / "robot.key", name="robot", role="step")
    assert folder.stat().st_mode & 0o777 == 0o700
    assert {path.stat().st_mode & 0o777 for path in folder.iterdir()} == {0o600}
    kept = (folder / CLIENTS_FILE).read_text()
    assert keys.token not in kept
    assert keys.secret_key not in kept
    access = Access.read(folder)
    assert access.server.secret_key not in repr(access.server)
    assert access.grant(access.server.local_keys.token).level is Role.ADMIN
    assert access.grant("") is None


def test_grants_have_quotas(tmp_path):
    keys = add_client(tmp_path, tmp_path / "k", name="robot", role="read", sessions=2, requests_per_s=10.0)
    grant = Access.read(tmp_path).grant(keys.token)
    assert (grant.sessions, grant.requests_per_s, grant.agents_per_s) == (2, 10.0, None)


@pytest.mark.parametrize("name", [SERVER_FILE, CLIENTS_FILE])
@pytest.mark.parametrize("harm", ["mode", "cut", "gone", "field"])
def test_a_harmed_folder_is_refused(tmp_path, name, harm):
    folder = tmp_path / "keys"
    add_client(folder, tmp_path / "robot.key", name="robot", role="step")
    path = folder / name
    match harm:
        case "mode":
            path.chmod(0o644)
        case "cut":
            path.write_bytes(path.read_bytes()[:-10])
        case "gone":
            path.unlink()
        case "field":
            path.write_text(json.dumps([{"role": "root"}]))
    with pytest.raises(InvalidSetting) as caught:
        Access.read(folder)
    assert caught.value.field == "BELIEFD_KEYS"


def test_a_client_whose_file_cannot_be_written_gets_no_grant(tmp_path):
    (tmp_path / "there").write_text("")
    with pytest.raises(InvalidArgument, match="cannot write"):
        add_client(tmp_path / "keys", tmp_path / "there", name="robot", role="step")
    assert [grant.name for grant in Access.read(tmp_path / "keys").grants] == ["local"]
