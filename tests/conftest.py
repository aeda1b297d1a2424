"""Settings for all tests."""

import os

import pytest
from hypothesis import HealthCheck, settings

# A busy machine is slow, not wrong: no test fails on time alone.
settings.register_profile("beliefd", deadline=None, suppress_health_check=[HealthCheck.too_slow], print_blob=True)
settings.load_profile("beliefd")

for variable in [name for name in os.environ if name.startswith("BELIEFD_")]:
    del os.environ[variable]


def pytest_sessionfinish(session: pytest.Session) -> None:
    """On a build server a test that was skipped is one that failed: whatever it needs is to be installed there."""
    reporter = session.config.pluginmanager.get_plugin("terminalreporter")
    if os.environ.get("CI") and reporter is not None and reporter.stats.get("skipped"):
        session.exitstatus = pytest.ExitCode.TESTS_FAILED
