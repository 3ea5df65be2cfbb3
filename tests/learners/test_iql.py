"""IQL's losses by hand, its target network, and an MDP whose values are known."""

from dataclasses import replace

import numpy as np
import pytest
import torch

from learners.batches import Batch, NStepData, TensorData
from learners.iql import IqlConfig, IqlCritics, expectile_loss, q_loss, td_target
from learners.transitions import Transitions


def test_the_expectile_loss_by_hand():
    # tau 0.7: (0.3*4 + 0.7*1 + 0.7*9) / 3 = 8.2 / 3
    assert expectile_loss(torch.tensor([-2.0, 1.0, 3.0]), 0.7).item() == pytest.approx(2.7333333)


def test_the_expectile_one_half_is_half_the_squared_error():
    assert expectile_loss(torch.tensor([-2.0, 4.0]), 0.5).item() == pytest.approx(5.0)  # 0.5 (4 + 16) / 2


def test_a_terminated_step_has_no_future():
    target = td_target(torch.tensor([1.0, 1.0]), torch.tensor([10.0, 10.0]), torch.tensor([0.0, 1.0]), 0.9)
    torch.testing.assert_close(target, torch.tensor([10.0, 1.0]))  # 1 + 0.9*10, 1


def test_a_future_further_away_counts_less():
    target = td_target(torch.ones(2), torch.full((2,), 10.0), torch.zeros(2), torch.tensor([0.9, 0.81]))
    torch.testing.assert_close(target, torch.tensor([10.0, 9.1]))  # 1 + 0.9*10, 1 + 0.81*10


def test_the_q_loss_is_the_mean_over_the_batch_and_the_sum_over_networks():
    # network 0 misses by (1, 1): 1; network 1 by (3, 4): (9 + 16) / 2
    assert q_loss(torch.tensor([[1.0, 2.0], [3.0, 5.0]]), torch.tensor([0.0, 1.0])).item() == pytest.approx(13.5)


def some_batch(size=16):
    return Batch(torch.randn(size, 3), torch.randn(size, 2), torch.randn(size), torch.randn(size, 3), torch.zeros(size), torch.ones(size))


def critics_for(batch, **settings):
    return IqlCritics(batch, IqlConfig(q_hidden=(32,), v_hidden=(32,), precision="fp32", **settings))


def test_the_target_network_takes_over_its_share_of_each_step():
    batch = some_batch()
    critics = critics_for(batch, polyak=0.25, learning_rate=1e-2)
    for _ in range(2):  # the second step starts from a target that is no longer Q
        before = [parameter.clone() for parameter in critics.q_target.network.parameters()]
        critics.update(batch)
        triples = zip(before, critics.q_target.network.parameters(), critics.q.network.parameters(), strict=True)
        for old, now, q in triples:
            torch.testing.assert_close(now.detach(), (3 * old + q.detach()) / 4)
            assert not torch.equal(now, old)


def test_the_target_network_starts_as_q():
    batch = some_batch()
    critics = critics_for(batch)
    assert torch.equal(critics.q(batch.observations, batch.actions), critics.q_target(batch.observations, batch.actions))


def test_values_begin_at_the_level_of_the_data():
    batch = some_batch()
    critics = critics_for(replace(batch, rewards=batch.rewards + 7), gamma=0.99)
    with torch.no_grad():
        for values in (critics.q(batch.observations, batch.actions), critics.v(batch.observations)):
            torch.testing.assert_close(values, torch.full_like(values, 700.0), rtol=0.0, atol=50.0)


def test_observations_are_normalised_by_the_data_for_q_as_for_v():
    batch = some_batch()
    data = replace(batch, observations=torch.tensor([[1.0, 10.0, 100.0], [3.0, 50.0, 300.0]]))  # std sqrt 2, 20 sqrt 2, 100 sqrt 2
    critics = critics_for(data)
    for normaliser in (critics.v.normaliser, critics.q.normaliser, critics.q_target.normaliser):
        torch.testing.assert_close(normaliser(torch.tensor([[1.0, 50.0, 200.0]])), torch.tensor([[-(0.5**0.5), 0.5**0.5, 0.0]]))


def test_layer_norm_bounds_what_q_says_of_actions_far_beyond_the_data():
    batch = some_batch()
    with torch.no_grad():
        bounded, unbounded = (
            critics_for(batch, gamma=0.0, layer_norm=norm).q(batch.observations, 1e6 * batch.actions) for norm in (True, False)
        )
    assert bounded.abs().max() < 10 < 1e3 < unbounded.abs().max()


def test_the_twins_differ_and_the_minimum_is_the_smaller():
    batch = some_batch()
    q = critics_for(batch).q
    first, second = q(batch.observations, batch.actions)
    assert not torch.equal(first, second)
    smaller = [min(pair) for pair in zip(first.tolist(), second.tolist(), strict=True)]
    assert q.minimum(batch.observations, batch.actions).tolist() == smaller


def test_q_takes_any_leading_shape():
    batch = some_batch(12)
    q = critics_for(batch).q
    flat = q(batch.observations, batch.actions)
    shaped = q(batch.observations.reshape(3, 4, 3), batch.actions.reshape(3, 4, 2))
    torch.testing.assert_close(shaped, flat.reshape(2, 3, 4))


def saying(batch, q, v=0.0):
    """Critics whose networks give the same numbers in every state and to every action: one of `q` each, and `v`."""
    critics = critics_for(batch, critics=len(q))
    with torch.no_grad():
        for network, level in ((critics.q.network, torch.tensor(q)[:, None, None]), (critics.v.network, torch.tensor([v]))):
            network.weights[-1].zero_()
            network.biases[-1].copy_(level)
    return critics


def test_of_any_number_of_critics_the_smallest_counts():
    batch = some_batch()
    critics = saying(batch, q=[3.0, 1.0, 4.0, -1.5, 5.0])
    torch.testing.assert_close(critics.q.minimum(batch.observations, batch.actions), torch.full((16,), -1.5))
    torch.testing.assert_close(critics.minimum(batch.observations, batch.actions), torch.full((16,), -1.5))


def test_every_one_of_any_number_of_critics_learns():
    batch = some_batch()
    critics = critics_for(batch, critics=5)
    before = [parameter.clone() for parameter in critics.q.network.parameters()]
    critics.update(batch)
    moved = [(one != other).flatten(1).any(1) for one, other in zip(before, critics.q.network.parameters(), strict=True)]
    assert all(len(each) == 5 and each.all() for each in moved)


def test_v_learns_from_the_target_network_alone():
    """Eq. 2 with V = 2 and a target network that says 2: no error, whatever Q itself and the rewards are."""
    batch = some_batch()
    critics = saying(batch, q=[2.0, 2.0], v=2.0)
    critics.q_target.load_state_dict(critics.q.state_dict())
    with torch.no_grad():
        critics.q.network.biases[-1].fill_(9.0)
    v, q = ([parameter.clone() for parameter in network.parameters()] for network in (critics.v.network, critics.q.network))
    critics.update(batch)
    assert all(torch.equal(now, then) for now, then in zip(critics.v.network.parameters(), v, strict=True))
    assert not all(torch.equal(now, then) for now, then in zip(critics.q.network.parameters(), q, strict=True))


def test_advantages_are_the_smaller_q_minus_v_without_gradient():
    batch = some_batch()
    advantages = saying(batch, q=[5.0, 2.0], v=1.25).advantages(batch.observations, batch.actions)
    torch.testing.assert_close(advantages, torch.full((16,), 0.75))
    assert not advantages.requires_grad


def test_advantages_of_several_actions_in_the_same_states():
    batch = some_batch(12)
    critics = critics_for(batch)
    actions = torch.stack([batch.actions, -batch.actions, 0 * batch.actions])
    for index, found in enumerate(critics.advantages(batch.observations, actions)):
        torch.testing.assert_close(found, critics.advantages(batch.observations, actions[index]), atol=1e-5, rtol=1e-5)


@pytest.fixture(scope="module")
def corridor():
    """Two states, one-hot, and two actions, each equally often in the data.

    start: -1 earns 0 and ends; +1 earns 0.5 and leads to middle. middle: either action earns 1 and ends.
    With gamma 0.9: Q(middle, .) = V(middle) = 1; Q(start, -1) = 0; Q(start, +1) = 0.5 + 0.9 * 1 = 1.4.
    """
    start, middle = [1.0, 0.0], [0.0, 1.0]
    rows = 4
    return Transitions(
        observations=np.array([start, start, middle, middle] * rows, np.float32),
        actions=np.array([[-1], [1], [-1], [1]] * rows, np.float32),
        rewards=np.array([0.0, 0.5, 1.0, 1.0] * rows, np.float32),
        next_observations=np.array([start, middle, middle, middle] * rows, np.float32),
        terminated=np.array([True, False, True, True] * rows),
        truncated=np.zeros(4 * rows, np.bool_),
        episode_starts=np.array([0]),
    )


def test_the_values_of_a_known_mdp_are_found(corridor):
    start_value = 1.26  # the 0.9-expectile of 0 and 1.4: 0.9 (1.4 - v) = 0.1 (v - 0)
    data = TensorData(corridor)
    critics = critics_for(data.all, expectile=0.9, gamma=0.9, polyak=0.1, learning_rate=1e-2)
    for _ in range(250):
        losses = critics.update(data.all)
    four = data.rows(torch.arange(4))
    with torch.no_grad():
        q, v = critics.q(four.observations, four.actions), critics.v(four.observations)
    torch.testing.assert_close(q, torch.tensor([0.0, 1.4, 1.0, 1.0]).expand(2, 4), atol=0.05, rtol=0.0)
    torch.testing.assert_close(v, torch.tensor([start_value, start_value, 1.0, 1.0]), atol=0.05, rtol=0.0)
    advantages = critics.advantages(four.observations, four.actions)
    assert advantages[1] > 0.05 > -0.5 > advantages[0]
    assert losses["q_loss"] < 1e-2
    assert losses["value"].item() == pytest.approx((start_value + 1) / 2, abs=0.05)


def test_stretches_of_several_steps_lead_to_the_same_values(corridor):
    """Rows start, middle, start, middle, ...: a start that leads to the middle is a stretch of two steps, 0.5 + 0.9 * 1 = 1.4."""
    walk = np.tile([1, 2], 4)
    columns = ("observations", "actions", "rewards", "next_observations", "terminated", "truncated")
    steps = Transitions(**{name: getattr(corridor, name)[walk] for name in columns}, episode_starts=np.arange(0, 8, 2))
    data = NStepData(steps, n=5, gamma=0.9)
    batch = data.rows(torch.arange(8))
    assert batch.steps.tolist() == [2.0, 1.0] * 4
    critics = critics_for(batch, gamma=0.9, polyak=0.1, learning_rate=1e-2)
    for _ in range(120):
        critics.update(batch)
    with torch.no_grad():
        torch.testing.assert_close(critics.v(batch.observations), torch.tensor([1.4, 1.0] * 4), atol=0.05, rtol=0.0)


@pytest.mark.parametrize("n", [1, 2])
def test_a_step_that_only_ran_out_of_time_keeps_its_future(n):
    """One state that goes on for ever with reward 1, cut by a time-out: V = 1 / (1 - 0.5) = 2.

    Over two steps: 1 + 0.5 + 0.25 V = 2 as well, and over the one before the time-out 1 + 0.5 V.
    """
    rows = 6
    same = np.ones((rows, 1), np.float32)
    steps = Transitions(
        observations=same,
        actions=np.zeros((rows, 1), np.float32),
        rewards=np.ones(rows, np.float32),
        next_observations=same,
        terminated=np.zeros(rows, np.bool_),
        truncated=np.arange(rows) == rows - 1,
        episode_starts=np.array([0]),
    )
    batch = NStepData(steps, n, gamma=0.5).rows(torch.arange(rows))
    critics = critics_for(batch, gamma=0.5, polyak=0.2, learning_rate=1e-2)
    for _ in range(120):
        critics.update(batch)
    torch.testing.assert_close(critics.v(batch.observations).detach(), torch.full((rows,), 2.0), atol=0.05, rtol=0.0)
