"""Eq. 25's disagreement between the members of an ensemble: how large it is and where its gradient leads."""

import math

import pytest
import torch

from learners.disagreement import disagreement

SAMPLES = 20_000


def disagreement_of(*means, std=1.0):
    """Members with constant means and the same std: their disagreement (M,) and its gradient to the means (M,)."""
    centres = torch.tensor(means).requires_grad_()
    noise = torch.randn(len(means), SAMPLES, 1, generator=torch.Generator().manual_seed(0))
    log_std = torch.full((len(means), 1, 1), math.log(std))
    values = disagreement(log_std, centres[:, None, None].expand(noise.shape), noise)
    values.sum().backward()
    return values.detach(), centres.grad


def test_equal_members_do_not_disagree():
    values, gradient = disagreement_of(0.5, 0.5, 0.5)
    torch.testing.assert_close(values, torch.zeros(3), atol=1e-5, rtol=0.0)
    torch.testing.assert_close(gradient, torch.zeros(3), atol=0.02, rtol=0.0)


@pytest.mark.parametrize("count", [2, 4])
def test_members_far_apart_disagree_in_full_and_are_left_alone(count):
    values, gradient = disagreement_of(*(20.0 * index for index in range(count)))
    torch.testing.assert_close(values, torch.full((count,), math.log(count)))
    assert gradient.tolist() == [0.0] * count


@pytest.mark.parametrize(
    ("distance", "expected"),
    [
        # two members, d stds apart: E min(0, d^2/2 - d e) + ln Z = (d^2/2)(1 - Phi(d/2)) - d phi(d/2) + ln(2 Phi(d/2))
        (1.0, 0.1264042),  # 0.5 * 0.3085375 - 0.3520653 + ln 1.3829249
        (2.0, 0.3537625),  # 2 * 0.1586553 - 2 * 0.2419707 + ln 1.6826895
        (4.0, 0.6361715),  # 8 * 0.0227501 - 4 * 0.0539910 + ln 1.9544997
    ],
)
@pytest.mark.parametrize("std", [1.0, 0.2])
def test_two_members_by_hand(distance, expected, std):
    values, _ = disagreement_of(0.0, distance * std, std=std)
    torch.testing.assert_close(values, torch.full((2,), expected), atol=0.02, rtol=0.0)


@pytest.mark.parametrize("distance", [0.1, 0.5, 1.0, 2.0, 4.0])
def test_members_that_overlap_are_pushed_apart_however_near_they_are(distance):
    _, gradient = disagreement_of(0.0, distance)
    assert gradient[0] < -0.02  # to be maximised: the left one moves left
    assert gradient[1] > 0.02


def test_the_nearest_other_member_counts():
    # the pair two stds apart as above, the third far away: ln Z grows from ln 1.6826895 to ln 2.6826895
    values, gradient = disagreement_of(0.0, 2.0, 40.0)
    torch.testing.assert_close(values, torch.tensor([0.8201889, 0.8201889, 0.9868198]), atol=0.03, rtol=0.0)
    assert gradient[0] < -0.02
    assert gradient[1] > 0.02
    assert gradient[2].item() == pytest.approx(0.0, abs=1e-5)


def test_each_member_has_its_own_deviation():
    """Means of 0, deviations 1 and 2, actions of 0: the second is half as likely as the first. ln Z = ln(2 / (1 + 1/2)); less ln 2."""
    values = disagreement(torch.tensor([0.0, math.log(2)])[:, None, None], torch.zeros(2, 1, 1), torch.zeros(2, 1, 1))
    assert values.tolist() == pytest.approx([math.log(4 / 3), math.log(4 / 3) - math.log(2)], abs=1e-6)


def test_a_member_alone_has_no_one_to_disagree_with():
    values, gradient = disagreement_of(3.0)
    assert values.tolist() == [0.0]
    assert gradient.tolist() == [0.0]
