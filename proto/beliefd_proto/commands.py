"""The commands of protocol version 1. The value of a member is the byte on the wire."""

from __future__ import annotations

import enum


class Command(enum.IntEnum):
    """What a message asks or answers.

    Requests of a client are below 0x20, messages between broker and worker from 0x20 to 0x3f, answers to a client
    from 0x80.
    """

    HELLO = 0x01
    PING = 0x02
    CREATE = 0x03
    ATTACH = 0x04
    LIST = 0x05
    DROP = 0x06
    ADD_AGENTS = 0x07
    REMOVE_AGENTS = 0x08
    STEP = 0x09
    READ = 0x0A
    PARAMETERS = 0x0B
    STATUS = 0x0C
    RELEASE = 0x0D
    CANCEL = 0x0E
    CHECKPOINT = 0x10
    SNAPSHOT = 0x11
    RESTORE = 0x12
    FORK = 0x13

    WORKER_HELLO = 0x20
    WORKER_WELCOME = 0x21
    WORK = 0x22
    RESULT = 0x23
    FORGET = 0x24
    LEAVING = 0x25
    LEFT = 0x26
    RETIRE = 0x27
    RECOVER = 0x28
    BUNDLE = 0x29

    WELCOME = 0x81
    PONG = 0x82
    POPULATION = 0x83
    POPULATIONS = 0x85
    DONE = 0x86
    AGENTS = 0x87
    STEPPED_PART = 0x88
    STEPPED = 0x89
    VALUES = 0x8A
    STATUS_REPORT = 0x8C
    ERROR = 0xFF


class Want(enum.IntFlag):
    """The outputs of a step or read that a caller asks for, beside the action and the tick."""

    NOTHING = 0
    BELIEFS = 1
    Q_PI = 2
    NEG_EFE = 4
    VFE = 8
    OBSERVATION = 16
    UTILITY = 32
    INFO_GAIN = 64
    INDUCTIVE = 128
    NOVELTY = 256
    LEARNED = 512
    GAMMA = 1024


class StepStatus(enum.IntEnum):
    """What a step did to an agent. Values are the bytes in the array `status` of a RESULT."""

    APPLIED = 0
    RECORDED = 1
    TICK_TAKEN = 2
    STALE_TICK = 3
    TICK_GAP = 4
