"""What `import beliefd` gives, and what it leaves alone."""

import inspect
import subprocess
import sys

import pytest

import beliefd


@pytest.mark.parametrize("name", beliefd.__all__)
def test_every_public_name_is_there_and_says_what_it_is(name):
    thing = getattr(beliefd, name)
    if not isinstance(thing, str):
        assert inspect.getdoc(thing)


@pytest.mark.parametrize("kind", [beliefd.Client, beliefd.Population, beliefd.Model, beliefd.Step, beliefd.Reading])
def test_every_public_method_says_what_it_does(kind):
    for name, member in vars(kind).items():
        if not name.startswith("_") and callable(member):
            assert inspect.getdoc(member), f"{kind.__name__}.{name}"


def test_the_list_is_sorted_and_whole():
    assert sorted(beliefd.__all__) == beliefd.__all__
    public = {name for name, thing in vars(beliefd).items() if not name.startswith("_") and not inspect.ismodule(thing)}
    assert public | {"__version__"} == set(beliefd.__all__)


def test_importing_the_sdk_stays_light():
    """In a fresh interpreter: no compiler, no engine, and none of the server's libraries."""
    code = (
        "import sys, beliefd, beliefd.worlds; "
        "heavy = {'numba', 'llvmlite', 'beliefd.engine', 'structlog', 'fastapi', 'sqlalchemy', 'scipy'}; "
        "print(sorted(heavy & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def test_connecting_needs_no_arguments_beyond_the_environment(monkeypatch):
    monkeypatch.setenv("BELIEFD_ENDPOINT", "nonsense")
    with pytest.raises(beliefd.BeliefdError, match="nonsense"):
        beliefd.connect()
