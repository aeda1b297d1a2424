"""The error tree: every class travels, and nothing outside the tree shows its text."""

import numpy as np
import pytest

from beliefd_proto.error_message import from_header, to_header
from beliefd_proto.errors import ERRORS, BeliefdError, InvalidModel

ID = bytes(16)


@pytest.mark.parametrize("code", sorted(ERRORS))
def test_every_error_travels(code):
    sent = ERRORS[code]("what happened", field="A[1]", index=(2, 3), value=0.5, allowed="0..1", retry_after_s=0.25)
    got = from_header(to_header(sent, ID), {"applied": np.array([1], np.uint8)})
    assert type(got) is ERRORS[code]
    assert (got.field, got.index, got.value, got.allowed, got.retry_after_s) == ("A[1]", (2, 3), "0.5", "0..1", 0.25)
    assert got.applied.tolist() == [1]
    assert str(got) == "A[1][2, 3]: what happened (got '0.5'); allowed: 0..1"


def test_codes_are_unique_and_blame_is_known():
    classes = [BeliefdError]
    for kind in classes:
        classes.extend(kind.__subclasses__())
    assert len(classes) == len(ERRORS)
    assert {kind.blame for kind in classes} == {"caller", "server", "operator"}


def test_a_failure_outside_the_tree_is_told_without_its_text():
    header = to_header(RuntimeError("secret path /root"), ID)
    assert header.code == "internal_error"
    assert "secret" not in header.message


def test_a_code_of_a_later_server_is_still_an_error():
    header = to_header(BeliefdError("x"), ID)
    later = type(header)(id=ID, code="from_the_future", message="m")
    assert type(from_header(later, {})) is BeliefdError


def test_an_index_of_no_axis_is_not_shown():
    assert str(InvalidModel("is no distribution", field="E", index=())) == "E: is no distribution"
