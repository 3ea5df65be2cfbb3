"""Generalised advantages by hand: two robots, a fall, a time-out, and what must not leak across them."""

import torch

from learners.advantages import generalised_advantages

FALL, TIME_OUT, GO = "fall", "time-out", "go"


def advantages_of(rewards, values, next_values, endings, gamma=0.5, gae_lambda=0.5):
    """Each argument is one list a robot, one entry a step."""
    columns = [torch.tensor(rows).T for rows in (rewards, values, next_values)]
    terminated, truncated = (torch.tensor([[ending == kind for ending in robot] for robot in endings]).T for kind in (FALL, TIME_OUT))
    return generalised_advantages(*columns, terminated, truncated, gamma, gae_lambda)


def test_two_robots_by_hand():
    # gamma 0.5, gamma lambda 0.25
    # robot 0 falls at step 1; 99 is the value of the observation after the fall and must not count
    #   t3: 4 + 0.5*3 - 2   = 3.5                    -> 3.5
    #   t2: 3 + 0.5*2 - 1.5 = 2.5                    -> 2.5 + 0.25*3.5   = 3.375
    #   t1: 2 - 1           = 1    (fell)            -> 1
    #   t0: 1 + 0.5*1 - 0.5 = 1                      -> 1 + 0.25*1       = 1.25
    # robot 1 runs out of time at step 2; 6 is the value of that episode's final observation, the next episode starts at value 4
    #   t3: 2 - 4           = -2   (fell)            -> -2
    #   t2: -1 + 0.5*6 - 0  = 2    (time-out)        -> 2
    #   t1: 1 + 0.5*0 - 2   = -1                     -> -1 + 0.25*2      = -0.5
    #   t0: 0 + 0.5*2 - 1   = 0                      -> 0 + 0.25*(-0.5)  = -0.125
    values = [[0.5, 1.0, 1.5, 2.0], [1.0, 2.0, 0.0, 4.0]]
    advantages, returns = advantages_of(
        rewards=[[1.0, 2.0, 3.0, 4.0], [0.0, 1.0, -1.0, 2.0]],
        values=values,
        next_values=[[1.0, 99.0, 2.0, 3.0], [2.0, 0.0, 6.0, 5.0]],
        endings=[[GO, FALL, GO, GO], [GO, GO, TIME_OUT, FALL]],
    )
    expected = torch.tensor([[1.25, 1.0, 3.375, 3.5], [-0.125, -0.5, 2.0, -2.0]]).T
    torch.testing.assert_close(advantages, expected)
    torch.testing.assert_close(returns, expected + torch.tensor(values).T)


def test_running_out_of_time_is_not_falling():
    arguments = {"rewards": [[1.0]], "values": [[0.0]], "next_values": [[8.0]]}
    assert advantages_of(**arguments, endings=[[FALL]])[0].item() == 1.0
    assert advantages_of(**arguments, endings=[[TIME_OUT]])[0].item() == 5.0  # 1 + 0.5 * 8
    assert advantages_of(**arguments, endings=[[GO]])[0].item() == 5.0


def test_a_step_that_both_fell_and_timed_out_fell():
    one = torch.ones(1, 1)
    advantages, _ = generalised_advantages(one, one, 8 * one, one.bool(), one.bool(), 0.5, 0.5)
    assert advantages.item() == 0.0  # 1 - 1


def test_lambda_one_is_the_discounted_return_and_lambda_zero_one_step():
    arguments = {
        "rewards": [[1.0, 1.0, 1.0]],
        "values": [[0.5, 0.25, 0.125]],
        "next_values": [[0.25, 0.125, 7.0]],
        "endings": [[GO, GO, FALL]],
        "gamma": 0.9,
    }
    _, returns = advantages_of(**arguments, gae_lambda=1.0)
    torch.testing.assert_close(returns[:, 0], torch.tensor([2.71, 1.9, 1.0]))  # 1 + 0.9 + 0.81, 1 + 0.9, 1
    advantages, _ = advantages_of(**arguments, gae_lambda=0.0)
    # 1 + 0.9*0.25 - 0.5, 1 + 0.9*0.125 - 0.25, 1 - 0.125
    torch.testing.assert_close(advantages[:, 0], torch.tensor([0.725, 0.8625, 0.875]))
