"""What the README shows works as it stands there."""

import contextlib
import io
import re
from pathlib import Path

import pytest

pytestmark = pytest.mark.system
README = (Path(__file__).parents[2] / "README.md").read_text()
PROGRAMS = re.findall(r"```python\n(.*?)```", README, re.DOTALL)


def printed_by(code, stack):
    printed = io.StringIO()
    with contextlib.redirect_stdout(printed):
        exec(code.replace("tcp://127.0.0.1:5757", stack.endpoint), {})
    return printed.getvalue()


def test_the_first_simulator_runs_and_its_agents_do_what_they_prefer(stack):
    code = PROGRAMS[0]
    assert len([line for line in code.splitlines() if line]) <= 20
    assert int(re.fullmatch(r"mild: (\d+)%\n", printed_by(code, stack)).group(1)) > 60


def test_the_gymnasium_program_runs_and_its_agents_reach_the_goal(stack):
    assert int(re.fullmatch(r"at the goal: (\d+)%\n", printed_by(PROGRAMS[1], stack)).group(1)) > 45


def test_every_file_that_the_readmes_name_is_there():
    root = Path(__file__).parents[2]
    for readme in (root / "README.md", root / "services" / "README.md"):
        for link in re.findall(r"\]\((?!http)([^)#]+)\)", readme.read_text()):
            assert (readme.parent / link).exists(), link
        for named in re.findall(r"`((?:tests|services|scripts|proto|common)/[\w/.]+\.py)", readme.read_text()):
            assert (root / named).exists(), named
