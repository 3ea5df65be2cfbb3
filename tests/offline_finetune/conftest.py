"""Fixtures that write made data to files."""

from __future__ import annotations

import resource
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest
from numpy.typing import NDArray

from robot.log.episode_log import write_episode
from tests.offline_finetune.made_data import made_episode

Array = NDArray[Any]


@pytest.fixture
def write_released(tmp_path: Path) -> Callable[..., Path]:
    """Writes `<tmp>/logs/<session>/<start>.hdf5` from states (N, 76) and actions (N, 12), zero where not given."""

    def write(states: Array, actions: Array | None = None, session: str = "s1", start: str = "a") -> Path:
        path = tmp_path / "logs" / session / f"{start}.hdf5"
        path.parent.mkdir(parents=True, exist_ok=True)
        with h5py.File(path, "w") as file:
            file["states"] = states
            file["actions"] = np.zeros((len(states), 12), dtype=np.float32) if actions is None else actions.astype(np.float32)
        return path

    return write


@pytest.fixture
def full_disk() -> Callable[[], AbstractContextManager[None]]:
    """Inside, no file may grow: a limit on the size of files needs no privileges, unlike a full disk."""

    @contextmanager
    def limited() -> Iterator[None]:
        soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
        resource.setrlimit(resource.RLIMIT_FSIZE, (2000, hard))
        try:
            yield
        finally:
            resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))

    return limited


@pytest.fixture
def write_made(tmp_path: Path) -> Callable[..., Path]:
    """Writes a made episode log; arguments as `made_episode`."""
    count = 0

    def write(steps: int, **arguments: Any) -> Path:
        nonlocal count
        count += 1
        path = tmp_path / "episodes" / f"{count:03d}.hdf5"
        write_episode(path, made_episode(steps, **arguments))
        return path

    return write
