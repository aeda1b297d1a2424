"""The failure table of services/README.md: every row names a test, and all that it names are there."""

import ast
import re
from pathlib import Path

import pytest

CHECKOUT = Path(__file__).parents[2]


def rows():
    text = (CHECKOUT / "services" / "README.md").read_text()
    table = text.partition("## What dies, and what happens\n\n")[2].partition("\n\n")[0].splitlines()
    return [[cell.strip() for cell in line.strip("|").split(" | ")] for line in table[2:]]


def names_in(path):
    """The names of all tests in a file, with those of their class before them."""
    return {
        node.name for node in ast.walk(ast.parse(path.read_text())) if isinstance(node, ast.FunctionDef | ast.ClassDef)
    }


FILES = {path.relative_to(CHECKOUT).as_posix(): path for path in (CHECKOUT / "tests").rglob("test_*.py")}
ALL = set().union(*map(names_in, FILES.values()))


def test_the_table_is_read():
    assert len(rows()) > 15
    assert {len(row) for row in rows()} == {4}


@pytest.mark.parametrize("row", rows(), ids=[row[0][:50] for row in rows()])
def test_every_row_names_tests_that_exist(row):
    if row[3] == "the same":
        return
    named = re.findall(r"`(tests/[\w/]+\.py)?(?:::(\w+))?`", row[3])
    named = [(file, test) for file, test in named if file or test]
    commands = re.findall(r"`(scripts/\w+)`", row[3])
    assert named, "a row without a test"
    assert all((CHECKOUT / command).is_file() for command in commands)
    for file, test in named:
        assert not file or file in FILES
        assert not test or test in (names_in(FILES[file]) if file else ALL)
