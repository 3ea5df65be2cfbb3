"""Scaling, evaluation and PPO in a task's environment."""

from dataclasses import replace

import numpy as np
import pytest
import torch

from d4rl_bench.evaluation import Evaluator, mean_action
from d4rl_bench.finetuning import LEARNER, finetune, load_learner
from d4rl_bench.online import SCRATCH, Learner, OnlineConfig, OnlineTrainer, Rollout, Scales, learner_from_nothing
from d4rl_bench.scaling import RunningStatistics, Scaler, scaler_of
from d4rl_bench.task import find_task
from learners.checkpoint import CheckpointError, load_checkpoint, save_checkpoint
from learners.policy import GaussianPolicy
from learners.ppo import PpoConfig
from learners.training import DivergedError
from learners.value import Value

HOPPER = replace(find_task("hopper-medium"), evaluation_episodes=3, episode_steps=60)
QUICK = OnlineConfig(
    steps=512,
    environments=2,
    steps_per_update=128,
    evaluate_every=256,
    ppo=PpoConfig(epochs=2, minibatches=2, policy_lr=3e-4, value_lr=3e-4),
)


def test_a_scaler_takes_away_the_mean_and_divides_by_the_deviation():
    scaler = scaler_of(np.array([[1.0, 10.0], [3.0, 30.0]]))
    np.testing.assert_allclose(scaler(np.array([2.0, 40.0])), [0.0, 2.0], atol=2e-3)


def test_running_statistics_are_those_of_all_rows():
    rows = np.random.default_rng(0).normal(3.0, 2.0, (1000, 2))
    running = RunningStatistics(2)
    for part in np.split(rows, [1, 100, 640]):
        running.add(part)
    np.testing.assert_allclose(running.mean, rows.mean(0))
    np.testing.assert_allclose(running.std, rows.std(0))


def test_an_evaluation_repeats_and_counts_each_episode_once():
    evaluator = Evaluator(HOPPER, seed=5)
    stand = evaluator.returns(lambda observations: np.zeros((len(observations), 3), np.float32))
    again = evaluator.returns(lambda observations: np.zeros((len(observations), 3), np.float32))
    np.testing.assert_array_equal(stand, again)
    assert stand.shape == (3,) and len(set(stand)) == 3 and (stand > 10).all()
    measured = evaluator.measure(lambda observations: np.zeros((len(observations), 3), np.float32))
    assert measured["return"]["mean"] == pytest.approx(stand.mean())
    assert measured["score"] == pytest.approx(HOPPER.score(stand.mean()))
    evaluator.close()


def test_a_rollout_keeps_what_followed_and_why_it_ended():
    learner, scales = learner_from_nothing(HOPPER, QUICK, seed=0)
    trainer = OnlineTrainer(HOPPER, learner, QUICK, seed=0, scales=scales)
    rollout = trainer.collect(200)
    assert rollout.observations.shape == (200, 2, 11) and rollout.actions.shape == (200, 2, 3)
    ended = rollout.terminated | rollout.truncated
    going_on = ~ended[:-1]
    np.testing.assert_array_equal(rollout.next_observations[:-1][going_on], rollout.observations[1:][going_on])
    assert ended.any() and not np.allclose(rollout.next_observations[:-1][~going_on], rollout.observations[1:][~going_on])
    trainer.close()


def test_ppo_from_nothing_learns_and_its_scales_follow():
    config = replace(SCRATCH, steps=12_288, environments=4, steps_per_update=1024)
    learner, scales = learner_from_nothing(HOPPER, config, seed=0)
    evaluator, trainer = Evaluator(HOPPER, seed=0), OnlineTrainer(HOPPER, learner, config, 0, scales)
    before = evaluator.score(mean_action(learner.policy, learner.scaler))
    while trainer.steps < config.steps:
        _, figures = trainer.iterate()
    assert figures["value_loss"] < 5.0  # of rewards that are scaled to order one
    assert evaluator.score(mean_action(learner.policy, learner.scaler)) > before
    trainer.close()
    evaluator.close()


def unscaled(size):
    return Scaler(np.zeros(size, np.float32), np.ones(size, np.float32))


def scales_after(*rollouts, cut_off=False):
    """The learner as it sees after these rollouts (observations, rewards, terminated, truncated; T x 2) of discount 0.5. With `cut_off`,
    new episodes begin before the last one."""
    learner, scales = Learner(GaussianPolicy(1, 1, (2,)), Value(1, (2,)), unscaled(1)), Scales(1, 2, 0.5)
    for number, columns in enumerate(rollouts, start=1):
        observations, rewards, terminated, truncated = (np.array(column, dtype=float) for column in columns)
        seen, none = observations[..., None], np.zeros((*rewards.shape, 1))
        if cut_off and number == len(rollouts):
            scales.begin_episodes()
        scales.take_in(Rollout(seen, none, rewards, seen, terminated > 0, truncated > 0), learner)
    return learner


# Discounted returns: the first environment's 10, 10 / 2 + 25 = 30 and, after its end, 10; the second one's 30, after its end 10, and
# 10 / 2 + 25 = 30. Observations 2 and 6 as often: mean 4, deviation 2.
FIRST = (
    [[2, 6], [6, 2], [2, 6]],
    [[10, 30], [25, 10], [10, 25]],
    [[0, 0], [1, 0], [0, 0]],
    [[0, 1], [0, 0], [0, 0]],
)


def test_learning_that_blows_up_ends_on_one_line():
    learner, _ = learner_from_nothing(HOPPER, QUICK, seed=0)
    trainer = OnlineTrainer(HOPPER, learner, replace(QUICK, ppo=replace(QUICK.ppo, value_lr=1e30)), seed=0)
    with pytest.raises(DivergedError, match=r"^PPO: learning blew up .*; begin anew with a lower ppo.value_lr$"):
        for _ in range(3):
            trainer.iterate()
    trainer.close()


def test_rewards_are_scaled_so_that_discounted_returns_deviate_by_one():
    learner = scales_after(FIRST)
    assert learner.reward_scale == pytest.approx(1 / 10)  # of 10, 30, 10, 30, 10, 30
    assert learner.scaler(np.array([[2.0], [4.0], [8.0]])).ravel() == pytest.approx([-1.0, 0.0, 2.0], abs=2e-3)


def test_returns_run_on_from_one_rollout_to_the_next_unless_new_episodes_begin():
    running = ([[2, 6]], [[25, -5]], [[0, 0]], [[0, 0]])  # 10 / 2 + 25 = 30, 30 / 2 - 5 = 10
    assert scales_after(FIRST, running).reward_scale == pytest.approx(1 / 10)
    begun = ([[2, 6]], [[10, 30]], [[0, 0]], [[0, 0]])
    assert scales_after(FIRST, begun, cut_off=True).reward_scale == pytest.approx(1 / 10)


class Interrupted(Exception):  # noqa: N818
    pass


def test_an_interrupted_fine_tuning_gives_the_numbers_of_a_whole_one(tmp_path):
    config = replace(QUICK, evaluate_every=48)  # a checkpoint after 256 steps
    evaluator = Evaluator(HOPPER, seed=0)
    whole = finetune(HOPPER, None, config, 0, tmp_path / "whole", evaluator, lambda *_: None)

    def interrupt(_part, step, _total, _figures):
        if step == 384:
            raise Interrupted

    with pytest.raises(Interrupted):
        finetune(HOPPER, None, config, 0, tmp_path / "parts", evaluator, interrupt)
    heard = []
    parts = finetune(HOPPER, None, config, 0, tmp_path / "parts", evaluator, lambda *call: heard.append(call[1]))
    assert [step for step, _ in whole] == [0, 128, 256, 384, 512]  # every early update is measured
    assert parts == whole and heard == [384, 512]
    evaluator.close()


def test_measuring_does_not_cut_episodes_off(tmp_path):
    """Who is measured after each of 16 updates ends up as who never is, although episodes of 60 steps are under way each time."""
    config = replace(QUICK, steps_per_update=32, exploration_std=None)
    evaluator = Evaluator(HOPPER, seed=0)
    curve = finetune(HOPPER, None, config, 0, tmp_path, evaluator, lambda *_: None)
    learner, scales = learner_from_nothing(HOPPER, config, seed=0)
    trainer = OnlineTrainer(HOPPER, learner, config, 0, scales)
    while trainer.steps < config.steps:
        trainer.iterate()
    assert [steps for steps, _ in curve] == list(range(0, 513, 32))
    assert curve[-1][1] == evaluator.score(mean_action(learner.policy, learner.scaler))
    trainer.close()
    evaluator.close()


def test_fine_tuning_without_an_offline_run_is_refused_in_one_line(tmp_path):
    lost = rf"learner.pt cannot be read \(No such file or directory\); delete {tmp_path} and run quadloop d4rl offline again$"
    with pytest.raises(CheckpointError, match=lost):
        load_learner(tmp_path)
    (tmp_path / "learner.pt").write_bytes(b"no checkpoint")
    with pytest.raises(Exception, match=f"is not a checkpoint: .*; delete {tmp_path} and run quadloop d4rl offline again$"):
        load_learner(tmp_path)
    torch.save({"policy": 1}, tmp_path / "learner.pt")
    with pytest.raises(Exception, match="holds no learner of this version"):
        load_learner(tmp_path)


def test_a_scaler_keeps_float32():
    assert Scaler(np.zeros(2, np.float32), np.ones(2, np.float32))(np.ones((3, 2))).dtype == np.float32


@pytest.mark.parametrize(("exploration_std", "expected"), [(0.3, 0.3), (None, 0.9)])
def test_a_policy_from_noisy_data_explores_no_more_than_it_may(tmp_path, exploration_std, expected):
    start = tmp_path / "start"
    policy, value = GaussianPolicy(HOPPER.observation_size, HOPPER.action_size, (8,), initial_std=0.9), Value(HOPPER.observation_size, (8,))
    save_checkpoint(start / LEARNER, Learner(policy, value, unscaled(HOPPER.observation_size)).state_dict())
    evaluator, config = Evaluator(HOPPER, seed=0), replace(QUICK, steps=1, exploration_std=exploration_std)
    finetune(HOPPER, start, config, 0, tmp_path / "run", evaluator, lambda *_: None)
    evaluator.close()
    left = load_checkpoint(tmp_path / "run" / "checkpoint.pt")["ppo"]["policy"]["log_std"]
    assert torch.exp(left).tolist() == pytest.approx([expected] * 3, rel=0.1)
