"""Nothing that beliefd reads can make it run code: no pickle, no marshal, no YAML, no eval, in any of its sources.

The compiled kernels that numba keeps are the exception: pickled, in a folder that only its user may write, of which
tests/engine/test_jit.py is the test.
"""

import ast
from pathlib import Path

import pytest

CHECKOUT = Path(__file__).parents[2]
SOURCES = sorted(path for part in ("proto", "common", "services") for path in (CHECKOUT / part).rglob("*.py"))
MODULES = {"pickle", "cPickle", "_pickle", "marshal", "shelve", "dill", "cloudpickle", "joblib", "yaml", "dbm", "runpy"}
CALLS = {"eval", "exec", "compile", "__import__"}


def offences(source):
    """What of a source could read code: as (line, what)."""
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import):
            for alias in node.names:
                if alias.name.partition(".")[0] in MODULES:
                    yield node.lineno, alias.name
        elif isinstance(node, ast.ImportFrom) and (node.module or "").partition(".")[0] in MODULES:
            yield node.lineno, node.module
        elif isinstance(node, ast.Call):
            yield from _call(node)


def _call(node):
    name = node.func.attr if isinstance(node.func, ast.Attribute) else getattr(node.func, "id", "")
    if name in CALLS and isinstance(node.func, ast.Name):
        yield node.lineno, name
    told = {keyword.arg: keyword.value for keyword in node.keywords}
    owner = getattr(getattr(node.func, "value", None), "id", "")
    loads = name == "load" and owner in ("np", "numpy")
    if loads or name in ("savez", "savez_compressed", "open_memmap"):
        allowed = told.get("allow_pickle")
        if not (isinstance(allowed, ast.Constant) and allowed.value is False):
            yield node.lineno, f"{name} without allow_pickle=False"
    if name in ("recv_pyobj", "send_pyobj"):
        yield node.lineno, name
    if name in ("fromfile", "loadtxt", "genfromtxt") and owner in ("np", "numpy"):
        yield node.lineno, name


@pytest.mark.parametrize("path", SOURCES, ids=[str(path.relative_to(CHECKOUT)) for path in SOURCES])
def test_no_source_reads_code(path):
    assert list(offences(path.read_text())) == []


@pytest.mark.parametrize(
    "source",
    [
        "import pickle",
        "import os, marshal",
        "from shelve import open",
        "from yaml.loader import SafeLoader",
        "np.load(path)",
        "numpy.load(path, allow_pickle=True)",
        "np.savez(path, a=a)",
        "socket.recv_pyobj()",
        "eval(text)",
    ],
)
def test_each_of_these_would_be_found(source):
    assert list(offences(source))


@pytest.mark.parametrize("source", ["np.load(f, allow_pickle=False)", "re.compile(x)", "self.load(a)", "import json"])
def test_none_of_these_is_an_offence(source):
    assert not list(offences(source))
