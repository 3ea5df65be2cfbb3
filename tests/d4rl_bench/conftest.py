"""What tests of the benchmark share."""

import json
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from d4rl_bench.d3rlpy_process import INTERPRETER_VARIABLE
from d4rl_bench.d4rl_file import write_d4rl
from d4rl_bench.environments import make_environment
from d4rl_bench.task import find_task
from learners.transitions import Transitions

HOPPER = find_task("hopper-medium")

Walk = Callable[..., Transitions]


@pytest.fixture(scope="session")
def walk() -> Walk:
    """Makes data of hopper's first steps with random actions: walk(seed, episodes=20, length=30)."""
    return _walk


@pytest.fixture(scope="session")
def hopper_data(walk: Walk, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Such data as a file, as if made here."""
    path = tmp_path_factory.mktemp("data") / f"{HOPPER.name}.hdf5"
    write_d4rl(path, walk(0), {"made_by": "quadloop"})
    return path


@pytest.fixture
def stand_in_d3rlpy(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> None:
    """Baselines are trained by stand_in_d3rlpy.py, which learns nothing, as if it were the interpreter with d3rlpy."""
    interpreter = tmp_path_factory.mktemp("interpreter") / "python"
    interpreter.write_text(f'#!/bin/sh\nexec "{sys.executable}" "{Path(__file__).with_name("stand_in_d3rlpy.py")}" "$@"\n')
    interpreter.chmod(0o755)
    monkeypatch.setenv(INTERPRETER_VARIABLE, str(interpreter))


@pytest.fixture
def gathered(tmp_path: Path) -> Callable[..., Path]:
    """Writes results into one file of a folder and returns the folder."""

    def write(*results: dict[str, Any], name: str = "offline/hopper-medium-v2.json") -> Path:
        path = tmp_path / "gathered" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(json.dumps(results))
        return tmp_path / "gathered"

    return write


def _walk(seed: int, episodes: int = 20, length: int = 30) -> Transitions:
    environment, random = make_environment(HOPPER), np.random.default_rng(seed)
    rows = []
    for episode in range(episodes):
        observation, _ = environment.reset(seed=seed + episode)
        for step in range(length):
            action = random.uniform(-1, 1, 3).astype(np.float32)
            following, reward, terminated, truncated, _ = environment.step(action)
            last = step == length - 1
            rows.append((observation, action, reward, following, terminated, (truncated or last) and not terminated))
            observation = following
            if terminated:
                break
    environment.close()
    observations, actions, rewards, following, terminated, truncated = (np.array(column) for column in zip(*rows, strict=True))
    ended = terminated | truncated
    return Transitions(
        observations.astype(np.float32), actions, rewards.astype(np.float32), following.astype(np.float32), terminated, truncated,
        np.concatenate([[0], np.flatnonzero(ended)[:-1] + 1]),
    )  # fmt: skip
