"""PPO: a bandit that it solves, and the knobs that bound an update."""

import math
from dataclasses import replace

import pytest
import torch

from learners.policy import GaussianPolicy, gaussian_kl
from learners.ppo import Ppo, PpoBatch, PpoConfig
from learners.value import Value

OBSERVATIONS = torch.ones(256, 1)


def learner(**settings):
    policy = GaussianPolicy(1, 1, (8,), initial_std=0.5)
    return Ppo(policy, Value(1, (8,)), PpoConfig(**settings))


def bandit_batch(policy, generator, steps=256):
    """One-step episodes with reward -(a - 1)^2."""
    noise = torch.randn(steps, 1, generator=generator)
    actions, log_prob, mean = policy.sample(OBSERVATIONS[:steps], noise)
    rewards = -(actions[:, 0] - 1).square()
    log_std = policy.log_std.detach().clone()
    return PpoBatch(OBSERVATIONS[:steps], actions, log_prob, mean, log_std, rewards - rewards.mean(), rewards)


def parameters(module):
    return [parameter.detach().clone() for parameter in module.parameters()]


def unchanged(module, before):
    return all(torch.equal(now, then) for now, then in zip(module.parameters(), before, strict=True))


@pytest.mark.parametrize("precision", ["fp32", "bf16"])
def test_a_bandit_is_solved(precision):
    generator = torch.Generator().manual_seed(0)
    ppo = learner(clip_ratio=0.2, epochs=4, minibatches=2, policy_lr=1e-2, value_lr=2e-2, precision=precision)
    for _ in range(25):
        figures = ppo.update(bandit_batch(ppo.policy, generator), generator)
    mean, std = ppo.policy(OBSERVATIONS[:1]).item(), ppo.policy.log_std.exp().item()
    assert mean == pytest.approx(1.0, abs=0.15)
    assert std < 0.4  # less noise earns more
    # the expected reward of the last policies is about -(1 - mean)^2 - std^2
    assert ppo.value(OBSERVATIONS[:1]).item() == pytest.approx(-((1 - mean) ** 2) - std**2, abs=0.1)
    assert figures["value_loss"] < 0.2
    assert figures["steps"] == 8


def test_bfloat16_products_change_the_policy_in_nearly_the_same_direction():
    changes = []
    for precision in ("fp32", "bf16"):
        torch.manual_seed(0)
        generator = torch.Generator().manual_seed(0)
        ppo = learner(epochs=4, minibatches=2, precision=precision)
        before = parameters(ppo.policy)
        ppo.update(bandit_batch(ppo.policy, generator), generator)
        changes.append(torch.cat([(now - then).flatten() for now, then in zip(parameters(ppo.policy), before, strict=True)]))
    assert torch.cosine_similarity(*changes, dim=0) > 0.95


@pytest.mark.parametrize(("desired_kl", "factor"), [(1e-9, 1 / 1.5), (1e3, 1.0)])
def test_the_learning_rate_follows_the_kl_and_never_exceeds_the_given_one(desired_kl, factor):
    generator = torch.Generator().manual_seed(0)
    ppo = learner(desired_kl=desired_kl, policy_lr=1e-2)
    ppo.update(bandit_batch(ppo.policy, generator), generator)
    assert ppo.policy_lr == pytest.approx(1e-2 * factor)


def test_the_learning_rate_recovers_and_has_a_floor():
    generator = torch.Generator().manual_seed(0)
    low = learner(desired_kl=1e3, policy_lr=1e-2)
    low.policy_optimizer.param_groups[0]["lr"] = 2e-3
    low.update(bandit_batch(low.policy, generator), generator)
    assert low.policy_lr == pytest.approx(3e-3)
    floor = learner(desired_kl=1e-12, policy_lr=1e-2)
    floor.policy_optimizer.param_groups[0]["lr"] = 1.1e-4
    floor.update(bandit_batch(floor.policy, generator), generator)
    assert floor.policy_lr == pytest.approx(1e-4)


@pytest.mark.parametrize(("ratio", "factor"), [(0.45, 1.5), (0.55, 1.0), (1.9, 1.0), (2.1, 1 / 1.5)])
def test_the_learning_rate_stays_from_half_to_twice_the_desired_kl(ratio, factor):
    def updated(desired_kl):
        torch.manual_seed(0)
        generator = torch.Generator().manual_seed(0)
        ppo = learner(desired_kl=desired_kl, policy_lr=1e-2)
        ppo.policy_optimizer.param_groups[0]["lr"] = 2e-3
        return ppo.update(bandit_batch(ppo.policy, generator), generator)["kl"], ppo.policy_lr

    kl, _ = updated(1.0)
    assert updated(kl / ratio)[1] == pytest.approx(2e-3 * factor)


def test_an_update_ends_once_the_policy_has_moved_too_far():
    generator = torch.Generator().manual_seed(0)
    ppo = learner(max_kl=1e-7, policy_lr=1e-2)
    figures = ppo.update(bandit_batch(ppo.policy, generator), generator)
    assert figures["steps"] == 2  # the first step starts from the acting policy itself, the second sees how far it led
    assert figures["kl"] > 1e-7


def test_an_update_goes_on_as_long_as_the_kl_is_no_more_than_the_most():
    def updated(**settings):
        torch.manual_seed(0)
        generator = torch.Generator().manual_seed(0)
        ppo = learner(minibatches=2, policy_lr=1e-2, **settings)
        return ppo.update(bandit_batch(ppo.policy, generator), generator)

    kl = updated(epochs=1)["kl"]  # that the second step sees
    assert updated(epochs=2, max_kl=0.9 * kl)["steps"] == 2
    assert updated(epochs=2, max_kl=1.1 * kl)["steps"] > 2


def test_an_update_that_stays_near_runs_to_its_end():
    generator = torch.Generator().manual_seed(0)
    ppo = learner(max_kl=1e9, epochs=3, minibatches=5)
    assert ppo.update(bandit_batch(ppo.policy, generator), generator)["steps"] == 15


def test_the_reported_kl_is_that_of_one_policy_mean_and_std_alike():
    generator = torch.Generator().manual_seed(0)
    ppo = learner(epochs=1, minibatches=1, policy_lr=1e-2)
    batch = bandit_batch(ppo.policy, generator)
    assert ppo.update(batch, generator)["kl"] == 0.0  # measured where the only step starts: at the acting policy
    after = gaussian_kl(batch.mean, batch.log_std, ppo.policy(OBSERVATIONS).detach(), ppo.policy.log_std.detach()).mean().item()
    assert ppo.update(batch, generator)["kl"] == pytest.approx(after, rel=1e-4)


def test_without_advantages_the_policy_stays_and_the_value_learns():
    generator = torch.Generator().manual_seed(0)
    ppo = learner(epochs=2, minibatches=2)
    batch = bandit_batch(ppo.policy, generator)
    level = replace(batch, advantages=torch.full((256,), 3.0))
    policy, value = parameters(ppo.policy), parameters(ppo.value)
    assert ppo.update(level, generator)["surrogate"] == 0.0
    assert unchanged(ppo.policy, policy)
    assert not unchanged(ppo.value, value)


def test_the_value_learns_from_its_own_observations_where_there_are_some():
    generator = torch.Generator().manual_seed(0)
    ppo = learner(epochs=40, minibatches=1, policy_lr=0.0, value_lr=3e-2)
    sides = torch.tensor([[-1.0], [1.0]]).repeat(128, 1)  # the policy's are all the same
    batch = replace(bandit_batch(ppo.policy, generator), critic_observations=sides, returns=2 * sides[:, 0])
    ppo.update(batch, generator)
    assert ppo.value(torch.tensor([[-1.0], [1.0]])).tolist() == pytest.approx([-2.0, 2.0], abs=0.3)


def test_an_entropy_weight_widens_the_policy():
    generator = torch.Generator().manual_seed(0)
    ppo = learner(entropy_weight=1.0, epochs=1, minibatches=1, policy_lr=1e-2)
    batch = bandit_batch(ppo.policy, generator)
    level = replace(batch, advantages=torch.zeros(256))
    before = ppo.policy.log_std.item()
    ppo.update(level, generator)
    assert ppo.policy.log_std.item() == pytest.approx(before + 1e-2, abs=1e-4)  # Adam's first step is the learning rate


def test_a_last_minibatch_of_one_step_does_no_harm():
    generator = torch.Generator().manual_seed(0)
    ppo = learner(epochs=2, minibatches=4)
    figures = ppo.update(bandit_batch(ppo.policy, generator, steps=5), generator)  # 2, 2 and 1 step
    assert all(torch.isfinite(parameter).all() for parameter in ppo.policy.parameters())
    assert figures["steps"] == 6


def visits(**settings):
    """How often an update takes each of 8 steps: with V = 0 and returns 2^i the squared errors 4^i add up to a digit for each step."""
    ppo = learner(value_lr=0.0, **settings)
    for parameter in ppo.value.parameters():
        torch.nn.init.zeros_(parameter)
    batch = replace(bandit_batch(ppo.policy, torch.Generator().manual_seed(0), steps=8), returns=2.0 ** torch.arange(8))
    figures = ppo.update(batch, torch.Generator().manual_seed(0))
    taken = round(settings.get("pass_share", 1.0) * 8) * settings["epochs"]
    total = round(figures["value_loss"] * taken)
    assert figures["steps"] == settings["epochs"] * settings["minibatches"]
    return [total // 4**step % 4 for step in range(8)]


@pytest.mark.parametrize("minibatches", [1, 2, 4])
def test_every_epoch_visits_every_step_once(minibatches):
    assert visits(epochs=1, minibatches=minibatches) == [1] * 8
    assert visits(epochs=3, minibatches=minibatches) == [3] * 8


def test_a_pass_may_take_a_part_of_the_batch_which_is_drawn_anew():
    once, thrice = (visits(epochs=epochs, minibatches=2, pass_share=0.5) for epochs in (1, 3))
    assert sorted(once) == [0] * 4 + [1] * 4
    assert sum(thrice) == 12
    assert {1, 2} & set(thrice)  # the same half three times would be visited three times


def test_gradients_are_scaled_down_to_the_given_norm_policy_and_value_apart():
    norms = []
    for limit in (0.01, 1e9):
        torch.manual_seed(0)
        ppo = learner(epochs=1, minibatches=1, max_grad_norm=limit)
        ppo.update(bandit_batch(ppo.policy, torch.Generator().manual_seed(0)), torch.Generator().manual_seed(0))
        for module in (ppo.policy, ppo.value):
            norms.append(torch.cat([parameter.grad.flatten() for parameter in module.parameters()]).norm().item())
    assert norms[:2] == pytest.approx([0.01, 0.01], rel=1e-3)
    assert min(norms[2:]) > 0.1


def test_advantages_are_normalised_over_the_whole_batch():
    """Minibatches of one step each, which by itself would have the advantage 0.

    Of 1, 1, 1, -3: 0.577 three times and -1.732. All actions are twice as likely as when they were taken, and more than 1.1 times counts
    only against the policy: (3 * 1.1 * 0.577 - 2 * 1.732) / 4 = -0.390.
    """
    ppo = learner(clip_ratio=0.1, epochs=1, minibatches=4, policy_lr=0.0)
    batch = bandit_batch(ppo.policy, torch.Generator().manual_seed(0), steps=4)
    batch = replace(batch, log_prob=batch.log_prob - math.log(2), advantages=torch.tensor([1.0, 1.0, 1.0, -3.0]))
    assert ppo.update(batch, torch.Generator().manual_seed(0))["surrogate"] == pytest.approx(-0.3897, abs=1e-4)
