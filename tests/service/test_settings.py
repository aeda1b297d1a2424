"""Settings: defaults that work, and refusals that name the variable, its value and what is allowed."""

import contextlib
import re
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

import beliefd_service.settings
from beliefd_proto.errors import InvalidSetting
from beliefd_proto.messages import Limits
from beliefd_service.settings import Settings


def test_nothing_set_is_a_stack_in_var(monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)
    settings = Settings.from_environment({})
    assert settings.data == tmp_path / "var"
    assert settings.endpoint == "tcp://127.0.0.1:5757"
    assert (settings.http_host, settings.http_port) == ("127.0.0.1", 8757)
    assert settings.database == f"sqlite+aiosqlite:///{tmp_path}/var/gateway.db"
    assert (settings.gateway_threads, settings.awake_ms, settings.log_level) == (20, 2, "info")
    assert settings.limits == Limits()
    assert settings.client_socket == tmp_path / "var" / "run" / "beliefd.sock"
    folders = (settings.run, settings.leases, settings.events, settings.models, settings.populations)
    assert all(folder.is_relative_to(settings.data) for folder in folders)


def test_an_empty_variable_is_one_that_is_not_set():
    names = ("DATA", "ENDPOINT", "HTTP", "DATABASE", "GATEWAY_THREADS", "WORKER_MEMORY", "WORKER_BATCHES", "LOG_LEVEL")
    assert Settings.from_environment({f"BELIEFD_{name}": "" for name in names}) == Settings.from_environment({})


def test_what_is_set_is_taken():
    settings = Settings.from_environment(
        {
            "BELIEFD_DATA": "/d",
            "BELIEFD_ENDPOINT": "tcp://localhost:1",
            "BELIEFD_HTTP": "[::1]:0",
            "BELIEFD_DATABASE": "sqlite+aiosqlite:////d/x.db",
            "BELIEFD_GATEWAY_THREADS": "256",
            "BELIEFD_WORKER_MEMORY": "64",
            "BELIEFD_WORKER_BATCHES": "1000",
            "BELIEFD_FRAME": "2",
            "BELIEFD_OPEN": "3",
            "BELIEFD_POPULATIONS": "4",
            "BELIEFD_AGENTS": "5",
            "BELIEFD_POLICIES": "6",
            "BELIEFD_AWAKE": "0",
            "BELIEFD_LOG_LEVEL": "debug",
        }
    )
    assert settings.limits == Limits(
        frame_bytes=2 * 2**20, open_bytes=3 * 2**20, populations=4, population_agents=5, policies=6
    )
    assert (settings.worker_memory_bytes, settings.worker_batches) == (64 * 2**20, 1000)
    assert settings.data == Path("/d")
    assert settings.endpoint == "tcp://localhost:1"
    assert (settings.http_host, settings.http_port) == ("::1", 0)
    assert settings.database == "sqlite+aiosqlite:////d/x.db"
    assert (settings.gateway_threads, settings.awake_ms, settings.log_level) == (256, 0, "debug")


REFUSED = {
    "BELIEFD_DATA": ["/" + "x" * 92],
    "BELIEFD_ENDPOINT": [
        "nonsense",
        "5757",
        "ipc:///tmp/x",
        "tcp://127.0.0.1",
        "tcp://127.0.0.1:",
        "tcp://:5757",
        "tcp://127.0.0.1:x",
        "tcp://127.0.0.1:70000",
        "tcp://127.0.0.1:-1",
        "tcp://127.0.0.1:5757/",
        "tcp://127.0.0.1:5757?x",
        "tcp://127.0.0.1:5757#x",
        "tcp://me@127.0.0.1:5757",
        "tcp://[::1",
        "tcp://*:5757",
        "tcp://0.0.0.0:5757",
        "tcp://192.168.0.1:5757",
        "tcp://example.org:5757",
        " tcp://127.0.0.1:5757",
    ],
    "BELIEFD_HTTP": [
        "8757",
        "127.0.0.1",
        "127.0.0.1:",
        "127.0.0.1:x",
        "127.0.0.1:70000",
        "0.0.0.0:80",
        "example.org:80",
    ],
    "BELIEFD_GATEWAY_THREADS": ["0", "257", "-1", "many", "2.5", "9" * 5000],
    "BELIEFD_FRAME": ["0", "257"],
    "BELIEFD_OPEN": ["0", "1.5"],
    "BELIEFD_POPULATIONS": ["0", "x"],
    "BELIEFD_AGENTS": ["0", str(2**32 + 1)],
    "BELIEFD_POLICIES": ["0", "1000001"],
    "BELIEFD_AWAKE": ["-1", "60001", "0.5"],
    "BELIEFD_LOG_LEVEL": ["loud", "INFO", "0"],
}


@pytest.mark.parametrize(("name", "value"), [(name, value) for name, values in REFUSED.items() for value in values])
def test_refusals(name, value):
    with pytest.raises(InvalidSetting) as caught:
        Settings.from_environment({name: value})
    error = caught.value
    assert error.field == name
    assert error.value is not None
    assert str(error.value) in value
    assert error.allowed


@given(st.sampled_from(sorted(set(REFUSED) - {"BELIEFD_DATA"})), st.text(max_size=40))
def test_any_text_is_taken_or_refused(name, value):
    with contextlib.suppress(InvalidSetting):
        assert Settings.from_environment({name: value}).http_port in range(65536)


def test_the_longest_folder_that_a_socket_can_have():
    longest = "/" + "x" * (107 - len("/run/workers.sock") - 1)
    assert Settings.from_environment({"BELIEFD_DATA": longest}).data == Path(longest)
    with pytest.raises(InvalidSetting, match="107"):
        Settings.from_environment({"BELIEFD_DATA": longest + "x"})


def test_every_variable_is_listed():
    checkout = Path(__file__).parents[2]
    files = [path for part in ("common", "services") for path in (checkout / part).rglob("*.py")]
    files += [checkout / "scripts" / name for name in ("setup", "test", "demo", "bench")]
    named = {name for path in files for name in re.findall(r"BELIEFD_[A-Z]+(?:_[A-Z]+)*", path.read_text())}
    assert named == set(re.findall(r"^(BELIEFD_\w+)", beliefd_service.settings.__doc__, re.MULTILINE))
