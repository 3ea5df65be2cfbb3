"""A few short episodes of a robot that only stands, in a few sessions; and a mark for processes."""

import uuid
from functools import partial

import numpy as np
import pytest

from learners.onnx_graph import policy_graph
from loop.config import CollectConfig, LoopConfig
from loop.stages import Context, run_collect
from robot.policy.artifact import write_artifact
from tests.loop.processes import MARK
from twin.world import FLAT


@pytest.fixture
def mark(monkeypatch):
    """What everything that a test starts can be told by: see processes.py."""
    mark = uuid.uuid4().hex
    monkeypatch.setenv(MARK, mark)
    return mark


@pytest.fixture(scope="session")
def collect_in():
    """Runs the collection stage in a directory with a policy that asks for the default posture."""

    def stage(out, steps=180, sessions=3, world=FLAT):
        policy = out / "pretrained" / "policy.onnx"
        if not policy.exists():
            policy.parent.mkdir(parents=True)
            layers = [(np.zeros((8, 290)), np.zeros(8)), (np.zeros((12, 8)), np.zeros(12))]
            write_artifact(policy, policy_graph(layers, np.full(12, np.log(0.2))), "pretrained", None)
        config = LoopConfig(terrain="flat", collect=CollectConfig(steps=steps, episode_steps=30, sessions=sessions))
        return out, run_collect(Context(out, config, 0, lambda *_: None, world))

    return stage


@pytest.fixture
def collect(collect_in, tmp_path):
    """The same in a directory of the test's own."""
    return partial(collect_in, tmp_path / "run")
