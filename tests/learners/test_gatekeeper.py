"""The queries of one improvement: what is compared with what, and how often AM-Q is asked."""

import pytest
import torch

from learners.gate import GateConfig
from learners.gatekeeper import Gatekeeper
from learners.policy import GaussianPolicy, member

STATES = torch.linspace(-1, 1, 7)[:, None]


def ensemble(*biases):
    """Members whose mean action is the same everywhere, with a standard deviation of 1: half the square of it is their KL from zero."""
    policies = GaussianPolicy(1, 1, (), (len(biases),))
    with torch.no_grad():
        policies.actor.weights[0].zero_()
        policies.actor.biases[0].copy_(torch.tensor(biases).reshape(-1, 1, 1))
    return policies


class Estimate:
    """AM-Q of made rollouts: of a mean action b it is b - b^2 / 8 from each of four starts, more or less; remembers what it was asked."""

    def __init__(self):
        self.asked = []

    def __call__(self, policies):
        bias = policies.actor.biases[0].detach().reshape(-1, 1)
        self.asked.append(bias.flatten().tolist())
        return bias - bias.square() / 8 + torch.tensor([0.3, -0.1, 0.2, -0.4])


@pytest.fixture
def estimate():
    return Estimate()


def gatekeeper(estimate, *biases, **changes):
    return Gatekeeper(estimate, ensemble(*[0.0] * len(biases)), ensemble(*biases), STATES, GateConfig(**{"max_kl": None} | changes))


def differences(decisions):
    return [decision.difference for decision in decisions]


def test_a_candidate_is_compared_with_what_its_member_had_accepted_last(estimate):
    gate = gatekeeper(estimate, 0.0, 1.0)
    first = gate.query(ensemble(1.0, 0.5))
    assert differences(first) == pytest.approx([0.875, 0.46875 - 0.875])
    assert [decision.accepted for decision in first] == [True, False]
    second = gate.query(ensemble(0.5, 2.0))  # beside 1.0, which was accepted, and 1.0, which still stands
    assert differences(second) == pytest.approx([0.46875 - 0.875, 1.5 - 0.875])
    assert [decision.accepted for decision in second] == [False, True]
    torch.testing.assert_close(gate.values.mean(-1), torch.tensor([0.875, 1.5]))


def test_each_policy_is_asked_about_once(estimate):
    gate = gatekeeper(estimate, 0.0, 0.0)
    assert estimate.asked == []
    gate.query(ensemble(1.0, 0.5))
    gate.query(ensemble(2.0, -1.0))
    assert sorted(estimate.asked) == [[0.0, 0.0], [1.0, 0.5], [2.0, -1.0]]


def test_distance_is_from_the_initial_policy_and_not_from_the_incumbent(estimate):
    gate = gatekeeper(estimate, 1.0, max_kl=1.0)
    near, far = gate.query(ensemble(1.25)), gate.query(ensemble(1.5))
    assert [near[0].kl, far[0].kl] == pytest.approx([0.78125, 1.125])
    assert [near[0].accepted, far[0].accepted] == [True, False]


def test_what_is_no_number_is_refused_and_never_becomes_the_incumbent(estimate):
    gate = gatekeeper(estimate, 0.5, 0.0)
    before = gate.values
    broken, sound = gate.query(ensemble(float("nan"), 1.0))
    assert not broken.accepted and sound.accepted
    assert torch.equal(gate.values[0], before[0])


def test_what_comes_of_all_members_is_set_beside_what_they_began_as(estimate):
    gate = gatekeeper(estimate, 2.0, 2.0, max_kl=1.0)  # they are at 2 by now
    near, far = gate.beside_start(member(ensemble(1.0), 0)), gate.beside_start(member(ensemble(1.5), 0))
    assert [near.difference, near.kl, near.accepted] == pytest.approx([0.875, 0.5, True])
    assert [far.kl, far.accepted] == pytest.approx([1.125, False])
