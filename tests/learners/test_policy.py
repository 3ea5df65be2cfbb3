"""The Gaussian policy: densities by hand and against torch.distributions, sampling, and the way into an ensemble and out."""

import copy
import math

import pytest
import torch
from torch.distributions import Independent, Normal, kl_divergence

from learners.policy import GaussianPolicy, average, clipped_log_prob, distance, gaussian_kl, gaussian_log_prob, member, stack, weights_hash

LN2 = math.log(2)


def test_log_prob_by_hand():
    # first dimension: -0.5*1^2 - ln 1 - 0.9189385 = -1.4189385
    # second: -0.5*(0.5/2)^2 - ln 2 - 0.9189385 = -0.03125 - 0.6931472 - 0.9189385 = -1.6433357
    value = gaussian_log_prob(torch.tensor([1.0, 0.0]), torch.tensor([0.0, 0.5]), torch.tensor([0.0, LN2]))
    assert value.item() == pytest.approx(-3.0622742, abs=1e-6)


def test_clipped_log_prob_by_hand():
    # N(0.5, 1) clipped to +-1. At 1: P(x >= 1) = 1 - Phi(0.5) = 0.3085375. At -1: Phi(-1.5) = 0.0668072. At 0.5: the density, 0.3989423.
    actions = torch.tensor([[1.0], [-1.0], [0.5]])
    values = clipped_log_prob(actions, torch.full((3, 1), 0.5), torch.zeros(1), 1.0)
    torch.testing.assert_close(values.exp(), torch.tensor([0.3085375, 0.0668072, 0.3989423]))


def test_the_gradient_of_an_action_at_the_limit_leads_there_from_afar():
    """Far below the limit P(x >= limit) falls as exp(-z^2 / 2), z = (limit - mean) / std: the slope is about z / std."""
    mean = torch.tensor([[-99.0], [99.0]], requires_grad=True)
    log_std = torch.zeros(1, requires_grad=True)
    clipped_log_prob(torch.tensor([[1.0], [-1.0]]), mean, log_std, 1.0).sum().backward()
    torch.testing.assert_close(mean.grad, torch.tensor([[100.0], [-100.0]]), rtol=1e-2, atol=0.0)
    assert log_std.grad.item() == pytest.approx(2 * 100.0**2, rel=1e-2)  # a wider policy would reach it


def test_kl_by_hand_and_not_symmetric():
    zero, one, ln2 = torch.tensor([0.0]), torch.tensor([1.0]), torch.tensor([LN2])
    # KL(N(1, 1) || N(0, 2)) = 0.5 (1/4 + 1/4 - 1) + ln 2
    assert gaussian_kl(one, zero, zero, ln2).item() == pytest.approx(0.4431472, abs=1e-6)
    # KL(N(0, 2) || N(1, 1)) = 0.5 (4 + 1 - 1) - ln 2
    assert gaussian_kl(zero, ln2, one, zero).item() == pytest.approx(1.3068528, abs=1e-6)
    assert gaussian_kl(one, ln2, one, ln2).item() == 0.0


def test_densities_agree_with_torch_distributions_in_float64():
    mean, other_mean, actions = torch.randn(3, 50, 6, dtype=torch.float64)
    log_std, other_log_std = torch.randn(2, 6, dtype=torch.float64)
    here = Independent(Normal(mean, log_std.exp()), 1)
    there = Independent(Normal(other_mean, other_log_std.exp()), 1)
    torch.testing.assert_close(gaussian_log_prob(actions, mean, log_std), here.log_prob(actions), atol=1e-10, rtol=1e-10)
    torch.testing.assert_close(gaussian_kl(mean, log_std, other_mean, other_log_std), kl_divergence(here, there), atol=1e-10, rtol=1e-10)


def test_entropy_by_hand_and_against_torch_distributions():
    policy = GaussianPolicy(3, 2, (4,)).double()
    with torch.no_grad():
        policy.log_std.copy_(torch.tensor([0.0, LN2], dtype=torch.float64))
    # 2 * (0.5 + 0.9189385332) + ln 2
    assert policy.entropy().item() == pytest.approx(3.5310242469, abs=1e-9)
    entropy = Independent(Normal(torch.zeros(2, dtype=torch.float64), policy.log_std.exp()), 1).entropy()
    assert policy.entropy().item() == pytest.approx(entropy.item(), abs=1e-12)


def test_entropy_of_an_ensemble_is_the_members_mean():
    narrow, wide = GaussianPolicy(3, 2, (4,), initial_std=1.0), GaussianPolicy(3, 2, (4,), initial_std=2.0)
    # 2 * 1.4189385 and that plus 2 ln 2; the mean lies ln 2 above the first
    assert stack([narrow, wide]).entropy().item() == pytest.approx(2.8378771 + LN2, abs=1e-6)


def test_log_prob_of_the_mean_action_is_the_density_at_the_peak():
    policy = GaussianPolicy(3, 2, (4,), initial_std=2.0)
    observations = torch.randn(5, 3)
    # -2 ln 2 - 2 * 0.9189385
    torch.testing.assert_close(gaussian_log_prob(policy(observations), policy(observations), policy.log_std), torch.full((5,), -3.2241714))


def test_samples_have_the_std_that_the_policy_says():
    policy = GaussianPolicy(3, 2, (4,))
    with torch.no_grad():
        policy.log_std.copy_(torch.tensor([0.45, 2.0]).log())
    noise = torch.randn(200_000, 2)
    actions, _, mean = policy.sample(torch.randn(1, 3), noise)
    torch.testing.assert_close(actions.std(0), torch.tensor([0.45, 2.0]), rtol=0.01, atol=0.0)
    torch.testing.assert_close(actions.mean(0), mean[0], rtol=0.0, atol=0.02)


def test_an_action_is_the_mean_plus_std_times_noise_and_its_log_prob_agrees():
    policy = GaussianPolicy(3, 2, (4,), initial_std=0.5)
    observations, noise = torch.randn(6, 3), torch.tensor([1.0, -3.0]).expand(6, 2)
    actions, log_prob, mean = policy.sample(observations, noise)
    torch.testing.assert_close(mean, policy(observations).detach())
    torch.testing.assert_close(actions - mean, torch.tensor([0.5, -1.5]).expand(6, 2))
    torch.testing.assert_close(log_prob, gaussian_log_prob(actions, policy(observations), policy.log_std).detach(), atol=1e-5, rtol=1e-5)
    assert not (actions.requires_grad or log_prob.requires_grad or mean.requires_grad)


def test_members_sample_with_the_same_or_their_own_noise():
    ensemble = GaussianPolicy(3, 2, (4,), members=(5,))
    assert ensemble.members == (5,)
    for noise in (torch.randn(6, 2), torch.randn(5, 6, 2)):
        actions, log_prob, mean = ensemble.sample(torch.randn(6, 3), noise)
        assert actions.shape == mean.shape == (5, 6, 2)
        assert log_prob.shape == (5, 6)
        torch.testing.assert_close(actions - mean, noise.expand(5, 6, 2), atol=1e-6, rtol=1e-5)


def policies_that_differ(count, activation="elu"):
    policies = [GaussianPolicy(3, 2, (4, 5), activation=activation) for _ in range(count)]
    for index, policy in enumerate(policies):
        torch.nn.init.constant_(policy.log_std, 0.1 * index)
    return policies


@pytest.mark.parametrize("activation", ["elu", "relu"])
def test_into_an_ensemble_and_out_again_changes_no_bit(activation):
    policies = policies_that_differ(3, activation)
    ensemble = stack(policies)
    assert ensemble.members == (3,)
    for index, policy in enumerate(policies):
        back = member(ensemble, index)
        assert back.members == ()
        assert back.actor.activation == activation
        for name, parameter in policy.named_parameters():
            assert torch.equal(parameter, dict(back.named_parameters())[name])


def test_an_ensembles_means_and_densities_are_its_members():
    policies = policies_that_differ(3)
    ensemble = stack(policies)
    observations, actions = torch.randn(8, 3), torch.randn(8, 2)
    log_prob = gaussian_log_prob(actions, ensemble(observations), ensemble.log_std)
    for index, policy in enumerate(policies):
        torch.testing.assert_close(ensemble(observations)[index], policy(observations), atol=1e-6, rtol=1e-6)
        torch.testing.assert_close(log_prob[index], gaussian_log_prob(actions, policy(observations), policy.log_std))


def test_stack_and_member_copy_and_do_not_share():
    policies = policies_that_differ(2)
    ensemble = stack(policies)
    single = member(ensemble, 1)
    kept = single.log_std.clone()
    with torch.no_grad():
        policies[1].log_std.fill_(9.0)
        ensemble.log_std.fill_(7.0)
    assert torch.equal(single.log_std, kept)
    assert all(parameter.requires_grad for parameter in single.parameters())


def test_distance_is_averaged_over_states_and_counted_for_each_dimension():
    """A shift by one deviation in one of two dimensions is 0.5 nats in all (by hand), by two deviations 2 nats."""
    one, other = (GaussianPolicy(1, 2, (), initial_std=1.0) for _ in range(2))
    with torch.no_grad():
        for policy, slope in ((one, 1.0), (other, 0.0)):
            policy.actor.weights[0].copy_(torch.tensor([[slope, 0.0]]))
            policy.actor.biases[0].zero_()
    states = torch.tensor([[1.0], [2.0]])
    assert distance(one, other, states).item() == pytest.approx((0.5 + 2.0) / 2 / 2)
    assert distance(stack([one, other]), other, states).tolist() == pytest.approx([0.625, 0.0])


def test_distance_is_the_kl_from_the_first_to_the_second():
    narrow, wide = (GaussianPolicy(1, 1, (), initial_std=std) for std in (1.0, 2.0))
    wide.actor.load_state_dict(narrow.actor.state_dict())
    states = torch.ones(1, 1)
    assert distance(narrow, wide, states).item() == pytest.approx(LN2 - 0.375, abs=1e-6)  # 0.5 (1/4 - 1) + ln 2
    assert distance(wide, narrow, states).item() == pytest.approx(1.5 - LN2, abs=1e-6)  # 0.5 (4 - 1) - ln 2


def test_a_hash_knows_weights_activation_and_whether_a_policy_is_an_ensemble():
    policy = GaussianPolicy(1, 1, (2,))
    relu, moved = GaussianPolicy(1, 1, (2,), activation="relu"), copy.deepcopy(policy)
    relu.load_state_dict(policy.state_dict())
    with torch.no_grad():
        moved.log_std += 1e-6
    assert len({weights_hash(each) for each in (policy, relu, moved, stack([policy]))}) == 4
    assert weights_hash(copy.deepcopy(policy)) == weights_hash(policy)


def test_the_average_of_some_members_has_the_mean_of_their_weights_and_shares_none():
    ensemble = stack([GaussianPolicy(3, 2, (4,), initial_std=std) for std in (0.1, 0.4, 0.9)])
    single = average(ensemble, [0, 1])
    assert single.members == ()
    first, second = member(ensemble, 0), member(ensemble, 1)
    for parameter, one, other in zip(single.parameters(), first.parameters(), second.parameters(), strict=True):
        torch.testing.assert_close(parameter, (one + other) / 2)
    assert torch.exp(single.log_std).tolist() == pytest.approx([0.2, 0.2])  # the geometric mean of 0.1 and 0.4
    with torch.no_grad():
        single.log_std.fill_(0.0)
    assert ensemble.log_std.max() < 0


def test_a_policy_that_is_narrowed_keeps_what_is_narrower_already():
    policy = GaussianPolicy(3, 2, (4,))
    with torch.no_grad():
        policy.log_std.copy_(torch.log(torch.tensor([0.2, 0.8])))
    policy.narrow(None)
    assert torch.exp(policy.log_std).tolist() == pytest.approx([0.2, 0.8])
    policy.narrow(0.5)
    assert torch.exp(policy.log_std).tolist() == pytest.approx([0.2, 0.5])
