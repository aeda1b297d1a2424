"""Which files make a preloader stale."""

import importlib.util
import os
import sys
import time

import pytest

from beliefd_worker.loadedfiles import changed, loaded_files


@pytest.fixture
def module(tmp_path):
    """A module of this process, in a file of the test's own that is older than the process."""
    path = tmp_path / "loaded_by_a_test.py"
    path.write_text("x = 1\n")
    os.utime(path, (1e9, 1e9))
    spec = importlib.util.spec_from_file_location("loaded_by_a_test", path)
    sys.modules["loaded_by_a_test"] = importlib.util.module_from_spec(spec)
    yield path
    del sys.modules["loaded_by_a_test"]


def test_nothing_has_changed_until_something_has(module):
    files = loaded_files(time.time())
    assert changed(files) is None
    module.write_text("x = 2\n")
    assert changed(files) == str(module)


def test_the_same_size_and_time_in_another_file_is_a_change(module):
    files = loaded_files(time.time())
    other = module.with_suffix(".new")
    other.write_text("x = 3\n")
    os.utime(other, (1e9, 1e9))
    os.replace(other, module)
    assert changed(files) == str(module)


def test_a_file_that_is_gone_has_changed(module):
    files = loaded_files(time.time())
    module.unlink()
    assert changed(files) == str(module)


def test_what_changed_while_it_was_loaded_counts_as_changed(module):
    since_s = time.time() - 100
    os.utime(module, (since_s + 50, since_s + 50))
    assert changed(loaded_files(since_s)) == str(module)
