"""What pip-audit found, judged by its JSON: ``python scripts/audited.py REPORT`` ends with 1 at a vulnerability."""

from __future__ import annotations

import json
import sys
from pathlib import Path


def judged(text: str) -> tuple[int, str]:
    """The exit code, and what to say of a report of ``pip-audit -f json``.

    A dependency that the service does not know was not audited: with none audited there is no data.
    """
    try:
        found = json.loads(text)["dependencies"]
    except (ValueError, KeyError, TypeError):
        return 0, "skipped: no data (pip-audit gave no report)"
    audited = [each for each in found if "skip_reason" not in each]
    if not audited:
        return 0, f"skipped: no data (none of {len(found)} dependencies is known to the service)"
    vulnerable = [
        f"{each['name']} {each['version']}: {known['id']}, fixed in {', '.join(known['fix_versions']) or 'no version'}"
        for each in audited
        for known in each["vulns"]
    ]
    if vulnerable:
        return 1, "\n".join(vulnerable)
    return 0, f"{len(audited)} of {len(found)} dependencies audited, no known vulnerability"


if __name__ == "__main__":
    code, said = judged(Path(sys.argv[1]).read_text())
    print(f"audit: {said}")
    sys.exit(code)
