"""One real stack for all system tests that leave it running; a test that breaks more starts its own."""

import tempfile
from pathlib import Path

import pytest

import beliefd
from beliefd_service.stack import Stack


@pytest.fixture(scope="session")
def stack():
    """A stack with two workers under supervisord, in a folder of its own with a short path, as sockets need."""
    with tempfile.TemporaryDirectory(prefix="bd-") as folder, Stack(Path(folder), workers=2) as running:
        yield running


@pytest.fixture
def client(stack):
    with beliefd.connect(stack.endpoint) as connected:
        yield connected


@pytest.fixture
def name(request):
    """A population name that no other test uses."""
    return f"{request.node.name.replace('[', '.').replace(']', '')}"[:120]


@pytest.fixture
def own_stack(request):
    """A stack for this test alone."""
    workers = getattr(request, "param", 2)
    with tempfile.TemporaryDirectory(prefix="bd-") as folder, Stack(Path(folder), workers=workers) as running:
        yield running
