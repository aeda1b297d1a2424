"""The profile calls the kernels' own stages, and so has to be changed when they are."""

import pytest

from benches.profile import profile


@pytest.mark.slow
def test_the_parts_of_a_step_are_timed_and_are_all_of_it():
    found = profile(0.01)
    assert all(found[name] > 0 for name in ("step_ns", "memory", "logarithms_and_exponentials"))
    assert abs(found["memory"] + found["logarithms_and_exponentials"] + found["rest"] - 1.0) < 1e-9
