"""Data sets after D4RL's recipe, on a small budget."""

import json
import os
import shutil
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace

import numpy as np
import pytest

from common.errors import ConfigError, QuadloopError
from d4rl_bench.agent import Agent
from d4rl_bench.d4rl_file import read_d4rl
from d4rl_bench.make_data import MakeConfig, make_data
from d4rl_bench.task import find_task
from learners.ppo import PpoConfig

HOPPER = find_task("hopper-medium")
SMALL = MakeConfig(steps=1026, medium_share=0.91)  # more than the first evaluation's, and than the first policies earn
SMALL = replace(
    SMALL,
    training=replace(
        SMALL.training, steps=4096, environments=2, steps_per_update=512, evaluate_every=1024, ppo=PpoConfig(epochs=2, minibatches=2)
    ),
)


class DiedError(Exception):
    """A process's end."""


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    folder = tmp_path_factory.mktemp("data")
    return folder, make_data("hopper", folder, SMALL, 0, lambda *_: None)


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    """An agent that was trained without an interruption."""
    agent = Agent(HOPPER, SMALL.training, 0, tmp_path_factory.mktemp("whole"))
    agent.train(lambda *_: None)
    return agent


def test_three_data_sets_are_written_and_can_be_read_as_d4rls(made):
    folder, record = made
    sizes = {
        kind: len(read_d4rl(folder / f"hopper-{kind}-v2.hdf5", find_task(f"hopper-{kind}")))
        for kind in ("medium", "medium-replay", "medium-expert")
    }
    assert sizes == {"medium": 1026, "medium-replay": record["policies"]["medium"]["steps"], "medium-expert": 2052}
    assert {kind: record["data"][kind]["rows"] for kind in sizes} == sizes
    assert (folder / "hopper.json").exists()


def test_the_medium_policy_is_the_first_that_earns_its_share(made):
    _, record = made
    scores = dict(record["curve"])
    returns = {steps: HOPPER.random_return + score / 100 * (HOPPER.expert_return - HOPPER.random_return) for steps, score in scores.items()}
    medium, expert = record["policies"]["medium"], record["policies"]["expert"]
    assert expert == {"steps": max(scores, key=scores.get), "score": max(scores.values())}
    earned = [steps for steps, earns in returns.items() if steps >= 1026 and earns >= 0.91 * max(returns.values())]
    assert medium == {"steps": min(earned), "score": scores[min(earned)]}


def test_a_policy_is_not_medium_before_it_has_acted_for_as_long_as_data_are_wanted(whole, tmp_path):
    shutil.copytree(whole.folder, tmp_path / "training" / "hopper" / whole.folder.name)
    record = make_data("hopper", tmp_path, replace(SMALL, medium_share=1e-6), 0, lambda *_: None)
    assert record["policies"]["medium"]["steps"] == 2048  # the first of all was evaluated after 1,024


def test_steps_follow_one_another_and_episodes_do_not_leak(made):
    folder, _ = made
    data = read_d4rl(folder / "hopper-medium-v2.hdf5", HOPPER)
    ended = data.terminated | data.truncated
    np.testing.assert_array_equal(data.next_observations[:-1][~ended[:-1]], data.observations[1:][~ended[:-1]])
    assert ended[-1] and not (data.terminated & data.truncated).any()
    np.testing.assert_array_equal(data.episode_starts, np.concatenate([[0], np.flatnonzero(ended)[:-1] + 1]))
    assert np.abs(data.actions).max() <= 1.0


def test_an_agent_may_begin_with_less_exploration(tmp_path):
    agent = Agent(HOPPER, replace(SMALL.training, exploration_std=0.05), 0, tmp_path)
    assert agent._learner.policy.log_std.exp().max() <= 0.0501


def test_nothing_is_overwritten_and_unknown_environments_are_refused(made, tmp_path):
    with pytest.raises(QuadloopError, match="exists"):
        make_data("hopper", made[0], SMALL, 0, lambda *_: None)
    (tmp_path / "hopper.json").write_text("what was done for data that were moved elsewhere")
    with pytest.raises(QuadloopError, match=r"hopper\.json exists; choose another --out or add --force"):
        make_data("hopper", tmp_path, SMALL, 0, lambda part, *_: pytest.fail(f"{part} is begun"))
    with pytest.raises(QuadloopError, match="data can be made for halfcheetah, hopper, walker2d, not for 'ant'"):
        make_data("ant", tmp_path, SMALL, 0, lambda *_: None)


def test_more_data_than_the_agent_is_trained_for_are_refused_before_the_training():
    assert replace(SMALL, steps=4096).steps == SMALL.training.steps
    with pytest.raises(ConfigError, match=r"training\.steps is 4096; it must be at least steps, which is 4097"):
        replace(SMALL, steps=4097)


@pytest.mark.parametrize(("share", "complaint"), [(0.0, "must be above 0"), (-0.5, "must be above 0"), (1.5, "must be at most 1")])
def test_a_share_of_the_experts_return_is_above_0_and_at_most_1(share, complaint):
    assert replace(SMALL, medium_share=1.0).medium_share == 1
    with pytest.raises(ConfigError, match=f"medium_share is {share}; it {complaint}"):
        replace(SMALL, medium_share=share)


def test_a_killed_training_goes_on_and_gives_the_same_data(made, tmp_path):
    """As if the process had died some steps after the agent's second evaluation."""

    def die_late(part, done, total, figures):
        if done == 2560:
            raise DiedError

    with pytest.raises(DiedError):
        make_data("hopper", tmp_path, SMALL, 0, die_late)
    done = []
    record = make_data("hopper", tmp_path, SMALL, 0, lambda part, steps, total, figures: done.append(steps))
    assert done[0] == 2560  # the first iteration after the evaluation at 2,048
    assert record["curve"] == made[1]["curve"]
    for kind in ("medium", "medium-replay", "medium-expert"):
        task = find_task(f"hopper-{kind}")
        again, once = (read_d4rl(folder / f"{task.name}.hdf5", task) for folder in (tmp_path, made[0]))
        assert again.sha256 == once.sha256
    assert not list((tmp_path / "training" / "hopper").glob("agent-*"))  # nothing is left of the agent once its data are there


def test_what_was_killed_between_its_files_is_completed(made, whole, tmp_path):
    """As if the process had died after it had put the first file in its place."""
    shutil.copytree(whole.folder, tmp_path / "training" / "hopper" / whole.folder.name)  # instead of training it once more
    in_the_way = tmp_path / "hopper-medium-replay-v2.hdf5" / "in the way"
    in_the_way.mkdir(parents=True)
    with pytest.raises(OSError, match=r"hopper-medium-replay-v2\.hdf5"):
        make_data("hopper", tmp_path, SMALL, 0, lambda *_: None, force=True)
    assert (tmp_path / "hopper-medium-v2.hdf5").is_file()
    shutil.rmtree(in_the_way.parent)
    record = make_data("hopper", tmp_path, SMALL, 0, lambda part, *_: pytest.fail(f"{part} is done again"))
    assert record["data"] == made[1]["data"] and record["curve"] == made[1]["curve"]
    for kind in ("medium", "medium-replay", "medium-expert"):
        assert (tmp_path / f"hopper-{kind}-v2.hdf5").is_file()
    with pytest.raises(QuadloopError, match="exists"):  # now it is whole
        make_data("hopper", tmp_path, SMALL, 0, lambda *_: None)


def test_two_seeds_at_once_do_not_overwrite_each_other(tmp_path):
    said = []
    with ThreadPoolExecutor(2) as pool:
        running = [pool.submit(make_data, "hopper", tmp_path, SMALL, seed, lambda part, *_: said.append(part)) for seed in (0, 1)]
    errors = [future.exception() for future in running]
    assert sorted(type(error).__name__ for error in errors) == ["FileExistsAlreadyError", "NoneType"]
    assert "agent, which another run trains" in said
    assert json.loads((tmp_path / "hopper.json").read_text())["seed"] == errors.index(None)


def test_an_agent_that_goes_on_did_the_same_as_one_that_was_not_ended(whole, tmp_path):
    """And its episodes end at every evaluation, of the two environments alike."""

    def die(part, done, total, figures):
        if done == 2560:
            raise DiedError

    ended, resumed = (Agent(HOPPER, SMALL.training, 0, tmp_path) for _ in range(2))
    with pytest.raises(DiedError):
        ended.train(die)
    resumed.train(lambda *_: None)
    assert [stage.steps for stage in resumed.stages] == [1024, 2048, 3072, 4096]
    for one, other in zip(whole.did_until(whole.stages[-1]), resumed.did_until(resumed.stages[-1]), strict=True):
        for name, values in vars(one).items():
            np.testing.assert_array_equal(values, getattr(other, name))
        assert len(one.rewards) == 512
        assert (one.terminated | one.truncated)[-1].all()


def test_a_longer_training_goes_on_from_a_shorter_one(whole, tmp_path):
    short = replace(SMALL.training, steps=2048)
    Agent(HOPPER, short, 0, tmp_path).train(lambda *_: None)
    again = Agent(HOPPER, SMALL.training, 0, tmp_path)
    again.train(lambda *_: None)
    assert [stage.episode_return for stage in again.stages] == [stage.episode_return for stage in whole.stages]
    back = Agent(HOPPER, short, 0, tmp_path)
    back.train(lambda *_: None)
    assert [stage.steps for stage in back.stages] == [1024, 2048]


def test_a_damaged_agent_is_one_clear_error(tmp_path):
    agent = Agent(HOPPER, replace(SMALL.training, steps=2048), 0, tmp_path)
    agent.train(lambda *_: None)
    (agent.folder / "until_1024.npz").unlink()
    with pytest.raises(QuadloopError, match=r"lacks until_1024.npz; delete the folder"):
        agent.train(lambda *_: None)
    (agent.folder / "checkpoint.pt").write_bytes(b"nothing")
    with pytest.raises(QuadloopError, match="is not a checkpoint"):
        agent.train(lambda *_: None)


@pytest.mark.timeout(300)  # two whole commands
def test_other_kinds_of_arithmetic_around_it_do_not_change_the_data(tmp_path):
    """What the command inherits may have libraries sum in another order, as another processor does."""
    small = ["--steps", "256", "--medium-share", "1e-6", "--training.steps", "1024", "--training.evaluate-every", "512", "--json"]

    def made_with(name, **environment):
        command = [sys.executable, "-m", "quadloop", "d4rl", "data", "make", "hopper", "--out", str(tmp_path / name), *small]
        printed = subprocess.run(command, env=os.environ | environment, check=True, capture_output=True, text=True).stdout
        return {kind: data["sha256"] for kind, data in json.loads(printed)["data"].items()}

    as_here = made_with("here", MKL_CBWR="AUTO")
    assert (
        made_with("there", ATEN_CPU_CAPABILITY="default", OMP_NUM_THREADS="2", MKL_NUM_THREADS="2", OPENBLAS_CORETYPE="Nehalem") == as_here
    )
