"""Ensemble behavior cloning: equation 6 by hand, and what it makes of data with two ways to act."""

import math

import numpy as np
import pytest
import torch

from learners.batches import TensorData
from learners.cloning import CloningConfig, clone_behavior, cloning_loss, cloning_step
from learners.onnx_graph import policy_of_layers
from learners.policy import GaussianPolicy, stack
from learners.transitions import Transitions

SMALL = CloningConfig(steps=300, batch_size=256, learning_rate=1e-2, hidden=(16,))


def always(action, std):
    """A policy whose mean is the same action everywhere."""
    return policy_of_layers([(np.zeros((1, 1)), np.array([action]))], np.log([std]), "relu")


def steps_with(observations, actions):
    count = len(actions)
    return Transitions(
        observations=np.asarray(observations, np.float32), actions=np.asarray(actions, np.float32), rewards=np.zeros(count, np.float32),
        next_observations=np.asarray(observations, np.float32), terminated=np.zeros(count, np.bool_),
        truncated=np.zeros(count, np.bool_), episode_starts=np.array([0]),
    )  # fmt: skip


def test_equation_6_by_hand():
    # Two members at 0 and 1 with std 1; data action 0.5 for both: log N = -1/2 log(2 pi) - 1/8 = -1.0439 each.
    # Own actions without noise are 0 and 1, where the other is 1/2 nat less likely. f = max_j pi_j / Z with
    # Z = 2 E_mixture[max / sum] = 2 / (1 + e^-1/2) = 1.24492: KL = log Z = 0.21907 each.
    policies = stack([always(0.0, 1.0), always(1.0, 1.0)])
    observations, actions, noise = torch.zeros(1, 1), torch.full((1, 1), 0.5), torch.zeros(2, 1, 1)
    log_prob = -0.5 * math.log(2 * math.pi) - 0.125
    log_z = math.log(2 / (1 + math.exp(-0.5)))
    loss, figures = cloning_loss(policies, observations, actions, noise, 0.0, 10.0)
    assert loss.item() == pytest.approx(-2 * log_prob, abs=1e-5)
    loss, figures = cloning_loss(policies, observations, actions, noise, 0.5, 10.0)
    assert loss.item() == pytest.approx(-2 * (log_prob + 0.5 * log_z), abs=1e-5)
    assert figures["disagreement"].item() == pytest.approx(0.219065, abs=1e-5)


def test_the_disagreements_gradient_parts_the_members():
    policies = stack([always(0.0, 1.0), always(1.0, 1.0)])
    apart = torch.zeros(256, 1), torch.full((256, 1), 0.5), torch.randn(2, 256, 1, generator=torch.Generator().manual_seed(0))
    with_it, _ = cloning_loss(policies, *apart, 5.0, 10.0)
    without, _ = cloning_loss(policies, *apart, 0.0, 10.0)
    low, high = (torch.autograd.grad(with_it - without, policies.actor.biases[-1])[0]).flatten().tolist()
    assert low > 0.0 > high  # downhill leads the lower member down and the upper one up


def test_members_that_differ_only_beyond_the_limit_act_alike():
    policies, noise = stack([always(2.0, 1.0), always(3.0, 1.0)]), torch.zeros(2, 1, 1)
    for limit, apart in ((10.0, 0.219065), (2.0, 0.0)):
        _, figures = cloning_loss(policies, torch.zeros(1, 1), torch.zeros(1, 1), noise, 0.1, limit)
        assert figures["disagreement"].item() == pytest.approx(apart, abs=1e-5)


def test_members_are_compared_in_the_same_states():
    """Equal ones that vary from state to state by far more than their deviation would seem apart in different states."""
    policies = stack([GaussianPolicy(1, 1, (8,), initial_std=0.01)] * 3)
    data = TensorData(steps_with(np.linspace(-3, 3, 200)[:, None], np.zeros((200, 1))))
    figures = cloning_step(policies, torch.optim.Adam(policies.parameters()), data, 10.0, SMALL, torch.Generator().manual_seed(0))
    assert figures["disagreement"].item() == pytest.approx(0.0, abs=1e-5)


def test_every_member_learns_what_was_done():
    random = np.random.default_rng(0)
    observations = random.uniform(-1, 1, (2000, 1))
    actions = 0.7 * observations + random.normal(0.0, 0.1, (2000, 1))
    policies = clone_behavior(steps_with(observations, actions), 3, 1.0, SMALL, 0, lambda *_: None)
    seen = torch.linspace(-0.9, 0.9, 19)[:, None]
    with torch.no_grad():
        torch.testing.assert_close(policies(seen), (0.7 * seen).expand(3, 19, 1), atol=0.05, rtol=0.0)
        torch.testing.assert_close(policies.log_std.exp().flatten(), torch.full((3,), 0.1), atol=0.05, rtol=0.0)


def test_a_policy_that_mostly_acts_at_the_limit_is_found_beyond_it():
    """Actions N(1.3, 0.5^2), clipped to +-1: three in four are at the limit. Their mean is 0.92; what drew them is what is wanted."""
    random = np.random.default_rng(0)
    actions = np.clip(random.normal(1.3, 0.5, (2000, 1)), -1.0, 1.0)
    policies = clone_behavior(steps_with(np.zeros((2000, 1)), actions), 2, 1.0, SMALL, 0, lambda *_: None)
    with torch.no_grad():
        torch.testing.assert_close(policies(torch.zeros(1, 1)).flatten(), torch.full((2,), 1.3), atol=0.1, rtol=0.0)
        torch.testing.assert_close(policies.log_std.exp().flatten(), torch.full((2,), 0.5), atol=0.1, rtol=0.0)


def test_clones_are_kept_by_all_that_decides_them(tmp_path):
    data, other = (steps_with(np.zeros((8, 1)), np.full((8, 1), action)) for action in (0.0, 0.5))
    config = CloningConfig(steps=1, batch_size=4, hidden=(4,))

    def kept(data=data, members=2, limit=1.0, seed=0):
        clone_behavior(data, members, limit, config, seed, lambda *_: None, tmp_path)
        return len(list(tmp_path.glob("cloning-*.pt")))

    assert [kept(), kept(), kept(data=other), kept(members=3), kept(limit=0.5), kept(seed=1)] == [1, 1, 2, 3, 4, 5]


def test_the_same_seed_clones_the_same_and_progress_reaches_the_end():
    data = steps_with(np.linspace(-1, 1, 50)[:, None], np.zeros((50, 1)))
    heard, clones = [], []
    for _ in range(2):
        config = CloningConfig(steps=150, batch_size=8, hidden=(4,))
        clones.append(clone_behavior(data, 2, 1.0, config, 1, lambda *call: heard.append(call[:3])))
    assert all(torch.equal(one, other) for one, other in zip(clones[0].parameters(), clones[1].parameters(), strict=True))
    assert heard[:2] == [("cloning", 100, 150), ("cloning", 150, 150)]
