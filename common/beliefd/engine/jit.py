"""The one JIT policy of the project: how kernels are compiled, cached and named.

An entry point is declared with `kernel` and its argument types, where ``real`` stands for the model's dtype. It is
compiled by `prepare`, once for each dtype, and never afterwards: a call whose arguments fit no declared type is a
TypeError, not a compilation. Input arrays are declared ``const``, so a read-only buffer and a writeable one are the
same type to a kernel.

Bits: of the fast-math flags only those are on under which the result of one lane does not depend on how its
neighbours are vectorised. ``reassoc`` and ``arcp`` would break that. ``nnan`` and ``ninf`` oblige every kernel to
work without NaN and infinity, also as the start value of a maximum.

Memory: kernels work in arrays that they are given. So numba need not count who holds them, which it does by atomic
instructions wherever one is passed on. What makes an array of its own says so by `allocating`.

The machine code is cached in a folder named by `fingerprint`, because numba's own cache does not see changes in the
other source files that an entry point includes. Whatever has the same sources shares it, wherever they stand.
"""

from __future__ import annotations

import fcntl
import functools
import hashlib
import importlib
import os
import stat
import tempfile
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import llvmlite
import numba
import numpy as np
from llvmlite import binding
from numba import extending, types
from numba.core import config as numba_config
from numba.core.caching import UserProvidedCacheLocator

_OPTIONS: Any = {"fastmath": {"contract", "nnan", "ninf", "nsz"}, "error_model": "numpy", "nogil": True, "_nrt": False}
_ALLOCATING: Any = {**_OPTIONS, "_nrt": True}
_KERNEL_MODULES = ("kernels",)
_SCALARS = {
    "int8": types.int8,
    "uint8": types.uint8,
    "int32": types.int32,
    "int64": types.int64,
    "uint64": types.uint64,
}
_REALS = {"float32": types.float32, "float64": types.float64}

_kernels: dict[str, tuple[Any, tuple[str, ...]]] = {}
_prepared: set[str] = set()
# Guards _prepared and the dispatchers while they may compile: numba's compiler is not re-entrant across threads.
_prepare_lock = threading.Lock()


@functools.cache
def fingerprint() -> str:
    """Name what decides the bits of a result besides the inputs.

    Returns
    -------
    str
        16 hexadecimal digits: a hash of all sources of this package, the versions of numba, llvmlite and numpy, and the
        CPU's name and features. Two processes with the same fingerprint compute the same bits.
    """
    digest = hashlib.sha256()
    for path in sorted(Path(__file__).parent.glob("*.py")):
        digest.update(path.name.encode() + b"\0" + path.read_bytes() + b"\0")
    for text in (
        numba.__version__,
        llvmlite.__version__,
        np.__version__,
        binding.get_host_cpu_name(),
        binding.get_host_cpu_features().flatten(),
    ):
        digest.update(text.encode() + b"\0")
    return digest.hexdigest()[:16]


@functools.cache
def cache_folder() -> Path:
    """Find the folder of the machine code: ``$BELIEFD_CACHE``, else ``$XDG_CACHE_HOME/beliefd``.

    Without these it is ``~/.cache/beliefd``. Where none can be written, a folder for this user under the temporary
    folder serves, or a new one for this process where others could write to that.
    """
    chosen = os.environ.get("BELIEFD_CACHE")
    root = Path(chosen) if chosen else Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "beliefd"
    fallback = Path(tempfile.gettempdir()) / f"beliefd-{os.getuid()}"
    for base in (root, fallback):
        folder = base / fingerprint()
        try:
            base.mkdir(mode=0o700, parents=True, exist_ok=True)
            if base == fallback and not _is_ours_alone(base):
                continue
            folder.mkdir(mode=0o700, exist_ok=True)
        except OSError:
            continue
        # The cache holds code that will be executed: another user's folder is not to be trusted.
        if os.access(folder, os.W_OK) and folder.stat().st_uid == os.getuid():
            return folder
    return Path(tempfile.mkdtemp(prefix="beliefd-"))


def _is_ours_alone(folder: Path) -> bool:
    # In the temporary folder anybody may have made this name first, also as a link to a folder of ours.
    found = folder.lstat()
    others_write = found.st_mode & (stat.S_IWGRP | stat.S_IWOTH)
    return stat.S_ISDIR(found.st_mode) and found.st_uid == os.getuid() and not others_write


class Locator(UserProvidedCacheLocator):
    """Where numba finds the machine code of a kernel: in our folder, whose name says all there is to be said of it.

    numba's own has the path of the source in it, and in some versions the time of its last change: every copy of the
    sources would be compiled anew.
    """

    def get_cache_path(self) -> str:
        return str(cache_folder())

    def get_source_stamp(self) -> str:
        return fingerprint()


@contextmanager
def _keyed_cache() -> Iterator[None]:
    """Point numba to our folder while a dispatcher chooses its own; the settings are global, and the host program's."""
    settings: Any = numba_config
    before = settings.CACHE_DIR, settings.CACHE_LOCATOR_CLASSES
    settings.CACHE_DIR, settings.CACHE_LOCATOR_CLASSES = str(cache_folder()), f"{__name__}.{Locator.__name__}"
    try:
        yield
    finally:
        settings.CACHE_DIR, settings.CACHE_LOCATOR_CLASSES = before


def kernel(*arguments: str) -> Callable[[Any], Any]:
    """Declare an entry point: a function that Python calls, with its argument types.

    Parameters
    ----------
    *arguments : str
        One per parameter: ``"int64"`` and the like for a scalar, ``"int64[:, :]"`` for a C-contiguous array,
        ``"const real[:]"`` for one that is only read. ``real`` is the model's dtype.
    """

    def declare(function: Any) -> Any:
        with _keyed_cache():
            dispatcher = numba.njit(cache=True, **_OPTIONS)(function)
        _kernels[function.__name__] = (dispatcher, arguments)
        return dispatcher

    return declare


def inline(function: Any) -> Any:
    """Declare a helper: a function that only kernels call, compiled into each of them."""
    return numba.njit(**_OPTIONS)(function)


def allocating(function: Any) -> Any:
    """Declare a helper that makes arrays, or holds those that another made: only what is declared so may return one."""
    return numba.njit(**_ALLOCATING)(function)


def intrinsic(function: Any) -> Any:
    """Declare a helper that emits its LLVM code itself; the function is as `numba.extending.intrinsic` takes it."""
    return extending.intrinsic(function)


def prepare(dtype: str) -> None:
    """Compile every kernel for a dtype, or load it from the cache. Cheap when it has been done.

    Of processes that need it at once, one compiles and the others load: numba's cache is not made for two writers, who
    would name their code alike.

    Parameters
    ----------
    dtype : {"float32", "float64"}
    """
    with _prepare_lock:
        if dtype not in _prepared:
            with open(cache_folder() / "compiling.lock", "wb") as lock:
                fcntl.flock(lock, fcntl.LOCK_EX)
                _load(dtype)


def warm() -> None:
    """Prepare both dtypes: after this no call compiles anything, whatever the model."""
    for dtype in _REALS:
        prepare(dtype)


def _load(dtype: str) -> None:
    for module in _KERNEL_MODULES:
        importlib.import_module(f"{__package__}.{module}")
    for dispatcher, arguments in _kernels.values():
        signature = tuple(_type_of(argument, dtype) for argument in arguments)
        dispatcher.disable_compile(False)
        try:
            dispatcher.compile(signature)
        except Exception:
            # A cache file cut off by a crash ends in EOFError, UnpicklingError and others, depending on where.
            # What is not the cache's fault happens again below.
            _forget(dispatcher)
            dispatcher.compile(signature)
        dispatcher.disable_compile()
    _prepared.add(dtype)


def compiled_signatures() -> dict[str, int]:
    """Count the compiled signatures of each kernel: at most one per dtype, whatever was served."""
    return {name: len(dispatcher.signatures) for name, (dispatcher, _) in _kernels.items()}


def _type_of(argument: str, dtype: str) -> Any:
    text = argument.removeprefix("const ")
    name, _, dimensions = text.partition("[")
    scalar = _REALS[dtype] if name == "real" else _SCALARS[name]
    if not dimensions:
        return scalar
    return types.Array(scalar, dimensions.count(":"), "C", readonly=text != argument)


def _forget(dispatcher: Any) -> None:
    """Remove what the cache has of one kernel."""
    function = dispatcher.py_func
    for path in cache_folder().glob(f"{function.__module__.rpartition('.')[2]}.{function.__qualname__}-*.nb[ic]"):
        path.unlink(missing_ok=True)
