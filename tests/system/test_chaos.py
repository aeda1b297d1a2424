"""A short run of scripts/chaos: a fault of each kind that passes quickly, and nothing clients were told is wrong."""

import json
import subprocess

import pytest

from beliefd_service.stack import CHECKOUT

KINDS = (
    "worker killed",
    "worker stopped",
    "stub killed",
    "broker killed",
    "broker stopped",
    "broker killed beside a stopped worker",
    "client killed",
    "connections cut",
    "connections silent",
    "disk full",
    "folder read-only",
    "time of day stepped",
    "machine restarted",
)


@pytest.mark.system
def test_a_fault_of_each_kind(tmp_path):
    found_file = tmp_path / "found.json"
    command = [CHECKOUT / "scripts" / "chaos", "--faults", str(len(KINDS)), "--seed", "7", "--kinds", ";".join(KINDS)]
    done = subprocess.run(
        # How long a client waits is the machine's matter here; a run of its own is held to it.
        [*command, "--patient", "--json", found_file],
        capture_output=True,
        text=True,
        timeout=400,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    found = json.loads(found_file.read_text())
    assert found["violations"] == []
    assert found["faults"] == len(KINDS)
    assert set(found["kinds"]) == set(KINDS) - (set() if found["mounts"] else {"disk full", "folder read-only"})
    for herd in found["herds"].values():
        assert herd["steps"] > 0
