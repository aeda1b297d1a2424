"""The parts of the README that a file of measurements decides: they stand between two comments and are written anew."""

from __future__ import annotations

from collections.abc import Mapping


def rewritten(text: str, parts: Mapping[str, str]) -> str:
    """`text` with all `parts` replaced: NAME stands between ``<!-- bench: NAME -->`` and ``<!-- /bench -->``.

    Raises
    ------
    ValueError
        The comments of a part are not there, or are there twice.
    """
    for name, body in parts.items():
        first, last = f"<!-- bench: {name} -->\n", "<!-- /bench -->\n"
        if text.count(first) != 1:
            raise ValueError(f"the line {first.strip()!r} is there {text.count(first)} times, not once")
        before, _, rest = text.partition(first)
        _, found, after = rest.partition(last)
        if not found:
            raise ValueError(f"no line {last.strip()!r} follows {first.strip()!r}")
        text = f"{before}{first}{body}{last}{after}"
    return text
