"""How a process of a stack begins and ends: exit codes, one clear line, signals as a descriptor, folders."""

import json
import os
import resource
import signal
import stat
import subprocess
import sys

import pytest
import structlog

from beliefd_proto.errors import FolderNotUsable, InvalidSetting
from beliefd_service import lifecycle, logging
from beliefd_service.lifecycle import EXIT_CANNOT_START, EXIT_FAILED, make_folders, run
from beliefd_service.settings import Settings


@pytest.fixture(autouse=True)
def as_before():
    """What a process sets up for itself alone."""
    mask = os.umask(0o022)
    cores = resource.getrlimit(resource.RLIMIT_CORE)
    resource.setrlimit(resource.RLIMIT_CORE, (cores[1], cores[1]))
    handlers = {number: signal.getsignal(number) for number in (signal.SIGTERM, signal.SIGINT)}
    yield
    os.umask(mask)
    resource.setrlimit(resource.RLIMIT_CORE, cores)
    for number, handler in handlers.items():
        signal.signal(number, handler)
    structlog.reset_defaults()


def refuse(settings, logger):
    raise InvalidSetting("not this one", field="BELIEFD_X", value="y")


def fail(settings, logger):
    password = "secret of a local variable"
    raise ZeroDivisionError(len(password))


def lines(capsys):
    out, err = capsys.readouterr()
    assert out == ""
    return [json.loads(line) for line in err.splitlines()]


def test_an_orderly_end(capsys):
    seen = []
    assert run("me", lambda settings, logger: seen.append(settings)) == 0
    assert seen == [Settings.from_environment({})]
    assert [line["event"] for line in lines(capsys)] == ["ended"]
    assert os.umask(0) == 0o077
    assert resource.getrlimit(resource.RLIMIT_CORE)[0] == 0


def test_what_the_tree_knows_is_one_line_and_78(capsys):
    assert run("me", refuse) == EXIT_CANNOT_START == 78
    (line,) = lines(capsys)
    assert (line["event"], line["level"], line["process"], line["code"]) == (
        "cannot_run",
        "error",
        "me",
        "invalid_setting",
    )
    assert line["reason"] == "BELIEFD_X: not this one (got 'y')"


def test_any_other_failure_is_the_whole_story_without_locals_and_70(capsys):
    assert run("me", fail) == EXIT_FAILED == 70
    (line,) = lines(capsys)
    assert line["event"] == "failed"
    (told,) = line["exception"]
    assert told["exc_type"] == "ZeroDivisionError"
    assert told["frames"][-1]["name"] == "fail"
    assert "secret" not in json.dumps(line)


def test_a_bad_setting_is_told_before_there_is_a_log(capsys, monkeypatch):
    monkeypatch.setenv("BELIEFD_LOG_LEVEL", "loud")
    assert run("me", fail) == EXIT_CANNOT_START
    out, err = capsys.readouterr()
    assert out == ""
    assert err.startswith("me: invalid_setting: BELIEFD_LOG_LEVEL: ")
    assert err.count("\n") == 1


def test_an_event_is_one_json_line_with_time_level_and_what_was_bound(capsys):
    logger = logging.configure("me", "info").bind(population="mice")
    logger.debug("unheard")
    logger.warning("two\nlines", count=3, path=object)
    (line,) = lines(capsys)
    assert line["event"] == "two\nlines"
    assert (line["level"], line["process"], line["population"], line["count"]) == ("warning", "me", "mice", 3)
    assert line["timestamp"].endswith("Z")


def test_signals_are_a_descriptor_that_becomes_readable():
    stop = lifecycle.StopSignal()
    assert not stop.requested
    for number in (signal.SIGTERM, signal.SIGINT):
        os.kill(os.getpid(), number)
        assert stop.requested
        assert not stop.requested
    assert not os.get_inheritable(stop.fd)


def test_folders_are_made_for_their_owner_alone_and_what_is_there_stays(tmp_path):
    settings = Settings.from_environment({"BELIEFD_DATA": str(tmp_path / "a" / "var")})
    make_folders(settings)
    (settings.models / "kept").write_text("")
    make_folders(settings)
    assert (settings.models / "kept").exists()
    for folder in (settings.run, settings.leases, settings.models, settings.populations):
        assert stat.S_IMODE(folder.stat().st_mode) == 0o700


@pytest.mark.parametrize("place", ["", "var", "var/run", "var/run/leases", "var/populations"])
def test_a_file_where_a_folder_should_be_is_named(tmp_path, place):
    path = tmp_path / "data" / place
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("")
    with pytest.raises(FolderNotUsable) as caught:
        make_folders(Settings.from_environment({"BELIEFD_DATA": str(tmp_path / "data" / "var")}))
    assert caught.value.field == "BELIEFD_DATA"
    assert str(tmp_path / "data") in caught.value.value


def test_a_folder_that_others_own_is_named(tmp_path):
    """As a user who may not write there: root may write anywhere."""
    if os.getuid():
        pytest.skip("only root can start a process as another user")
    code = (
        "import os, sys\n"
        "from beliefd_service.lifecycle import make_folders, run\n"
        "import encodings.idna\n"
        "os.setgid(65534), os.setuid(65534)\n"
        "sys.exit(run('me', lambda settings, logger: make_folders(settings)))\n"
    )
    tmp_path.chmod(0o755)
    environment = {"BELIEFD_DATA": str(tmp_path)}
    done = subprocess.run([sys.executable, "-c", code], env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == EXIT_CANNOT_START, done.stderr
    (line,) = done.stderr.splitlines()
    assert json.loads(line)["code"] == "folder_not_usable"


def test_a_read_only_file_system_is_named_as_what_it_is(tmp_path):
    if os.getuid():
        pytest.skip("only root can mount")
    mounted = subprocess.run(["mount", "-t", "tmpfs", "-o", "ro", "tmpfs", str(tmp_path)], capture_output=True)
    if mounted.returncode:
        why = f"a file system cannot be mounted here: {mounted.stderr.decode().strip()}"
        pytest.fail(why) if os.environ.get("CI") else pytest.skip(why)
    try:
        with pytest.raises(FolderNotUsable, match="read-only"):
            make_folders(Settings.from_environment({"BELIEFD_DATA": str(tmp_path)}))
    finally:
        subprocess.run(["umount", "--lazy", str(tmp_path)], check=True)
