"""What pip-audit found, judged: a vulnerability fails, and data that cannot be had is said and does not."""

import json

import pytest

from audited import judged

SAFE = {"name": "numpy", "version": "2.4", "vulns": []}
UNKNOWN = {"name": "msgspec", "skip_reason": "not found"}
UNSAFE = {"name": "zmq", "version": "1", "vulns": [{"id": "CVE-1", "fix_versions": ["2", "3"]}]}


@pytest.mark.parametrize(
    ("dependencies", "code", "said"),
    [
        ([SAFE, UNKNOWN], 0, "1 of 2 dependencies audited, no known vulnerability"),
        ([SAFE, UNSAFE], 1, "zmq 1: CVE-1, fixed in 2, 3"),
        ([UNKNOWN], 0, "skipped: no data (none of 1 dependencies is known to the service)"),
    ],
)
def test_a_report(dependencies, code, said):
    assert judged(json.dumps({"dependencies": dependencies, "fixes": []})) == (code, said)


@pytest.mark.parametrize("text", ["", "no connection", "[]", "{}"])
def test_no_report_is_no_data(text):
    code, said = judged(text)
    assert code == 0
    assert said.startswith("skipped: no data")
