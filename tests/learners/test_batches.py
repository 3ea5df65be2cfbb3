"""Transitions that fit together, and batches of them."""

import dataclasses

import numpy as np
import pytest
import torch

from learners.batches import NStepData, TensorData, n_step_returns
from learners.transitions import Transitions


@pytest.fixture
def transitions():
    """Three steps: an episode of two that ends in a fall, and one of a single step that ran out of time."""
    return Transitions(
        observations=np.array([[0, 1], [2, 3], [4, 5]], np.float32),
        actions=np.array([[10], [11], [12]], np.float32),
        rewards=np.array([1, 2, 3], np.float32),
        next_observations=np.array([[2, 3], [6, 7], [8, 9]], np.float32),
        terminated=np.array([False, True, False]),
        truncated=np.array([False, False, True]),
        episode_starts=np.array([0, 2]),
    )


def test_a_data_set_counts_its_steps(transitions):
    assert len(transitions) == len(TensorData(transitions)) == 3


@pytest.mark.parametrize("name", ["observations", "rewards", "next_observations", "terminated", "truncated"])
def test_a_column_of_another_length_is_refused_by_name(transitions, name):
    with pytest.raises(ValueError, match=f"{name} has 2 rows, actions 3"):
        dataclasses.replace(transitions, **{name: getattr(transitions, name)[:2]})


def in_episodes(transitions, lengths):
    count = sum(lengths)
    columns = {name: np.resize(getattr(transitions, name), (count, *getattr(transitions, name).shape[1:])) for name in COLUMNS}
    return Transitions(**columns, episode_starts=np.cumsum([0, *lengths[:-1]]))


COLUMNS = ("observations", "actions", "rewards", "next_observations", "terminated", "truncated")


def test_whole_episodes_are_held_out_and_the_end_of_one_more(transitions):
    known, unknown = in_episodes(transitions, [2, 4, 3, 1]).split(0.4, order=np.array([3, 1, 0, 2]))
    assert known.tolist() == [9, 2, 3, 4, 5, 0]  # the episodes of 1 and 4 steps, and the first step of that of 2
    assert unknown.tolist() == [1, 6, 7, 8]


@pytest.mark.parametrize(("lengths", "share"), [([5], 0.05), ([2], 0.05), ([3, 7], 0.01), ([1, 1], 0.99)])
def test_neither_side_of_a_split_is_empty_and_no_row_is_on_both(transitions, lengths, share):
    known, unknown = in_episodes(transitions, lengths).split(share, order=np.arange(len(lengths)))
    assert len(known) and len(unknown)
    assert sorted([*known, *unknown]) == list(range(sum(lengths)))


def test_a_single_row_is_on_both_sides(transitions):
    known, unknown = in_episodes(transitions, [1]).split(0.05, order=np.array([0]))
    assert known.tolist() == unknown.tolist() == [0]


def test_next_observations_of_another_shape_are_refused(transitions):
    with pytest.raises(ValueError, match="differ in shape"):
        dataclasses.replace(transitions, next_observations=np.zeros((3, 5), np.float32))


def test_rows_keep_what_belongs_together_and_scale_the_rewards(transitions):
    batch = TensorData(transitions, reward_scale=10.0).rows(torch.tensor([1, 2, 1]))
    assert batch.observations.tolist() == [[2, 3], [4, 5], [2, 3]]
    assert batch.actions.tolist() == [[11], [12], [11]]
    assert batch.rewards.tolist() == [20, 30, 20]
    assert batch.next_observations.tolist() == [[6, 7], [8, 9], [6, 7]]
    assert batch.terminated.tolist() == [1.0, 0.0, 1.0]  # a time-out is no termination
    assert batch.steps.tolist() == [1.0, 1.0, 1.0]


def test_picks_of_any_shape_give_rows_of_that_shape(transitions):
    batch = TensorData(transitions).rows(torch.tensor([[0, 1], [2, 0]]))
    assert batch.observations.shape == (2, 2, 2)
    assert batch.rewards.tolist() == [[1, 2], [3, 1]]


def test_observations_are_not_copied(transitions):
    data = TensorData(transitions)
    transitions.observations[0, 0] = 77
    assert data.all.observations[0, 0] == 77


def test_draws_are_rows_of_the_data_and_repeat_with_their_seed(transitions):
    data = TensorData(transitions)
    first, again = (data.draw(500, torch.Generator().manual_seed(4)) for _ in range(2))
    assert torch.equal(first.actions, again.actions)
    assert set(first.actions.flatten().tolist()) == {10, 11, 12}  # with replacement, every row turns up
    torch.testing.assert_close(first.observations[:, 0], 2 * (first.actions[:, 0] - 10))  # rows stay whole
    assert data.draw_observations((4, 7), torch.Generator()).shape == (4, 7, 2)


@pytest.fixture
def three_episodes():
    """States in a row: 0 1 2 and a fall; 10 11, a step that is missing, 13 and a time-out in 14; 14 as the next episode's start."""
    return Transitions(
        observations=np.array([[0], [1], [2], [10], [11], [13], [14]], np.float32),
        actions=np.zeros((7, 1), np.float32),
        rewards=np.array([1, 2, 4, 8, 16, 32, 64], np.float32),
        next_observations=np.array([[1], [2], [3], [11], [12], [14], [15]], np.float32),
        terminated=np.array([False, False, True, False, False, False, False]),
        truncated=np.array([False, False, False, False, False, True, True]),
        episode_starts=np.array([0, 3, 6]),
    )


@pytest.mark.parametrize(
    ("n", "returns", "last"),
    [
        (1, [1, 2, 4, 8, 16, 32, 64], [0, 1, 2, 3, 4, 5, 6]),
        (2, [2, 4, 4, 16, 16, 32, 64], [1, 2, 2, 4, 4, 5, 6]),  # 1 + 2/2, 2 + 4/2, ends; 8 + 16/2, a gap; a time-out
        (9, [3, 4, 4, 16, 16, 32, 64], [2, 2, 2, 4, 4, 5, 6]),  # 1 + 2/2 + 4/4
    ],
)
def test_returns_stop_at_a_fall_a_time_out_and_a_gap(three_episodes, n, returns, last):
    found, rows = n_step_returns(three_episodes, n, gamma=0.5)
    assert found.tolist() == returns
    assert rows.tolist() == last


def test_a_stretch_ends_where_its_last_step_ended(three_episodes):
    batch = NStepData(three_episodes, n=3, gamma=0.5, reward_scale=10.0).rows(torch.tensor([0, 1, 3, 5]))
    assert batch.observations.flatten().tolist() == [0, 1, 10, 13]
    assert batch.rewards.tolist() == [30, 40, 160, 320]
    assert batch.next_observations.flatten().tolist() == [3, 3, 12, 14]
    assert batch.terminated.tolist() == [1, 1, 0, 0]
    assert batch.steps.tolist() == [3, 2, 2, 1]


def test_some_rows_keep_their_order_and_what_is_left_of_an_episode_is_one():
    values, none = np.arange(6, dtype=np.float32)[:, None], np.zeros(6, np.bool_)
    data = Transitions(values, values, values[:, 0], values, none, none, np.array([0, 2, 5]))
    assert data.episodes.tolist() == [0, 0, 1, 1, 1, 2]
    assert data.time.tolist() == [0, 1, 0, 1, 2, 0]
    some = data.only(np.array([4, 0, 3, 5]))
    assert some.rewards.tolist() == [0, 3, 4, 5]
    assert some.episode_starts.tolist() == [0, 1, 3]
