"""A client's file of keys: only its owner may read it, and its content is checked and not shown."""

import msgspec
import pytest
import zmq

import beliefd
from beliefd.keys import Keys
from beliefd_proto.errors import InvalidArgument

PUBLIC, SECRET = (key.decode() for key in zmq.curve_keypair())
KEYS = Keys(name="robot", server_key=PUBLIC, public_key=PUBLIC, secret_key=SECRET, token="hush")


def test_what_is_written_is_read_and_is_its_owners(tmp_path):
    path = tmp_path / "robot.key"
    KEYS.write(path)
    assert path.stat().st_mode & 0o777 == 0o600
    assert Keys.read(path) == KEYS
    with pytest.raises(FileExistsError):
        KEYS.write(path)


@pytest.mark.parametrize("mode", [0o640, 0o604, 0o620, 0o602])
def test_a_file_that_others_can_reach_is_refused(tmp_path, mode):
    path = tmp_path / "robot.key"
    KEYS.write(path)
    path.chmod(mode)
    with pytest.raises(InvalidArgument, match="chmod 600"):
        beliefd.connect("unix:///nowhere", keys=path)


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"\xff\xfe",
        b"[]",
        b"{" * 5000,
        msgspec.json.encode({"name": "robot"}),
        msgspec.json.encode({**msgspec.structs.asdict(KEYS), "secret_key": "~" * 40}),
        msgspec.json.encode({**msgspec.structs.asdict(KEYS), "more": 1}),
    ],
)
def test_a_file_that_is_none_is_refused(tmp_path, content):
    path = tmp_path / "robot.key"
    path.write_bytes(content)
    path.chmod(0o600)
    with pytest.raises(InvalidArgument) as caught:
        Keys.read(path)
    assert caught.value.field == "keys"


def test_a_missing_file_is_told_of(tmp_path, monkeypatch):
    monkeypatch.setenv("BELIEFD_CLIENT_KEY", str(tmp_path / "none"))
    with pytest.raises(InvalidArgument, match="none"):
        beliefd.connect("unix:///nowhere")


def test_secrets_are_not_shown():
    assert SECRET not in repr(KEYS)
    assert "hush" not in repr(KEYS)
