"""What tests of the robot's processes share."""

import resource
from collections.abc import Iterator

import pytest


@pytest.fixture
def room_for_files() -> Iterator[None]:
    """So many files may be open that select.select does not know the numbers of the last, which are beyond 1023."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if hard < 4096:
        pytest.skip("so many files may not be open")
    resource.setrlimit(resource.RLIMIT_NOFILE, (max(4096, soft), hard))
    yield
    resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
