"""This process's half of a baseline's training, beside a worker that only stands in for d3rlpy's (see stand_in_d3rlpy.py)."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from d4rl_bench.baseline_policy import BaselineError
from d4rl_bench.baselines import finetune_baseline, train_baseline
from d4rl_bench.d3rlpy_process import WORKER, BaselineKilledError
from learners.progress import silent
from tests.d4rl_bench.processes import children, ends_with_its_parent
from tests.d4rl_bench.pushed_point import ACTION_SIZE, CONFIG, ENDLESS, ONLINE, ROWS, TRAINING_PARENT, Broken, Call, Point, made_data

pytestmark = pytest.mark.usefixtures("stand_in_d3rlpy")


def test_what_the_worker_says_is_passed_on_and_its_policies_are_read(tmp_path: Path) -> None:
    calls = list[Call]()
    policies = train_baseline("bc", made_data(), CONFIG, 0, tmp_path / "new", lambda *call: calls.append(call))
    handed_over = {"rows": 2000, "terminated": 20, "truncated": 20}
    assert calls == [("bc", 100, 200, handed_over), ("bc", 200, 200, handed_over)]
    assert [step for step, _ in policies] == [100, 200]
    for step, policy in policies:
        assert policy.act(made_data().observations) == pytest.approx(np.full((ROWS, ACTION_SIZE), np.tanh(step / 1000)))


def test_an_episode_without_an_end_of_its_own_is_handed_over_as_cut_off(tmp_path: Path) -> None:
    calls = list[Call]()
    endless = replace(made_data(), terminated=np.zeros(ROWS, np.bool_), truncated=np.zeros(ROWS, np.bool_))
    train_baseline("bc", endless, CONFIG, 0, tmp_path, lambda *call: calls.append(call))
    assert calls[0][3] == {"rows": 2000, "terminated": 0, "truncated": 40}


def test_no_data_are_left(tmp_path: Path) -> None:
    train_baseline("bc", made_data(), CONFIG, 0, tmp_path, silent)
    names = sorted(path.name for path in tmp_path.iterdir())
    assert names[:3] == ["d3rlpy.log", "policy_100.npz", "policy_200.npz"]
    assert len(names) == 4 and names[3].startswith("training_")


def test_the_environment_is_stepped_as_the_worker_asks(tmp_path: Path) -> None:
    """Pushed by 0.3 x 0.25 the point is outside after 14 steps, at 1.05; pushed by 0.3 x 0.1 it is cut off after 20, at 0.6. The rewards
    of such a pair are -0.075 x 105 and -0.03 x 210, and 300 steps are 8 pairs, another 14 and another 14."""
    calls, point = list[Call](), Point()
    policies = finetune_baseline("iql", made_data(), CONFIG, ONLINE, point, 0, tmp_path, tmp_path, lambda *call: calls.append(call))
    assert [step for step, _ in policies] == [0, 150, 300]
    assert [call[:3] for call in calls] == [("iql", 100, 200), ("iql", 200, 200), ("iql online", 150, 300), ("iql online", 300, 300)]
    assert calls[-1][3] == pytest.approx(
        {"terminated": 9, "truncated": 8, "rewards": 9 * -7.875 + 8 * -6.3 - 0.03 * 105}
        | {"seen_0": 14 * 0.03, "seen_1": 14 * 0.03, "seen_2": 14 * 0.03, "seen_3": 14 * 0.03},
        rel=1e-5,
    )
    assert (point.steps, point.episodes, point.largest_action) == (300, 18, 0.25)
    assert not (tmp_path / "data.npz").exists()


def test_fine_tuning_takes_over_the_training_of_its_start_and_no_other(tmp_path: Path) -> None:
    start, calls = tmp_path / "start", list[Call]()
    train_baseline("iql", made_data(), CONFIG, 0, start, silent)
    for seed in (0, 1):
        finetune_baseline("iql", made_data(), CONFIG, ONLINE, Point(), seed, start, tmp_path / "on", lambda *call: calls.append(call))
    assert [call[1] for call in calls] == [150, 300, 100, 200, 150, 300]


@pytest.mark.parametrize("content", [None, b"half a policy"])
def test_a_policy_that_the_state_does_not_make_again_names_the_state(tmp_path: Path, content: bytes | None) -> None:
    train_baseline("bc", made_data(), CONFIG, 0, tmp_path, silent)
    (tmp_path / "policy_100.npz").unlink()
    if content is not None:
        (tmp_path / "policy_100.npz").write_bytes(content)
    (state,) = tmp_path.glob("training_*.npz")
    with pytest.raises(BaselineError, match=rf"^{tmp_path}/policy_100.npz[^\n]*; delete {state} to train anew$"):
        train_baseline("bc", made_data(), CONFIG, 0, tmp_path, silent)
    state.unlink()
    assert [step for step, _ in train_baseline("bc", made_data(), CONFIG, 0, tmp_path, silent)] == [100, 200]


def test_an_interrupted_training_leaves_no_worker_and_no_data(tmp_path: Path) -> None:
    def interrupt(*_: Any) -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        train_baseline("bc", made_data(), ENDLESS, 0, tmp_path, interrupt)
    assert not children(os.getpid(), tmp_path)
    assert not (tmp_path / "data.npz").exists()


def test_what_the_environment_raises_ends_the_worker(tmp_path: Path) -> None:
    with pytest.raises(ZeroDivisionError):
        finetune_baseline("iql", made_data(), CONFIG, ONLINE, Broken(), 0, tmp_path, tmp_path, silent)
    assert not children(os.getpid(), tmp_path)
    assert not (tmp_path / "data.npz").exists()


def test_a_worker_that_fails_is_one_line_with_its_last_words(tmp_path: Path) -> None:
    data = made_data()
    data.actions[:] = np.nan
    with pytest.raises(BaselineError, match=r"^bc of d3rlpy failed: ValueError: actions are no numbers; see [^\n]*d3rlpy.log$"):
        train_baseline("bc", data, CONFIG, 0, tmp_path, silent)
    assert not (tmp_path / "data.npz").exists()


def test_a_killed_worker_is_one_line(tmp_path: Path) -> None:
    def kill(*_: Any) -> None:
        for worker in children(os.getpid(), tmp_path):
            os.kill(worker, signal.SIGKILL)

    with pytest.raises(BaselineKilledError, match=r"^bc of d3rlpy was ended by SIGKILL; see [^\n]*d3rlpy.log$"):
        train_baseline("bc", made_data(), ENDLESS, 0, tmp_path, kill)
    assert not (tmp_path / "data.npz").exists()


def test_the_worker_is_told_by_its_input_that_its_parent_died(tmp_path: Path, root: Path) -> None:
    ends_with_its_parent(TRAINING_PARENT, b"100\n", tmp_path, root)


def test_the_worker_ends_with_its_parent_while_it_still_loads_the_libraries(tmp_path: Path) -> None:
    (tmp_path / "d3rlpy.py").write_text("import time\nprint('begun', flush=True)\ntime.sleep(60)\n")
    environment = os.environ | {"PYTHONPATH": str(tmp_path)}
    command = [sys.executable, WORKER, "{}"]
    with subprocess.Popen(command, env=environment, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE) as worker:
        assert worker.stdout is not None and worker.stdout.readline() == b"begun\n"
        _, complaint = worker.communicate(timeout=20)  # closes its input
    assert (worker.returncode, complaint) == (1, b"")
