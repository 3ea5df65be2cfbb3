"""The process border: what it carries, with twins behind the vendor's interface, and every way in which it can break."""

import ast
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest

from common.errors import QuadloopError
from sim_pretrain.config import PretrainConfig
from sim_pretrain.worker import protocol
from sim_pretrain.worker.mujoco_task import MujocoTask
from sim_pretrain.worker_environment import WorkerConfig, WorkerEnvironment, WorkerError

HERE = Path(__file__).parent
TWINS = "mujoco_task:make"
STILL = np.zeros((4, 12), dtype=np.float32)


@pytest.fixture(autouse=True)
def importable(monkeypatch, root):
    # isaacgym's interpreter does not know quadloop; the twins' must
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join([str(root), str(HERE)]))


def start(tmp_path, task="walk", robots=4, seed=0, **settings):
    settings = {"python": Path(sys.executable), "make": "plain_task:make", "task": task} | settings
    return WorkerEnvironment(WorkerConfig(**settings), robots, seed, tmp_path / "worker.log")


def alive(pid):
    try:
        return Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[0] != "Z"
    except FileNotFoundError:
        return False


def wait_until_gone(pid):
    deadline = time.monotonic() + 10
    while alive(pid) and time.monotonic() < deadline:
        time.sleep(0.05)
    return not alive(pid)


def test_both_sides_of_the_border_see_the_same(tmp_path):
    environment, task = start(tmp_path, seed=3, make=TWINS), MujocoTask(4, 3, 20.0)
    rng = np.random.default_rng(0)
    assert np.array_equal(environment.observations, task.get_observations().numpy())
    for _ in range(5):
        actions = rng.standard_normal((4, 12), dtype=np.float32)
        result = environment.step(actions)
        expected = task.environment.step(actions)
        assert np.array_equal(result.rewards, expected.rewards.astype(np.float32))
        assert np.array_equal(environment.observations, task.get_observations().numpy())
        assert np.array_equal(environment.critic_observations, task.get_privileged_observations().numpy())
        assert result.terms == pytest.approx(dict(expected.terms))
    environment.close()
    task.environment.close()


def test_falls_and_time_outs_stay_apart(tmp_path):
    environment = start(tmp_path, "short", robots=8, make=TWINS)
    topple = np.tile(np.array([10.0, 0.0, 0.0], dtype=np.float32), (8, 4))
    topple[4:] = 0.0
    fell, timed_out = np.zeros(8, dtype=bool), np.zeros(8, dtype=bool)
    for _ in range(120):
        before = environment.critic_observations.copy()
        result = environment.step(topple)
        assert not (result.terminated & result.truncated).any()
        assert np.array_equal(result.final_critic_observations, before[result.truncated])
        fell, timed_out = fell | result.terminated, timed_out | result.truncated
    environment.close()
    environment.close()
    assert fell[:4].all()
    assert timed_out[4:].all()
    assert not fell[4:].any()


def test_a_crash_is_told_on_one_line_and_leaves_no_process(tmp_path):
    environment = start(tmp_path, "crash")
    with pytest.raises(WorkerError, match="RuntimeError: out of memory") as error:
        for _ in range(5):
            environment.step(STILL)
    environment.close()
    assert "\n" not in str(error.value)
    assert not alive(environment.pid)


def test_a_hang_ends_after_the_time_out(tmp_path):
    environment = start(tmp_path, "hang", step_timeout_s=0.5)
    with pytest.raises(WorkerError, match=r"did not answer for 0\.5 s"):
        environment.step(STILL)
    environment.close()
    assert not alive(environment.pid)


def test_a_killed_worker_is_noticed(tmp_path):
    environment = start(tmp_path)
    os.kill(environment.pid, signal.SIGKILL)
    with pytest.raises(WorkerError, match=r"ended \(exit status -9\)"):
        environment.step(STILL)
    environment.close()


def test_a_stopped_worker_is_ended(tmp_path):
    environment = start(tmp_path, step_timeout_s=0.5)
    os.kill(environment.pid, signal.SIGSTOP)
    with pytest.raises(WorkerError, match="did not answer"):
        environment.step(STILL)
    environment.close()
    assert not alive(environment.pid)


def test_wrong_shapes_are_named(tmp_path):
    with pytest.raises(WorkerError, match="num_obs 58; quadloop needs 290"):
        start(tmp_path, "narrow")


def test_another_version_is_named(tmp_path, monkeypatch):
    monkeypatch.setattr(protocol, "VERSION", 99)
    with pytest.raises(WorkerError, match="version 1 of the protocol, not 99"):
        start(tmp_path)


def test_a_missing_interpreter_is_named(tmp_path):
    with pytest.raises(WorkerError, match="/nowhere/python cannot be started"):
        start(tmp_path, python=Path("/nowhere/python"))
    with pytest.raises(QuadloopError, match=r"--isaacgym\.python"):
        PretrainConfig(backend="isaacgym")
    with pytest.raises(QuadloopError, match="isaacgym has settings, but backend is mujoco"):
        PretrainConfig(isaacgym=WorkerConfig(python=Path("/opt/py38/bin/python")))


def test_a_program_that_is_no_worker_is_named(tmp_path):
    with pytest.raises(WorkerError, match="ended"):
        start(tmp_path, python=Path("/bin/false"))


def test_without_isaacgym_its_absence_is_named(tmp_path):
    with pytest.raises(WorkerError, match="No module named 'isaacgym'"):
        start(tmp_path, make="isaacgym_task:make")


STEPPING = """
import sys
from pathlib import Path
import numpy as np
from sim_pretrain.worker_environment import WorkerConfig, WorkerEnvironment
config = WorkerConfig(python=Path(sys.executable), make="plain_task:make", task=sys.argv[1])
environment = WorkerEnvironment(config, 4, 0, Path(sys.argv[2]))
print(environment.pid, flush=True)
while True:
    environment.step(np.zeros((4, 12), np.float32))
"""


@pytest.mark.parametrize("task", ["walk", "hang"])
def test_a_worker_dies_with_the_one_that_started_it(tmp_path, task):
    parent = subprocess.Popen([sys.executable, "-c", STEPPING, task, str(tmp_path / "log")], stdout=subprocess.PIPE, text=True)
    pid = int(parent.stdout.readline())
    time.sleep(0.3)
    parent.kill()
    parent.wait()
    parent.stdout.close()
    assert wait_until_gone(pid)


def test_the_workers_files_are_written_for_python_3_8(root):
    for path in [*(root / "sim_pretrain" / "worker").glob("*.py"), HERE / "plain_task.py"]:
        if path.name != "mujoco_task.py":  # runs in quadloop's own interpreter
            ast.parse(path.read_text(), feature_version=(3, 8))
            assert "from __future__ import annotations" in path.read_text() or path.name == "__init__.py"


@pytest.mark.parametrize("task", ["walk", "torch"])
def test_a_task_of_a_few_lines_is_stepped_whatever_the_interpreter(tmp_path, monkeypatch, task):
    python = os.environ.get("QUADLOOP_PYTHON38", sys.executable if task == "walk" else None)
    if python is None:
        pytest.skip("QUADLOOP_PYTHON38 names no Python 3.8 with numpy and torch")
    monkeypatch.setenv("PYTHONPATH", str(HERE))
    environment = start(tmp_path, task, python=Path(python))
    assert not environment.observations.any()
    actions = np.random.default_rng(0).standard_normal((4, 12), dtype=np.float32)
    result = environment.step(actions)
    assert result.rewards == pytest.approx(actions.sum(axis=1), abs=1e-5)
    assert np.array_equal(environment.observations[:, :12], actions)
    assert np.array_equal(environment.critic_observations, environment.observations)
    assert result.terms == {"x": 1.0}
    environment.close()
