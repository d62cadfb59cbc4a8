"""What a failed test of real processes shows. A conftest.py takes the hook in by importing it."""

from collections.abc import Generator

import pytest

from tests.processes import Platform


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item: pytest.Item) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """Add what the processes wrote to the report of a test that failed."""
    report = yield
    if report.failed and report.when != "teardown" and isinstance(item, pytest.Function):  # by then their logs are gone
        for platform in item.funcargs.values():
            if isinstance(platform, Platform):
                report.sections.append(("processes", platform.story()))
    return report
