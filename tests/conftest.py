"""What tests of all rooms share."""

import os
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from hypothesis import settings

from robot.policy.artifact import PolicyArtifact, write_artifact

# Before torch is imported: on a busy machine threads that spin while they wait make small networks ten times slower.
os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
os.environ.setdefault("OMP_NUM_THREADS", "1")

# The same examples each time, however long a busy machine takes for one.
settings.register_profile("quadloop", deadline=None, derandomize=True)
settings.load_profile("quadloop")

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


@pytest.fixture
def at_revision(monkeypatch: pytest.MonkeyPatch) -> Callable[[str], None]:
    """Has policies that are written from here on say that this revision of the code made them."""
    return lambda revision: monkeypatch.setattr("robot.policy.artifact.git_revision", lambda: revision)


@pytest.fixture
def write_policy(tmp_path: Path) -> Callable[..., PolicyArtifact]:
    """Writes a small artifact that answers every observation with the same mean action, zero by default."""
    from learners.onnx_graph import policy_graph

    def write(name: str = "policy", mean: float = 0.0, std: float = 0.3, stage: str = "pretrained") -> PolicyArtifact:
        layers = [(np.zeros((8, 290)), np.zeros(8)), (np.zeros((12, 8)), np.broadcast_to(mean, 12))]
        return write_artifact(tmp_path / f"{name}.onnx", policy_graph(layers, np.full(12, np.log(std))), stage, None)

    return write
