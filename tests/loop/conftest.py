"""A few short episodes of a robot that only stands, in three sessions."""

import pytest

from loop.config import CollectConfig, LoopConfig
from loop.stages import Context, run_collect


@pytest.fixture
def collect(tmp_path, write_policy):
    """Runs the collection stage in tmp_path/run with a policy that asks for the default posture."""
    out = tmp_path / "run"
    write_policy("run/pretrained/policy", std=0.2)

    def stage(steps=180, sessions=3):
        config = LoopConfig(terrain="flat", collect=CollectConfig(steps=steps, episode_steps=30, sessions=sessions))
        return out, run_collect(Context(out, config, 0, lambda *_: None))

    return stage
