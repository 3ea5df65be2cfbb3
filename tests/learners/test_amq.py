"""AM-Q by hand, on a model and a critic that are exact: who earns what, for how long, and with whose luck."""

import copy

import numpy as np
import pytest
import torch

from learners.amq import Noise, amq, draw_noise, imagine
from learners.batches import Batch
from learners.dynamics import DynamicsConfig, DynamicsEnsemble
from learners.iql import IqlConfig, IqlCritics
from learners.onnx_graph import policy_of_layers
from learners.policy import GaussianPolicy, stack


class Line:
    """s' = s + a + noise, and 100 further in each next elite; terminates where `terminates` says of s'."""

    config = DynamicsConfig(precision="fp32")

    def __init__(self, terminates=torch.zeros_like):
        self.terminates = terminates

    def ready(self):
        return self

    def predict(self, observations, actions, noise):
        elites = torch.arange(len(observations))[:, None, None]
        following = observations + actions + noise + 100.0 * elites
        return following, torch.zeros(following.shape[:-1]), self.terminates(following[..., 0])


class Still(Line):
    """s' = s."""

    def predict(self, observations, actions, noise):
        return observations, torch.zeros(observations.shape[:-1]), torch.zeros(observations.shape[:-1])


class StatePlusTenActions:
    """Q(s, a) = s + 10 a."""

    def minimum(self, observations, actions):
        return (observations + 10 * actions)[..., 0]


def always(action, std=1.0):
    """A policy whose mean is the same action everywhere."""
    return policy_of_layers([(np.zeros((1, 1)), np.array([action]))], np.log([std]))


def column(*starts):
    return torch.tensor(starts)[:, None]


def no_noise(horizon, elites, rows):
    return Noise(torch.zeros(horizon, elites, rows, 1), torch.zeros(horizon, elites, rows, 1))


def estimate(policies, starts, model=None, noise=None, horizon=3, elites=1):
    noise = noise or no_noise(horizon, elites, len(starts) // elites)
    return amq(stack(policies), StatePlusTenActions(), model or Line(), starts, noise)


def test_q_is_summed_over_the_horizon_for_every_policy_and_start():
    # action 1 from 0: (0 + 10) + (1 + 10) + (2 + 10) = 33; from 5: 15 + 16 + 17 = 48
    # action 2 from 0: (0 + 20) + (2 + 20) + (4 + 20) = 66; from 5: 25 + 27 + 29 = 81
    assert estimate([always(1.0), always(2.0)], column(0.0, 5.0)).tolist() == [[33.0, 48.0], [66.0, 81.0]]


def test_actions_are_sampled():
    # noise 1, -1, 0.5 at std 2 around 1: actions 3, -1, 2; states 0, 3, 2: 30 + (3 - 10) + (2 + 20) = 45
    noise = Noise(torch.tensor([1.0, -1.0, 0.5]).reshape(3, 1, 1, 1), torch.zeros(3, 1, 1, 1))
    assert estimate([always(1.0, std=2.0)], column(0.0), noise=noise).item() == pytest.approx(45.0, abs=1e-4)


def test_the_models_noise_is_used():
    # action 0, frame noise 4, -1, 9: states 0, 4, 3; the last step's noise comes too late
    noise = Noise(torch.zeros(3, 1, 1, 1), torch.tensor([4.0, -1.0, 9.0]).reshape(3, 1, 1, 1))
    assert estimate([always(0.0)], column(0.0), noise=noise).item() == 7.0


def test_actions_are_clipped_where_the_robot_clips_them_and_nowhere_else():
    policies, noise = stack([always(8.0), always(-8.0)]), no_noise(2, 1, 1)
    # from 0: 80, then 8 + 80; clipped to 5: 50, then 5 + 50
    assert amq(policies, StatePlusTenActions(), Line(), column(0.0), noise).tolist() == [[168.0], [-168.0]]
    assert amq(policies, StatePlusTenActions(), Line(), column(0.0), noise, action_limit=5.0).tolist() == [[105.0], [-105.0]]


def test_a_terminated_rollout_earns_nothing_more():
    # action 2, over from 3 on. From 0: 20, at 2: 22, at 4 it is over: 42. From 5: 25, at 7 it is over
    over_from_three = Line(lambda state: (state >= 3).float())
    assert estimate([always(2.0)], column(0.0, 5.0), over_from_three, horizon=10).tolist() == [[42.0, 25.0]]


def test_falling_early_costs_even_where_the_survivors_earn_as_much():
    """Sum, not mean over survivors: equal Q a step, half the steps, half the estimate."""
    over_from_two = Line(lambda state: (state >= 2).float())
    walks, falls = estimate([always(0.0), always(0.5)], column(1.0), over_from_two, horizon=4).flatten().tolist()
    assert walks == 4.0  # 1 a step
    assert falls == 12.5  # 1 + 5, then 1.5 + 5, then over; without the fall 2 + 5 and 2.5 + 5 would follow


def test_a_rollout_earns_by_the_probability_that_it_goes_on():
    # one half each step: (0 + 10) + 0.5 (1 + 10) + 0.25 (2 + 10)
    assert estimate([always(1.0)], column(0.0), Line(lambda state: torch.full_like(state, 0.5))).item() == 18.5


def test_every_start_is_rolled_out_in_its_own_elite_for_every_policy_alike():
    # two elites of two starts, two steps; elite 0 adds nothing, elite 1 adds 100 to the second state
    # action 1: s + 10, then s + 1 + 10: 2 s + 21; action 0: 2 s. Elite 1: 100 more
    estimates = estimate([always(1.0), always(0.0)], column(1.0, 2.0, 3.0, 4.0), horizon=2, elites=2)
    assert estimates.tolist() == [[23.0, 25.0, 127.0, 129.0], [2.0, 4.0, 106.0, 108.0]]


def test_of_a_long_rollout_q_is_asked_now_and_then_for_all_steps_between():
    # 40 steps, so every second: action 1 from 0 earns t + 10 in step t, 1180 in all. The first start is asked in steps 0, 2, .. 38,
    # the second in the others: 2 (0 + 2 + .. + 38 + 20 * 10) = 1160; 2 (1 + 3 + .. + 39 + 20 * 10) = 1200
    assert estimate([always(1.0)], column(0.0, 0.0), horizon=40).tolist() == [[1160.0, 1200.0]]
    # one step more is the first start's alone: 2 (40 + 10)
    assert estimate([always(1.0)], column(0.0, 0.0), horizon=41).tolist() == [[1260.0, 1200.0]]


def test_every_step_has_its_share_whether_starts_are_many_or_few():
    # 100 steps, so every fifth, and an action that earns nothing but 1 for each step, of 3 and of 7 starts
    assert estimate([always(0.1)], torch.zeros(7, 1), Still(), horizon=100).sum().item() == pytest.approx(7 * 100, rel=1e-5)
    assert estimate([always(0.1)], torch.zeros(3, 1), Still(), horizon=100).sum().item() == pytest.approx(3 * 100, rel=1e-5)


def test_what_terminates_between_two_questions_earns_nothing_after():
    # over in step 2 of 40: the first start is asked in steps 0 and 2, by when it is over, the second in step 1
    over_from_two = Line(lambda state: (state >= 2).float())
    assert estimate([always(1.0)], column(0.0, 0.0), over_from_two, horizon=40).tolist() == [[20.0, 22.0]]


def test_noise_belongs_to_its_start_and_its_elite():
    # one step, action = noise: each start earns s + 10 times its own noise
    noise = Noise(torch.tensor([[1.0, 2.0], [3.0, 4.0]]).reshape(1, 2, 2, 1), torch.zeros(1, 2, 2, 1))
    estimates = estimate([always(0.0), always(1.0)], column(0.0, 0.0, 0.0, 0.0), noise=noise)
    assert estimates.tolist() == [[10.0, 20.0, 30.0, 40.0], [20.0, 30.0, 40.0, 50.0]]


@pytest.fixture(params=["fp32", "bf16"])
def learnt(request):
    """A real model, which computes in either format, and a real critic with random weights."""
    observations = torch.randn(64, 6)
    model = DynamicsEnsemble(6, 2, 2, DynamicsConfig(members=3, elites=2, hidden=(16,), precision=request.param))
    data = Batch(observations, torch.randn(64, 2), torch.randn(64), observations, torch.zeros(64), torch.ones(64))
    critics = IqlCritics(data, IqlConfig(q_hidden=(16,), v_hidden=(16,)))
    return model, critics.q, observations[:20]


def test_equal_policies_differ_by_nothing_at_all_under_common_noise():
    noise = draw_noise(12, 2, 20, 1, 1, torch.Generator().manual_seed(0))
    first, second, other = estimate([always(0.1), always(0.1), always(0.2)], torch.randn(20, 1), noise=noise, elites=2)
    assert torch.equal(first, second)
    # the same luck for all: an action 0.1 larger earns 12 * 10 * 0.1 and 0.1 * (0 + 1 + .. + 11), wherever it starts
    torch.testing.assert_close(other - first, torch.full((20,), 18.6), atol=1e-2, rtol=0.0)


def test_equal_policies_differ_by_rounding_alone_in_a_learnt_model(learnt):
    model, q, starts = learnt
    policy, other = GaussianPolicy(6, 2, (8,)), GaussianPolicy(6, 2, (8,))
    noise = draw_noise(12, 2, 20, 2, 3, torch.Generator().manual_seed(0))
    first, second, third = amq(stack([policy, policy, other]), q, model, starts, noise)
    torch.testing.assert_close(first, second, atol=1e-4, rtol=1e-4)
    assert (first - third).abs().max() > 0.01


def test_who_imagines_keeps_its_weights_and_its_states_are_of_full_precision(learnt):
    model, _, starts = learnt
    policies = stack([GaussianPolicy(6, 2, (8,))])
    noise = draw_noise(3, 2, 20, 2, 3, torch.Generator().manual_seed(0))
    before = copy.deepcopy([policies.state_dict(), model.state_dict()])
    *_, last = imagine(policies, model, starts, noise)
    assert {value.dtype for value in (last.states, last.actions, last.alive, last.rewards, last.following)} == {torch.float32}
    torch.testing.assert_close([policies.state_dict(), model.state_dict()], before, rtol=0.0, atol=0.0)
    assert all(parameter.requires_grad for parameter in (*policies.parameters(), *model.network.parameters()))


def test_an_estimate_does_not_depend_on_who_is_estimated_beside_it(learnt):
    model, q, starts = learnt
    policies = [GaussianPolicy(6, 2, (8,)) for _ in range(3)]
    noise = draw_noise(8, 2, 20, 2, 3, torch.Generator().manual_seed(0))
    together = amq(stack(policies), q, model, starts, noise)
    for policy, estimates in zip(policies, together, strict=True):
        torch.testing.assert_close(amq(stack([policy]), q, model, starts, noise)[0], estimates, atol=1e-4, rtol=1e-4)
    assert not together.requires_grad


def test_noise_is_standard_normal_has_a_row_a_rollout_and_repeats_with_its_seed():
    noise, again = (draw_noise(50, 2, 400, 3, 5, torch.Generator().manual_seed(1)) for _ in range(2))
    assert noise.actions.shape == (50, 2, 200, 3)
    assert noise.frames.shape == (50, 2, 200, 5)
    assert torch.equal(noise.actions, again.actions)
    assert torch.equal(noise.frames, again.frames)
    for values in (noise.actions, noise.frames):  # 60,000 and 100,000 numbers
        assert values.mean().item() == pytest.approx(0.0, abs=0.02)
        assert values.std().item() == pytest.approx(1.0, abs=0.02)
