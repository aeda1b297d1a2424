"""What the system's scheduler has of a thread."""

import ctypes
import os
import platform
import struct

GET_ATTRIBUTES = {"x86_64": 315, "aarch64": 275}
ATTRIBUTES = struct.Struct("=IIQiIQQQ")
KERNEL = tuple(int(part) for part in platform.release().split(".")[:2])
READABLE = platform.machine() in GET_ATTRIBUTES


def attributes(pid):
    """Policy, niceness and slice of a process or thread, as the system has them."""
    told = ctypes.create_string_buffer(ATTRIBUTES.size)
    libc = ctypes.CDLL(None, use_errno=True)
    failed = libc.syscall(GET_ATTRIBUTES[platform.machine()], pid, told, len(told), 0)
    assert not failed, os.strerror(ctypes.get_errno())
    _, policy, _, nice, _, slice_ns, _, _ = ATTRIBUTES.unpack(told)
    return policy, nice, slice_ns
