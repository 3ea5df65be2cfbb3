"""What tests of all rooms share."""

import os
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent


@pytest.fixture(scope="session")
def root() -> Path:
    """The project's root."""
    return ROOT


@pytest.fixture(scope="session")
def real_data() -> Path:
    """The folder of real robot logs: $QUADLOOP_DATA, or ../shared/data beside the project. Skips the test where it is absent."""
    folder = Path(os.environ.get("QUADLOOP_DATA", ROOT.parent / "shared" / "data"))
    if not folder.is_dir():
        pytest.skip(f"no real data at {folder}; set QUADLOOP_DATA")
    return folder
