"""The clipped surrogate in all its regions, what its gradient reaches, and normalised advantages."""

import math

import pytest
import torch

from learners.surrogate import clipped_surrogate, normalise_advantages

# clip_ratio 0.2: the ratio is held to 0.8 .. 1.2. Columns: ratio, advantage, min(r A, clip(r) A), d/d log_prob
REGIONS = [
    pytest.param(1.5, 2.0, 2.4, 0.0, id="above and good: held at 1.2 * 2, no more to gain"),  # min(3.0, 2.4)
    pytest.param(1.5, -2.0, -3.0, -3.0, id="above and bad: punished in full"),  # min(-3.0, -2.4)
    pytest.param(0.5, 2.0, 1.0, 1.0, id="below and good: rewarded in full"),  # min(1.0, 1.6)
    pytest.param(0.5, -2.0, -1.6, 0.0, id="below and bad: held at 0.8 * -2, no more to gain"),  # min(-1.0, -1.6)
    pytest.param(1.1, 2.0, 2.2, 2.2, id="inside and good"),
    pytest.param(0.9, -2.0, -1.8, -1.8, id="inside and bad"),
]


@pytest.mark.parametrize(("ratio", "advantage", "value", "slope"), REGIONS)
def test_every_region_and_its_slope(ratio, advantage, value, slope):
    behavior = torch.tensor([-3.0])
    log_prob = (behavior + math.log(ratio)).requires_grad_()
    surrogate = clipped_surrogate(log_prob, behavior, torch.tensor([advantage]), 0.2)
    surrogate.backward()
    assert surrogate.item() == pytest.approx(value, abs=1e-5)
    assert log_prob.grad.item() == pytest.approx(slope, abs=1e-5)


def test_gradients_flow_through_log_prob_alone():
    log_prob, behavior, advantages = (torch.randn(5).requires_grad_() for _ in range(3))
    clipped_surrogate(log_prob, behavior, advantages, 0.2).backward()
    assert log_prob.grad is not None
    assert behavior.grad is None
    assert advantages.grad is None


def test_the_mean_is_over_a_batch_and_an_ensemble_keeps_its_members_apart():
    behavior = torch.zeros(2)
    log_prob = torch.tensor([[1.0, 1.1], [1.5, 0.5]]).log()
    advantages = torch.tensor([[1.0, 2.0], [2.0, -2.0]])
    # (1.0 + 2.2) / 2 and (2.4 - 1.6) / 2
    torch.testing.assert_close(clipped_surrogate(log_prob, behavior, advantages, 0.2), torch.tensor([1.6, 0.4]))


def test_the_acting_policy_itself_scores_the_mean_advantage():
    log_prob = torch.randn(4)
    assert clipped_surrogate(log_prob, log_prob, torch.tensor([1.0, 2.0, 3.0, 6.0]), 0.1).item() == pytest.approx(3.0)


def test_advantages_are_normalised_over_the_last_axis():
    # (1, 2, 3): mean 2, population std sqrt(2/3) = 0.8164966, so -+1 / 0.8164966; the second row is the first, scaled and shifted
    expected = torch.tensor([-1.2247449, 0.0, 1.2247449]).expand(2, 3)
    torch.testing.assert_close(normalise_advantages(torch.tensor([[1.0, 2.0, 3.0], [10.0, 30.0, 50.0]])), expected)


@pytest.mark.parametrize("advantages", [torch.tensor([7.0]), torch.full((5,), -2.0)])
def test_steps_that_do_not_differ_have_no_advantage(advantages):
    assert normalise_advantages(advantages).tolist() == [0.0] * len(advantages)
