"""A folder made ready for supervisord: several of them side by side, and made twice without harm."""

import configparser
import os
import re
import socket
import subprocess
import sys

import pytest

from beliefd_proto.errors import StartupError
from beliefd_service.stack import CHECKOUT, Stack, free_port, make_stack


def workers(folder):
    config = configparser.RawConfigParser()
    config.read(folder / "var" / "supervisor" / "workers.conf")
    return int(config["program:worker"]["numprocs"])


def test_a_folder_has_what_supervisord_needs(tmp_path):
    make_stack(tmp_path, 3)
    assert (tmp_path / "supervisord.conf").read_text() == (CHECKOUT / "supervisord.conf").read_text()
    assert (tmp_path / ".venv").resolve() == (CHECKOUT / ".venv").resolve()
    assert workers(tmp_path) == 3
    for part in ("run", "log", "supervisor"):
        assert (tmp_path / "var" / part).stat().st_mode & 0o777 == 0o700


def test_made_again_it_keeps_what_is_there_but_the_number_of_workers(tmp_path):
    make_stack(tmp_path)
    assert workers(tmp_path) == os.cpu_count()
    (tmp_path / "var" / "population").write_text("kept")
    make_stack(tmp_path, 1)
    assert workers(tmp_path) == 1
    assert (tmp_path / "var" / "population").read_text() == "kept"


def test_a_choice_of_workers_stays(tmp_path):
    make_stack(tmp_path, 7)
    path = tmp_path / "var" / "supervisor" / "workers.conf"
    path.write_text(path.read_text().replace("stopwaitsecs = 15", "stopwaitsecs = 99"))
    for folder in ("log", "run"):
        (tmp_path / "var" / folder).rmdir()
    make_stack(tmp_path)
    assert workers(tmp_path) == 7
    assert "stopwaitsecs = 99" in path.read_text()
    assert (tmp_path / "var" / "log").is_dir()
    assert (tmp_path / "var" / "run").is_dir()


def test_what_was_written_for_another_checkout_is_written_anew(tmp_path):
    make_stack(tmp_path, 7)
    path = tmp_path / "var" / "supervisor" / "workers.conf"
    right = path.read_text()
    path.write_text(re.sub("-S .*stub.py", '-S "/elsewhere/services/beliefd_worker/stub.py"', right))
    make_stack(tmp_path)
    assert path.read_text() == right


def test_workers_run_the_code_of_the_environment_of_their_folder(tmp_path):
    """Nothing in the folder names the place of the checkout but the link to its environment."""
    make_stack(tmp_path)
    config = configparser.RawConfigParser()
    config.read(tmp_path / "var" / "supervisor" / "workers.conf")
    command = config["program:worker"]["command"].replace("%(here)s", str(tmp_path / "var" / "supervisor"))
    assert str(CHECKOUT) not in command
    python, stub = (part for part in command.split() if part.startswith("/"))
    assert os.path.samefile(python, CHECKOUT / ".venv" / "bin" / "python")
    assert os.path.samefile(stub, CHECKOUT / "services" / "beliefd_worker" / "stub.py")


def test_from_the_command_line(tmp_path):
    subprocess.run([sys.executable, "-m", "beliefd_service.stack", str(tmp_path / "new"), "5"], check=True)
    assert workers(tmp_path / "new") == 5


def test_stacks_have_endpoints_of_their_own_and_inherit_no_setting(tmp_path, monkeypatch):
    monkeypatch.setenv("BELIEFD_LOG_LEVEL", "loud")
    first, second = Stack(tmp_path / "a"), Stack(tmp_path / "b", environment={"BELIEFD_LOG_LEVEL": "debug"})
    assert len({first.endpoint, second.endpoint, first.http, second.http}) == 4
    assert "BELIEFD_LOG_LEVEL" not in first.environment
    assert second.environment["BELIEFD_LOG_LEVEL"] == "debug"
    assert first.environment["BELIEFD_DATA"] == str(tmp_path / "a" / "var") == str(first.data)
    assert first.environment["PATH"] == os.environ["PATH"]


def test_a_free_port_can_be_listened_on():
    with socket.create_server(("127.0.0.1", free_port())):
        pass


@pytest.mark.slow
def test_a_stack_that_does_not_come_up_shows_its_logs(tmp_path):
    stack = Stack(tmp_path)
    (stack.data / "log" / "broker.log").write_text("one\nthe last words of the broker\n")
    with pytest.raises(StartupError, match="the last words of the broker"):
        stack.wait_ready(1, timeout_s=0.1)
    stack.stop()


def test_every_log_is_bounded(tmp_path):
    make_stack(tmp_path, 2)
    config = configparser.RawConfigParser()
    config.read([tmp_path / "supervisord.conf", tmp_path / "var" / "supervisor" / "workers.conf"])
    programs = [config[name] for name in config.sections() if name.startswith("program:")]
    assert len(programs) >= 4
    for program in programs:
        assert program["redirect_stderr"] == "true"
        assert (program["stdout_logfile_maxbytes"], program["stdout_logfile_backups"]) == ("10MB", "3")
    assert (config["supervisord"]["logfile_maxbytes"], config["supervisord"]["logfile_backups"]) == ("10MB", "3")
