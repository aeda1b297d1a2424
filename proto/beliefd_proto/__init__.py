"""The wire protocol of beliefd, version 1: commands, messages, framing and errors. README.md is its normative text."""

from beliefd_proto.commands import Command, StepStatus, Want
from beliefd_proto.errors import ERRORS, Applied, BeliefdError
from beliefd_proto.framing import Arrays, Message, decode, encode
from beliefd_proto.messages import PROTOCOL_VERSION
from beliefd_proto.model_info import ModelInfo
from beliefd_proto.roles import Role

__all__ = [
    "ERRORS",
    "PROTOCOL_VERSION",
    "Applied",
    "Arrays",
    "BeliefdError",
    "Command",
    "Message",
    "ModelInfo",
    "Role",
    "StepStatus",
    "Want",
    "decode",
    "encode",
]
