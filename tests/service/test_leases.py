"""A lease is held by one process and free with its death, however it dies."""

import os
import subprocess
import sys

import pytest

from beliefd_proto.errors import FolderLocked, FolderNotUsable
from beliefd_service.leases import Lease, held_leases
from beliefd_service.process import ProcessIdentity, boot_id, start_time

HOLD = """\
import sys
from pathlib import Path
from beliefd_service.leases import Lease
with Lease(Path(sys.argv[1]), "worker_00"):
    print("held", flush=True)
    sys.stdin.read()
"""


@pytest.fixture
def holder(tmp_path):
    """A real process that holds worker_00."""
    process = subprocess.Popen(
        [sys.executable, "-c", HOLD, str(tmp_path)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    assert process.stdout.readline() == "held\n"
    yield process
    process.kill()
    process.communicate()


def test_a_holder_is_seen_and_known(tmp_path, holder):
    expected = ProcessIdentity(holder.pid, start_time(holder.pid), boot_id())
    assert dict(held_leases(tmp_path)) == {"worker_00": expected}


def test_a_second_one_is_refused_and_told_who_holds_it(tmp_path, holder):
    with pytest.raises(FolderLocked) as caught:
        Lease(tmp_path, "worker_00")
    assert str(holder.pid) in caught.value.value
    with Lease(tmp_path, "worker_01"):
        assert set(dict(held_leases(tmp_path))) == {"worker_00", "worker_01"}


def test_a_killed_holder_leaves_the_lease_free(tmp_path, holder):
    holder.kill()
    holder.wait()
    assert list(held_leases(tmp_path)) == []
    with Lease(tmp_path, "worker_00"):
        assert dict(held_leases(tmp_path)) == {"worker_00": ProcessIdentity.own()}
    assert list(held_leases(tmp_path)) == []


@pytest.mark.parametrize("content", [b"", b"{", b'{"pid": "x"}', b"\xff"])
def test_a_holder_that_has_not_written_its_name_is_still_a_holder(tmp_path, content):
    with Lease(tmp_path, "worker_00") as lease:
        lease.path.write_bytes(content)
        assert dict(held_leases(tmp_path)) == {"worker_00": None}
        with pytest.raises(FolderLocked):
            Lease(tmp_path, "worker_00")


def test_looking_and_being_refused_leak_nothing(tmp_path, holder):
    def look():
        list(held_leases(tmp_path))
        with pytest.raises(FolderLocked):
            Lease(tmp_path, "worker_00")
        return len(os.listdir("/proc/self/fd"))

    assert look() == look()


def test_a_folder_that_cannot_be_is_an_error_of_the_tree(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(FolderNotUsable):
        Lease(tmp_path / "file" / "leases", "worker_00")
