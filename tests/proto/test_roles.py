"""Every command asks a role of whoever sends it."""

from beliefd_proto import Command, Role
from beliefd_proto.roles import ROLES, needed


def test_what_changes_agents_needs_step_and_what_changes_populations_admin():
    assert needed(Command.READ) is needed(Command.STATUS) is needed(Command.HELLO) is Role.READ
    assert needed(Command.STEP) is Role.STEP
    for command in (Command.CREATE, Command.DROP, Command.ADD_AGENTS, Command.REMOVE_AGENTS, Command.RELEASE):
        assert needed(command) is Role.ADMIN


def test_a_command_that_nobody_thought_of_needs_the_highest_role():
    assert all(needed(command) is Role.ADMIN for command in Command if command >= 0x20)


def test_roles_by_name():
    assert ROLES == {"read": Role.READ, "step": Role.STEP, "admin": Role.ADMIN}
    assert Role.READ < Role.STEP < Role.ADMIN
