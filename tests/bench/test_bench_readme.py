from __future__ import annotations

import pytest

from benches.readme import rewritten

TEXT = "# A\n<!-- bench: one -->\nold\n<!-- /bench -->\nbetween\n<!-- bench: two -->\n<!-- /bench -->\nend\n"


def test_parts_are_replaced_and_the_rest_stays() -> None:
    text = rewritten(TEXT, {"one": "new\n", "two": "| a |\n"})
    assert "old" not in text
    assert text == TEXT.replace("old\n", "new\n").replace("two -->\n", "two -->\n| a |\n")


def test_rewriting_twice_changes_nothing_more() -> None:
    parts = {"one": "new\n", "two": ""}
    assert rewritten(rewritten(TEXT, parts), parts) == rewritten(TEXT, parts)


@pytest.mark.parametrize("text", ["no comments\n", TEXT + TEXT, "<!-- bench: one -->\nno end\n"])
def test_a_part_that_is_not_there_once_is_an_error(text: str) -> None:
    with pytest.raises(ValueError, match="bench: one"):
        rewritten(text, {"one": "new\n"})
