"""One cell of the table: its name follows from what decides its result, and the result is there at the end."""

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from dataclasses import replace

import numpy as np
import pytest

from common.errors import ConfigError
from d4rl_bench.d3rlpy_process import INTERPRETER_VARIABLE, BaselineMissingError, find_interpreter
from d4rl_bench.d4rl_file import write_d4rl
from d4rl_bench.engines import LocalEngine
from d4rl_bench.environments import make_environment
from d4rl_bench.job import Job, ScaledSteps, run_job
from d4rl_bench.rewards import LearningRewards
from d4rl_bench.scaling import Scaler
from d4rl_bench.sweep import SweepError, run_all
from d4rl_bench.task import find_task

HOPPER = find_task("hopper-medium")


@pytest.fixture(scope="module")
def job(hopper_data):
    return Job("offline", HOPPER.name, "uni-o4", 0, "smoke", {}, str(hopper_data))


@pytest.fixture(scope="module")
def twice(job, tmp_path_factory):
    """The job done in two places that have no parts in common: the folder, what was said and the result of each."""

    def done(folder):
        parts = []
        return folder, parts, run_job(job, folder, lambda part, *_: parts.append(part))

    return [done(tmp_path_factory.mktemp(name) / "cell") for name in ("first", "second")]


def test_the_name_follows_from_all_that_decides_the_result(job, hopper_data, walk, tmp_path):
    elsewhere = tmp_path / f"{HOPPER.name}.hdf5"
    shutil.copy(hopper_data, elsewhere)
    assert replace(job, data=str(elsewhere)).key() == replace(job, data=str(tmp_path)).key() == job.key()
    other = tmp_path / "other.hdf5"
    write_d4rl(other, walk(1, episodes=2), {})
    changed = [
        replace(job, seed=1), replace(job, method="bc"), replace(job, preset="minutes"), replace(job, data=str(other)),
        replace(job, overrides={"uni_o4.members": 1}),
    ]  # fmt: skip
    assert len({job.key(), *(another.key() for another in changed)}) == 6
    assert replace(job, overrides={"uni_o4.members": 2}).key() == job.key()  # what the preset says anyway
    assert job.name() == f"hopper-medium-v2/offline-uni-o4-seed_0-{job.key()}"


RECIPES = ("job.BASELINE_RECIPE", "job.RECIPE", "job.ONLINE_RECIPE", "evaluation.RECIPE")


@pytest.mark.parametrize(
    ("phase", "method", "own"),
    [
        ("offline", "uni-o4", {"evaluation.RECIPE", "job.RECIPE"}),
        ("offline", "bc", {"evaluation.RECIPE", "job.BASELINE_RECIPE"}),
        ("online", "iql", {"evaluation.RECIPE", "job.BASELINE_RECIPE"}),
        ("online", "uni-o4", {"evaluation.RECIPE", "job.RECIPE", "job.ONLINE_RECIPE"}),
        ("online", "scratch", {"evaluation.RECIPE", "job.RECIPE", "job.ONLINE_RECIPE"}),
    ],
)
def test_a_recipe_that_is_raised_makes_other_cells_of_what_it_is_for(job, monkeypatch, phase, method, own):
    cell = replace(job, phase=phase, method=method)
    before, changed = cell.key(), set()
    for name in RECIPES:
        with monkeypatch.context() as patched:
            patched.setattr(f"d4rl_bench.{name}", 99)
            if cell.key() != before:
                changed.add(name)
    assert changed == own


def test_overrides_that_change_nothing_are_no_ablation(job):
    assert replace(job, overrides={"uni_o4.members": 2}).named() == ("smoke", {})
    assert replace(job, overrides={"uni_o4.members": 1}).named() == ("smoke", {"uni_o4.members": 1})


def test_overrides_that_lead_to_another_preset_are_its_plain_cell(job):
    long = replace(job, method="bc", preset="minutes", overrides={"steps": 1_000_000})
    assert long.named() == ("paper", {}) == replace(long, preset="paper", overrides={}).named()
    assert long.key() == replace(long, preset="paper", overrides={}).key()


def test_what_starts_from_nothing_is_one_job_for_all_tasks_of_a_world_and_asks_for_no_data():
    alone = Job("online", "hopper-medium-replay-v2", "scratch", 0, "smoke")
    assert alone.name() == f"hopper-medium-v2/online-scratch-seed_0-{alone.key()}"
    assert Job("online", "hopper-medium-expert-v2", "scratch", 0, "smoke", data="nowhere").name() == alone.name()
    other = [
        replace(alone, seed=1), replace(alone, preset="minutes"), replace(alone, overrides={"steps": 1000}),
        replace(alone, task="walker2d-medium-v2"), replace(alone, task="kitchen-partial-v0"), replace(alone, task="kitchen-mixed-v0"),
    ]  # fmt: skip
    assert len({alone.key(), *(another.key() for another in other)}) == 7
    assert replace(alone, task="kitchen-partial-v0").name() == replace(alone, task="kitchen-complete-v0").name()


def test_settings_that_do_not_exist_are_refused_before_any_work(job):
    with pytest.raises(ConfigError, match=r"unknown key 'uni_o4\.membrs'; did you mean 'uni_o4\.members'"):
        replace(job, overrides={"uni_o4.membrs": 1}).key()


@pytest.mark.parametrize(
    ("task", "preset", "rates"),
    [
        ("hopper-medium", "minutes", (3e-4, 5e-4)),
        ("hopper-medium", "paper", (3e-5, 3e-5)),
        ("door-human", "minutes", (8e-6, 8e-6)),
        ("door-human", "paper", (8e-6, 8e-6)),
    ],
)
def test_fine_tunings_rates_by_preset_and_family(task, preset, rates):
    config = Job("online", find_task(task).name, "uni-o4", 0, preset).config
    assert (config.ppo.policy_lr, config.ppo.value_lr) == rates
    assert config.steps == {"minutes": 250_000, "paper": 1_000_000}[preset]


def test_an_offline_cell_and_the_online_cell_that_goes_on_from_it(job, twice, tmp_path):
    folder, parts, result = twice[0]
    assert list(dict.fromkeys(parts)) == ["cloning", "critics", "dynamics", "improvement"]
    assert result["key"] == job.key() and result["data"]["made_locally"] and result["data"]["steps"] > 100
    assert result["score"] == pytest.approx(HOPPER.score(result["return"]["mean"]))
    assert [step for step, _ in result["curve"]] == [0, 20, 40]
    again = run_job(job, folder, lambda part, *_: pytest.fail(f"{part} is done again"))
    assert again == result

    online = replace(job, phase="online", start=str(folder), overrides={"steps": 600, "evaluate_every": 300, "steps_per_update": 128})
    finetuned = run_job(online, tmp_path / "online", lambda *_: None)
    assert finetuned["curve"][0][0] == 0 and finetuned["curve"][-1][0] >= 600
    assert finetuned["curve"][0][1] == pytest.approx(result["score"])


@pytest.mark.parametrize("interpreter", ["stand-in", "d3rlpy"])
def test_a_cell_of_a_baseline_tells_each_policy_that_is_measured(job, tmp_path, request, interpreter):
    if interpreter == "stand-in":
        request.getfixturevalue("stand_in_d3rlpy")
    try:
        find_interpreter()
    except BaselineMissingError as error:
        pytest.skip(str(error))
    said = []
    result = run_job(replace(job, method="bc"), tmp_path / "cell", lambda part, done, total, figures: said.append((part, done, total)))
    assert [step for step, _ in result["curve"]] == [100, 200]
    assert result["score"] == pytest.approx(result["curve"][-1][1])
    assert ("bc", 200, 200) in said and said[-2:] == [("evaluation", 1, 2), ("evaluation", 2, 2)]
    assert result["overrides"] == {} and result["data"]["made_locally"]
    assert set(result["library_versions"]) == {"python", "d3rlpy", "gymnasium", "numpy", "torch"}


def test_the_same_job_gives_the_same_numbers(twice):
    (_, _, first), (_, _, second) = twice
    assert first["score"] == second["score"] and first["curve"] == second["curve"]


def order_in(folder, job):
    (folder / "job.json").write_text(json.dumps({"key": job.key(), "command": "quadloop d4rl offline", "job": job.to_json()}))


def start_process(root, folder):
    command = [sys.executable, "-m", "d4rl_bench.job_process", str(folder)]
    return subprocess.Popen(command, cwd=root, stdin=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True)


def test_a_job_that_was_killed_in_its_improvement_ends_as_one_that_was_not(root, job, twice, tmp_path):
    folder = tmp_path / "cell"
    folder.mkdir()
    order_in(folder, job)
    with start_process(root, folder) as first:
        while not list(folder.glob("improvement*.pt")) and first.poll() is None:
            time.sleep(0.01)
        first.kill()
    assert first.returncode == -signal.SIGKILL and not (folder / "result.json").exists()
    with start_process(root, folder) as second:
        _, complaint = second.communicate()
    assert second.returncode == 0, complaint
    resumed, whole = json.loads((folder / "result.json").read_text()), twice[0][2]
    assert {name: resumed[name] for name in whole} == whole


def test_a_file_that_cannot_be_written_is_named_on_one_line(root, job, tmp_path):
    order_in(tmp_path, job)
    (tmp_path / "progress.json").mkdir()
    with start_process(root, tmp_path) as process:
        _, complaint = process.communicate()
    assert process.returncode == 1
    assert complaint == f"error: {tmp_path / 'progress.json'}: is a directory, which no file takes the place of\n"


def test_data_that_were_replaced_after_the_sweep_began_are_told_before_the_work(root, job, walk, tmp_path):
    path, folder = tmp_path / "data.hdf5", tmp_path / "cell"
    cell = replace(job, data=str(path))
    shutil.copy(job.data, path)
    folder.mkdir()
    order_in(folder, cell)
    write_d4rl(path, walk(1, episodes=2), {}, force=True)
    with start_process(root, folder) as process:
        _, complaint = process.communicate()
    assert process.returncode == 1
    assert complaint.startswith("error: the data or the code changed since the sweep began: ") and complaint.count("\n") == 1
    assert [path.name for path in folder.iterdir()] == ["job.json"]


@pytest.fixture
def killed_once(stand_in_d3rlpy, tmp_path, monkeypatch):
    """The first training by the stand-in for d3rlpy's interpreter is killed as it begins."""
    interpreter, whole = tmp_path / "python", os.environ[INTERPRETER_VARIABLE]
    fall = f'if [ "$2" != -c ] && mkdir "{tmp_path}/fallen" 2>/dev/null; then kill -KILL $$; fi'
    interpreter.write_text(f'#!/bin/sh\n{fall}\nexec "{whole}" "$@"\n')
    interpreter.chmod(0o755)
    monkeypatch.setenv(INTERPRETER_VARIABLE, str(interpreter))


@pytest.mark.usefixtures("killed_once")
@pytest.mark.parametrize("retries", [0, 1])
def test_a_cell_whose_baseline_was_killed_is_gone_on_with(job, tmp_path, retries):
    cell = replace(job, method="bc")
    if not retries:
        with pytest.raises(SweepError, match="it was killed 1 times"):
            run_all([cell], tmp_path / "cells", LocalEngine(1), retries)
        log = (tmp_path / "cells" / cell.name() / "log.txt").read_text()
        assert log.startswith("error: bc of d3rlpy was ended by SIGKILL; see ")
    else:
        (result,) = run_all([cell], tmp_path / "cells", LocalEngine(1), retries)
        assert [step for step, _ in result["curve"]] == [100, 200]


def test_a_baseline_steps_the_environment_in_the_datas_own_scales():
    scaler = Scaler(np.full(11, 0.5, np.float32), np.full(11, 2.0, np.float32))
    steps, plain = ScaledSteps(HOPPER, scaler, LearningRewards(scale=3.0, shift=-1.0), seed=4), make_environment(HOPPER)
    observation, _ = plain.reset(seed=4)
    np.testing.assert_allclose(steps.reset(), (observation - 0.5) / 2, atol=1e-6)
    action = np.array([0.3, -0.2, 5.0], np.float32)  # the environment clips the last one, for both
    seen, reward, terminated, truncated = steps.step(action)
    following, plain_reward, *_ = plain.step(action)
    np.testing.assert_allclose(seen, (following - 0.5) / 2, atol=1e-6)
    assert seen.dtype == np.float32 and not terminated and not truncated
    assert reward == pytest.approx(3 * (plain_reward - 1))
    plain.close()
