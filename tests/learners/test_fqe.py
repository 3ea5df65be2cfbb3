"""Fitted-Q evaluation: an MDP whose values are known, paired differences, and bootstrap weights by hand."""

from dataclasses import replace

import numpy as np
import pytest
import torch

from learners import training
from learners.checkpoint import load_checkpoint
from learners.fqe import FqeConfig, bootstrap_weights, fitted_q_evaluation, fqe_target
from learners.onnx_graph import policy_of_layers
from learners.progress import silent
from learners.transitions import Transitions

CONFIG = FqeConfig(steps=150, batch_size=64, members=3, hidden=(24,), learning_rate=1e-2, gamma=0.5, polyak=0.2)


def always(action, observation_size):
    return policy_of_layers([(np.zeros((1, observation_size)), np.array([action]))], np.zeros(1))


def test_the_target_by_hand():
    # policy 0: 1 + 0.5*4, 1 (terminated); policy 1: 1 + 0.5*6, 1
    target = fqe_target(torch.ones(2), torch.tensor([[4.0, 4.0], [6.0, 6.0]]), torch.tensor([0.0, 1.0]), 0.5)
    assert target.tolist() == [[3.0, 1.0], [4.0, 1.0]]


def test_bootstrap_weights_count_how_often_a_group_was_drawn():
    groups = torch.tensor([7, 7, 3, 9])
    weights = bootstrap_weights(groups, 20_000, torch.Generator().manual_seed(0))
    assert weights.shape == (20_000, 4)
    assert set(weights.unique().tolist()) == {0.0, 1.0, 2.0, 3.0}
    assert torch.equal(weights[:, 0], weights[:, 1])  # one group, drawn together
    assert (weights[:, 0] + weights[:, 2] + weights[:, 3] == 3).all()  # three groups, three draws
    # each count is binomial(3, 1/3): mean 1, variance 3 * 1/3 * 2/3
    torch.testing.assert_close(weights.mean(0), torch.ones(4), atol=0.03, rtol=0.0)
    torch.testing.assert_close(weights.var(0), torch.full((4,), 2 / 3), atol=0.03, rtol=0.0)


@pytest.fixture(scope="module")
def chain():
    """Three states, one-hot, gamma 0.5, actions -1 and +1 equally often; eight groups that hold every row once.

    first: earns a, leads to second. second: earns a and ends. rest: earns 1 and stays for ever; its rows are cut by time-outs.
    Always +1: 1 + 0.5*1 = 1.5, 1, 1/(1 - 0.5) = 2; mean 1.5. Always -1: -1.5, -1, 2; mean -1/6.
    +1 in first and rest, -1 in second: 1 + 0.5*(-1) = 0.5, -1, 2; mean 0.5.
    """
    first, second, rest = np.eye(3, dtype=np.float32)
    groups = 8
    return Transitions(
        observations=np.array([first, first, second, second, rest, rest] * groups),
        actions=np.array([[-1], [1]] * 3 * groups, np.float32),
        rewards=np.array([-1, 1, -1, 1, 1, 1] * groups, np.float32),
        next_observations=np.array([second, second, second, second, rest, rest] * groups),
        terminated=np.array([False, False, True, True, False, False] * groups),
        truncated=np.array([False, False, False, False, True, True] * groups),
        episode_starts=np.arange(0, 6 * groups, 2),
    ), np.repeat(np.arange(groups), 6)


def test_the_values_of_a_known_mdp_are_found(chain):
    transitions, groups = chain
    changes_its_mind = policy_of_layers([(np.array([[1.0, -1.0, 1.0]]), np.zeros(1))], np.zeros(1))
    policies = [always(1.0, 3), always(-1.0, 3), always(1.0, 3), changes_its_mind]
    values = fitted_q_evaluation(transitions, groups, policies, 1.0, CONFIG, seed=0)
    assert values.shape == (4, CONFIG.members)
    torch.testing.assert_close(values[0], torch.full((3,), 1.5), atol=0.1, rtol=0.0)
    torch.testing.assert_close(values[1], torch.full((3,), -1 / 6), atol=0.1, rtol=0.0)
    torch.testing.assert_close(values[3], torch.full((3,), 0.5), atol=0.1, rtol=0.0)
    torch.testing.assert_close(values[0], values[2], atol=1e-3, rtol=0.0)  # the same policy: no difference in any replica but rounding


def test_an_action_beyond_the_limit_is_evaluated_as_what_the_robot_makes_of_it(chain, tmp_path):
    transitions, groups = chain
    config = FqeConfig(steps=3, batch_size=16, members=2, hidden=(8,))

    def evaluate(action, limit):
        return fitted_q_evaluation(transitions, groups, [always(action, 3)], limit, config, seed=0, folder=tmp_path)

    beyond = evaluate(7.0, 1.0)
    assert torch.equal(beyond, evaluate(1.0, 1.0))
    assert not torch.equal(beyond, evaluate(7.0, 10.0))  # nor is what was kept of the other limit taken for it


def test_an_evaluation_repeats_with_its_seed_and_equal_policies_begin_alike(chain):
    transitions, groups = chain
    config = FqeConfig(steps=3, batch_size=16, members=2, hidden=(8,))

    def evaluate():
        torch.manual_seed(0)
        return fitted_q_evaluation(transitions, groups, [always(1.0, 3)] * 2, 1.0, config, seed=5)

    values = evaluate()
    torch.testing.assert_close(values, evaluate(), atol=1e-5, rtol=0.0)
    torch.testing.assert_close(values[0], values[1], atol=1e-5, rtol=0.0)


def test_what_observations_are_measured_in_does_not_matter(chain):
    transitions, groups = chain
    columns = {name: 512 + 64 * getattr(transitions, name) for name in ("observations", "next_observations")}
    config = FqeConfig(steps=20, batch_size=16, members=2, hidden=(8,), learning_rate=1e-2)
    values, others = (
        fitted_q_evaluation(data, groups, [always(1.0, 3)], 1.0, config, seed=0) for data in (transitions, replace(transitions, **columns))
    )
    torch.testing.assert_close(values, others, atol=1e-2, rtol=0.0)


def test_values_begin_at_the_level_of_the_data_and_are_averaged_over_all_of_it():
    """10,000 steps that earn 100 and end: more than are asked about at once."""
    rows, one = 10_000, np.ones((10_000, 1), np.float32)
    earning = Transitions(
        observations=one, actions=one, rewards=100 * one[:, 0], next_observations=one, terminated=np.ones(rows, np.bool_),
        truncated=np.zeros(rows, np.bool_), episode_starts=np.arange(rows),
    )  # fmt: skip
    config = FqeConfig(steps=1, batch_size=1, members=2, hidden=(8,), learning_rate=1e-9)
    values = fitted_q_evaluation(earning, np.arange(rows) % 5, [always(1.0, 1)], 1.0, config, seed=0)
    torch.testing.assert_close(values, torch.full((1, 2), 100.0), atol=3.0, rtol=0.0)


def test_an_evaluation_is_kept_by_its_groups_and_its_policies(chain, tmp_path):
    transitions, groups = chain
    config = FqeConfig(steps=1, batch_size=4, members=2, hidden=(4,))

    def kept(groups, *actions):
        fitted_q_evaluation(transitions, groups, [always(action, 3) for action in actions], 1.0, config, seed=0, folder=tmp_path)
        return len(list(tmp_path.glob("fqe-*.pt")))

    assert [kept(groups, 1.0), kept(groups, 1.0), kept(groups // 2, 1.0), kept(groups, -1.0)] == [1, 1, 2, 3]


def test_an_interrupted_evaluation_goes_on_and_gives_the_same_values(chain, tmp_path, monkeypatch):
    transitions, groups = chain
    monkeypatch.setattr(training, "SAVE_PERIOD_S", 0.0)  # after every step
    heard = []

    def evaluate(folder, progress=silent):
        return fitted_q_evaluation(transitions, groups, [always(1.0, 3), always(-1.0, 3)], 1.0, CONFIG, 0, progress, folder)

    def ended(*_):
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        evaluate(tmp_path, ended)  # at step 100, after 99 were kept
    values = evaluate(tmp_path, lambda part, step, *_: heard.append((part, step)))
    assert heard == [("fitted-Q evaluation", 100), ("fitted-Q evaluation", 150)]
    torch.testing.assert_close(values, evaluate(None), atol=1e-5, rtol=0.0)
    [kept] = tmp_path.glob("fqe-*.pt")
    assert load_checkpoint(kept)["step"] == 150


@pytest.mark.parametrize("states", [[[0.0], [1.0]] * 8, [[0.0]] * 8 + [[1.0]] * 8], ids=["in the same states", "each in its own state"])
def test_replicas_see_the_groups_in_their_own_shares(states):
    """Two groups of steps that end: one earns 0, the other 2. A replica that drew them k : 2 - k times says 2 - k."""
    rows = 16
    transitions = Transitions(
        observations=np.array(states, np.float32),
        actions=np.zeros((rows, 1), np.float32),
        rewards=np.array([0.0] * 8 + [2.0] * 8, np.float32),
        next_observations=np.zeros((rows, 1), np.float32),
        terminated=np.ones(rows, np.bool_),
        truncated=np.zeros(rows, np.bool_),
        episode_starts=np.arange(rows),
    )
    config = FqeConfig(steps=100, batch_size=64, members=8, hidden=(8,), learning_rate=2e-2, gamma=0.5)
    values = fitted_q_evaluation(transitions, np.repeat([0, 1], 8), [always(0.0, 1)], 1.0, config, seed=0)[0]
    torch.testing.assert_close(values, values.round(), atol=0.15, rtol=0.0)
    assert len(set(values.round().tolist())) > 1
    assert set(values.round().abs().tolist()) <= {0.0, 1.0, 2.0}
