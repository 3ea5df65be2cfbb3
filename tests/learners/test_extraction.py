"""Advantage-weighted regression: its weights by hand, and what it makes of data with good and bad actions."""

import copy
from dataclasses import replace

import numpy as np
import pytest
import torch

from learners import training
from learners.checkpoint import load_checkpoint
from learners.dynamics import DynamicsConfig
from learners.extraction import CLONING, ExtractionConfig, advantage_weights, extract, extraction_loss
from learners.iql import IqlConfig
from learners.policy import GaussianPolicy
from learners.transitions import Transitions
from learners.uni_o4 import UniO4, UniO4Config


def quiet(*_):
    """No progress."""


def test_weights_by_hand():
    # exp(3 * 0) = 1, exp(3 * 0.5) = 4.4817, exp(3 * -1) = 0.0498, exp(6) = 403.4 and so the most
    weights = advantage_weights(torch.tensor([0.0, 0.5, -1.0, 2.0]), 3.0)
    assert weights.tolist() == pytest.approx([1.0, 4.4816891, 0.0497871, 100.0], rel=1e-5)
    assert advantage_weights(torch.tensor([-5.0, 0.0, 5.0]), 0.0).tolist() == [1.0, 1.0, 1.0]


def test_loss_by_hand():
    # -(1 * -2 + 4 * -0.5) / 2 = 2
    assert float(extraction_loss(torch.tensor([-2.0, -0.5]), torch.tensor([1.0, 4.0]))) == pytest.approx(2.0)


@pytest.fixture(scope="module")
def learner():
    """Half of the actions are +0.5 and earn 1, half are -0.5 and earn nothing; every step ends its episode."""
    torch.manual_seed(0)
    random = np.random.default_rng(0)
    observations = random.normal(size=(1000, 1)).astype(np.float32)
    good = random.random(1000) < 0.5
    actions = np.where(good, 0.5, -0.5) + random.normal(0, 0.05, 1000)
    data = Transitions(
        observations, actions.astype(np.float32)[:, None], good.astype(np.float32), observations,
        np.ones(1000, np.bool_), np.zeros(1000, np.bool_), np.arange(1000),
    )  # fmt: skip
    config = UniO4Config(
        members=1, reward_scale=1.0, action_limit=1.0,
        iql=IqlConfig(steps=300, batch_size=128, q_hidden=(32,), v_hidden=(32,), learning_rate=1e-2, n_step=1, precision="fp32"),
        dynamics=DynamicsConfig(steps=1, members=2, elites=2, hidden=(8,)),
    )  # fmt: skip
    learner = UniO4(data, GaussianPolicy(1, 1, (16,), initial_std=0.5), 1, config, seed=0)
    learner.fit_critics(quiet, None)
    return learner


def mean_action(policy):
    with torch.no_grad():
        return float(policy(torch.linspace(-1, 1, 21)[:, None]).mean())


def test_cloning_does_what_the_data_do_and_extraction_what_earned(learner):
    sizes = {"steps": 300, "batch_size": 128, "learning_rate": 1e-2}
    clone = extract(learner, ExtractionConfig(**sizes, temperature=0.0), quiet)
    better = extract(learner, ExtractionConfig(**sizes), quiet)
    assert mean_action(clone) == pytest.approx(0.0, abs=0.1)
    assert mean_action(better) == pytest.approx(0.5, abs=0.1)


def test_a_temperature_means_the_same_whatever_advantages_are_measured_in(learner):
    """Good actions by a thousandth better than the mean, bad ones by as much worse: e^3 to e^-3, 0.4975 on average."""
    small = copy.deepcopy(learner)
    small.critics.advantages = lambda _, actions: 1e-3 * actions[..., 0].sign()
    policy = extract(small, ExtractionConfig(steps=300, batch_size=128, learning_rate=1e-2), quiet)
    assert mean_action(policy) == pytest.approx(0.5, abs=0.1)


def test_the_learning_rate_falls_to_nothing_at_the_end(learner, tmp_path):
    extract(learner, ExtractionConfig(steps=20), quiet, tmp_path)
    [kept] = tmp_path.glob("extraction-*.pt")
    assert load_checkpoint(kept)["learnt"]["optimizer"]["param_groups"][0]["lr"] == pytest.approx(0.0, abs=1e-12)


def test_a_policy_is_kept_by_all_that_decides_it(learner, tmp_path):
    def kept(learner, temperature=3.0):
        extract(learner, ExtractionConfig(steps=2, temperature=temperature), quiet, tmp_path)
        return len(list(tmp_path.glob("extraction-*.pt")))

    elsewhere, limited, judged = (copy.deepcopy(learner) for _ in range(3))
    with torch.no_grad():
        elsewhere.start.log_std += 0.1
    limited.config = replace(learner.config, action_limit=0.7)
    judged.config = replace(learner.config, iql=replace(learner.config.iql, expectile=0.8))
    assert [kept(learner), kept(learner), kept(elsewhere), kept(limited), kept(judged), kept(learner, 0.0)] == [1, 1, 2, 3, 4, 5]
    assert kept(judged, 0.0) == 5  # cloning asks no critic


def test_cloning_asks_no_critic(learner):
    assert CLONING.temperature == 0
    weight = learner.critics.q.network.weights[0]
    kept = weight.detach().clone()
    config = ExtractionConfig(steps=5, temperature=0.0)
    first = extract(learner, config, quiet)
    with torch.no_grad():
        weight.fill_(float("nan"))
    second = extract(learner, config, quiet)
    with torch.no_grad():
        weight.copy_(kept)
    assert mean_action(first) == mean_action(second)


def test_the_starting_policy_is_left_as_it_is_and_a_finished_one_is_taken_over(learner, tmp_path):
    before = mean_action(learner.start)
    config, calls = ExtractionConfig(steps=20), []
    first = extract(learner, config, quiet, tmp_path)
    again = extract(learner, config, lambda *call: calls.append(call), tmp_path)
    assert mean_action(learner.start) == before
    assert mean_action(again) == mean_action(first)
    assert calls == []


def test_an_interrupted_extraction_goes_on_to_the_same_policy(learner, tmp_path, monkeypatch):
    monkeypatch.setattr(training, "SAVE_PERIOD_S", 0.0)
    config = ExtractionConfig(steps=150)

    def interrupted(_part, done, _total, _figures):
        if done == 100:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        extract(learner, config, interrupted, tmp_path)
    resumed = extract(learner, config, quiet, tmp_path)
    assert mean_action(resumed) == mean_action(extract(learner, config, quiet))
