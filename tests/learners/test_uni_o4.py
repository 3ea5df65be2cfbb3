"""Uni-O4's offline procedure on a bandit with contexts: it improves what is true, and keeps only what the gate accepted."""

import copy
import math
from dataclasses import replace
from functools import partial

import numpy as np
import pytest
import torch

from common.errors import ConfigError
from learners import training, uni_o4
from learners.advantage_test import AdvantageTest, RegressionConfig, compare
from learners.checkpoint import CheckpointError, load_checkpoint, save_checkpoint
from learners.dynamics import DynamicsConfig
from learners.gate import Decision, GateConfig
from learners.improvement import Improving
from learners.iql import IqlConfig, IqlCritics
from learners.policy import GaussianPolicy, gaussian_kl, member, stack
from learners.training import DivergedError
from learners.transitions import Transitions
from learners.uni_o4 import UniO4, UniO4Config

CONFIG = UniO4Config(
    members=1,
    improvement_steps=80,
    gate_period=10,
    patience=100,
    batch_size=128,
    learning_rate=1e-2,
    reward_scale=1.0,
    iql=IqlConfig(steps=200, batch_size=128, q_hidden=(32,), v_hidden=(32,), learning_rate=1e-2, polyak=0.1, precision="fp32"),
    dynamics=DynamicsConfig(steps=60, batch_size=64, members=2, elites=2, hidden=(16,), learning_rate=1e-2, precision="fp32"),
    gate=GateConfig(horizon=2, starts=200, confidence_z=1.2816, max_kl=10.0),
)
LEVEL = torch.linspace(-1, 1, 101)[:, None]


def true_reward(policy):
    """Of the reward -(a - 0.8 s)^2 over s in -1 .. 1: minus the squared miss of the mean, minus the variance."""
    with torch.no_grad():
        return float(-(policy(LEVEL) - 0.8 * LEVEL).square().mean() - policy.log_std.exp().square().sum())


def bandit(steps, seed):
    """Actions N(0, 0.5^2) whatever the context; every step ends its episode."""
    random = np.random.default_rng(seed)
    contexts = random.uniform(-1, 1, (steps, 1)).astype(np.float32)
    actions = random.normal(0.0, 0.5, (steps, 1)).astype(np.float32)
    return Transitions(
        observations=contexts,
        actions=actions,
        rewards=-((actions - np.float32(0.8) * contexts) ** 2)[:, 0],
        next_observations=contexts,
        terminated=np.ones(steps, np.bool_),
        truncated=np.zeros(steps, np.bool_),
        episode_starts=np.arange(steps),
    )


@pytest.fixture(scope="module")
def start():
    torch.manual_seed(0)
    policy = GaussianPolicy(1, 1, (16,), initial_std=0.5)
    with torch.no_grad():
        policy.actor.weights[-1].zero_()
        policy.actor.biases[-1].zero_()
    return policy


class Heard:
    """A progress that remembers."""

    def __init__(self):
        self.calls = []

    def __call__(self, part, done, total, figures):
        self.calls.append((part, done, total, figures))


@pytest.fixture(scope="module")
def fitted(start):
    """A learner with critics and model, and what it reported while it fitted them."""
    learner, heard = UniO4(bandit(2000, seed=0), start, history=1, config=CONFIG, seed=0), Heard()
    learner.fit(heard)
    return learner, heard.calls


@pytest.fixture
def learner(fitted):
    """The fitted learner, which a test may change: the others see nothing of it."""
    return copy.deepcopy(fitted[0])


@pytest.fixture
def improve(learner):
    """Runs the improvement of the fitted learner, from the same luck each time, with changed settings."""

    def run(progress=lambda *_: None, **changes):
        learner.config = replace(CONFIG, **changes)
        return learner.improve(progress)

    return run


@pytest.fixture(scope="module")
def improved(fitted):
    """The improvement as configured, and what it reported."""
    heard = Heard()
    return copy.deepcopy(fitted[0]).improve(heard), heard.calls


def same(module, other):
    return all(torch.equal(a, b) for a, b in zip(module.parameters(), other.parameters(), strict=True))


def test_fitting_reports_each_part_to_its_end(fitted):
    _, calls = fitted
    assert [(part, done, total) for part, done, total, _ in calls] == [
        ("critics", 100, 200),
        ("critics", 200, 200),
        ("dynamics", 60, 60),
    ]
    assert set(calls[0][3]) == {"value_loss", "q_loss", "value"}
    assert set(calls[-1][3]) == {"loss"}


def test_parts_are_kept_by_all_that_decides_them(start, tmp_path):
    """Another gate shares critics and models; another seed, other data or other sizes do not."""
    data, config = bandit(50, seed=0), replace(CONFIG, iql=replace(CONFIG.iql, steps=3), dynamics=replace(CONFIG.dynamics, steps=3))

    def fit(data=data, seed=0, **changes):
        learner = UniO4(data, start, history=1, config=replace(config, **changes), seed=seed)
        learner.fit(lambda *_: None, tmp_path)
        return learner, len(list(tmp_path.glob("*.pt")))

    first, files = fit()
    assert files == 2
    again, files = fit(gate=GateConfig(horizon=7), members=3)
    assert files == 2
    assert same(first.critics.q, again.critics.q)
    assert same(first.model, again.model)
    assert fit(seed=1)[1] == 4
    assert fit(data=bandit(50, seed=1))[1] == 6
    assert fit(iql=replace(config.iql, q_hidden=(8,)))[1] == 7
    assert fit(reward_scale=2.0)[1] == 9


class EndedError(Exception):
    """What ends an improvement in a test."""


@pytest.mark.parametrize("changes", [{"members": 1}, {"members": 3, "roll_back": True, "gate": replace(CONFIG.gate, max_kl=0.15)}])
def test_an_ended_improvement_goes_on_and_ends_the_same(learner, improve, tmp_path, changes):
    """The second is refused at the end: what is learnt and what is accepted are not the same there."""
    whole = improve(**changes)
    assert all(query.decision.accepted for query in whole.queries) == (changes["members"] == 1)

    def ends(step, _target, _behavior):
        if step == 50:
            raise EndedError
        return [float(step)]

    def watch(step, _target, _behavior):
        return [float(step)]

    with pytest.raises(EndedError):
        learner.improve(lambda *_: None, ends, tmp_path)
    heard = Heard()
    second = learner.improve(heard, watch, tmp_path)
    assert [call[1] for call in heard.calls] == [50, 60, 70, 80]  # the last query before the end had been kept
    assert second.watched == [[float(step)] for step in range(10, 81, 10)]
    assert second.queries == whole.queries
    assert same(second.policy, whole.policy)
    third = learner.improve(heard, watch, tmp_path)  # there is nothing left to do
    assert len(heard.calls) == 4
    assert same(third.policy, second.policy)


@pytest.mark.parametrize(
    "damage",
    [
        {"step": "a"}, {"step": -1}, {"accepted": []}, {"accepted": [-5]}, {"accepted": [11]}, {"watched": 3}, {"queries": []},
        {"queries": [{}]}, {"queries": [{"step": 10, "member": 0, "difference": "x", "standard_error": 0.1, "kl": 0.1, "accepted": "no"}]},
        {"target": {}}, {"generator": torch.zeros(3)},
    ],
)  # fmt: skip
def test_a_damaged_improvement_is_named(learner, tmp_path, damage):
    learner.config = replace(CONFIG, improvement_steps=10)
    learner.improve(lambda *_: None, folder=tmp_path)
    (path,) = tmp_path.iterdir()
    save_checkpoint(path, load_checkpoint(path) | damage)
    with pytest.raises(CheckpointError, match=f"{path.name} does not fit this run: .*delete it to begin anew"):
        learner.improve(lambda *_: None, folder=tmp_path)


@pytest.mark.parametrize("part", ["critics", "dynamics"])
def test_an_ended_fit_goes_on_and_gives_the_same_weights(start, tmp_path, monkeypatch, part):
    monkeypatch.setattr(training, "SAVE_PERIOD_S", 0.0)  # after every step
    monkeypatch.setattr(training, "PROGRESS_STEPS", 10)
    config = replace(CONFIG, iql=replace(CONFIG.iql, steps=15), dynamics=replace(CONFIG.dynamics, steps=15))

    def fit(progress, folder):
        learner = UniO4(bandit(200, seed=0), start, history=1, config=config, seed=0)
        learner.fit(progress, folder)
        return learner

    def ends(name, step, _total, _figures):
        if (name, step) == (part, 10):
            raise EndedError

    whole = fit(lambda *_: None, None)
    with pytest.raises(EndedError):
        fit(ends, tmp_path)
    second = fit(lambda *_: None, tmp_path)
    for one, other in ((whole.critics.q, second.critics.q), (whole.critics.q_target, second.critics.q_target), (whole.model, second.model)):
        assert same(one, other)
    assert torch.equal(whole.model.elites, second.model.elites)
    assert torch.equal(whole.model_losses, second.model_losses) and whole.model_losses.isfinite().all()


def test_the_true_reward_improves(improved, start):
    # at the start: -0.64 * E[s^2] - 0.25 = -0.64 * 0.34 - 0.25 = -0.4676
    assert true_reward(start) == pytest.approx(-0.4676, abs=1e-3)
    improvement, calls = improved
    assert true_reward(improvement.policy) > -0.3
    assert improvement.accepted_steps > 0
    assert [call[:3] for call in calls] == [("improvement", step, 80) for step in range(10, 81, 10)]
    assert [call[3]["accepted"] for call in calls] == [float(query.decision.accepted) for query in improvement.queries]


def test_the_gates_estimates_agree_with_what_is_true(learner, improved, start):
    better = improved[0].policy
    worse = GaussianPolicy(1, 1, (16,), initial_std=1.0)
    worse.load_state_dict({**start.state_dict(), "log_std": worse.log_std})
    old, new, bad = learner.estimate([start, better, worse], LEVEL).mean(-1)
    assert bad < old < new


def test_estimates_of_the_same_policy_are_the_same(learner, start):
    first, second = learner.estimate([start, start], LEVEL)
    torch.testing.assert_close(first, second, atol=1e-5, rtol=1e-5)
    assert learner.estimate([start], LEVEL).shape == (1, 100)  # 101 start states, a whole number for each of two elites


def test_if_the_gate_never_accepts_the_starting_policy_comes_back_unchanged(learner, improve, start):
    improvement = improve(members=2, improvement_steps=20, gate=replace(CONFIG.gate, max_kl=0.0))
    assert same(improvement.policy, start)
    assert same(learner.start, start)
    assert improvement.accepted_steps == 0 and improvement.chosen_member is None
    assert len(improvement.queries) == 4  # two queries of two members
    assert not any(query.decision.accepted for query in improvement.queries)


def test_an_improvement_that_blows_up_says_so_and_keeps_the_query_before(learner, tmp_path):
    def breaks(step, _target, _behavior):
        if step == 20:
            with torch.no_grad():
                learner.critics.q.network.weights[0].fill_(float("nan"))
        return []

    with pytest.raises(DivergedError, match=r"improvement: learning blew up by step 30 \(surrogate is nan\).*lower learning rate"):
        learner.improve(lambda *_: None, breaks, tmp_path)
    (path,) = tmp_path.iterdir()
    assert load_checkpoint(path)["step"] == 20


def test_an_improvement_is_kept_by_its_settings_and_by_where_it_began(learner, start, tmp_path):
    def kept(**changes):
        learner.config = replace(CONFIG, improvement_steps=10, **changes)
        learner.improve(lambda *_: None, folder=tmp_path)
        return len(list(tmp_path.glob("improvement-*.pt")))

    assert [kept(), kept(), kept(clip_ratio=0.1)] == [1, 1, 2]
    learner.start = copy.deepcopy(start)
    with torch.no_grad():
        learner.start.actor.biases[-1] += 0.1
    assert kept() == 3


def test_the_best_accepted_policy_comes_back_and_not_the_latest(improve, start):
    budget = replace(CONFIG.gate, max_kl=0.15)
    improvement = improve(gate=budget)
    last = max(query.step for query in improvement.queries)
    accepted = [query for query in improvement.queries if query.decision.accepted]
    assert 0 < improvement.accepted_steps == accepted[-1].step < last == 80
    assert accepted[-1].decision.kl <= 0.15 < improvement.queries[-1].decision.kl
    with torch.no_grad():
        kl = gaussian_kl(improvement.policy(LEVEL), improvement.policy.log_std, start(LEVEL), start.log_std).mean()
    assert kl < 0.2  # the budget, on other states
    stopped_there = improve(gate=budget, improvement_steps=improvement.accepted_steps)
    assert same(improvement.policy, stopped_there.policy)


@pytest.mark.parametrize("roll_back", [False, True])
def test_a_refused_candidate_goes_on_or_begins_anew_and_an_accepted_one_replaces(start, roll_back):
    run = Improving(stack([start, start]), 1e-2)
    with torch.no_grad():
        for parameter in run.target.parameters():
            parameter += 1.0
    moved = member(run.target, 0)
    assert run.settle([Decision(1.0, 0.1, 0.0, True), Decision(-1.0, 0.1, 0.0, False)], roll_back) == 1
    assert same(member(run.behavior, 0), moved) and same(member(run.target, 0), moved)
    assert same(member(run.behavior, 1), start)
    assert same(member(run.target, 1), start if roll_back else moved)


def test_the_watch_sees_a_candidate_before_it_is_rolled_back(learner, start):
    learner.config = replace(CONFIG, improvement_steps=10, roll_back=True, gate=replace(CONFIG.gate, max_kl=0.0))
    seen = []
    learner.improve(lambda *_: None, watch=lambda _step, target, _behavior: seen.append(member(target, 0)) or [0.0])
    assert not same(seen[0], start)


def test_distance_is_counted_for_each_dimension_of_the_action():
    single = bandit(200, seed=0)
    data = replace(single, actions=np.repeat(single.actions, 3, axis=1))
    first, left = GaussianPolicy(1, 3, (4,)), []
    learner = UniO4(data, first, history=1, config=replace(CONFIG, members=1, improvement_steps=10), seed=0)
    improvement = learner.improve(lambda *_: None, watch=lambda _step, target, _behavior: left.append(member(target, 0)) or [0.0])
    with torch.no_grad():
        seen, (last,) = learner.data.all.observations, left
        nats = gaussian_kl(last(seen), last.log_std, first(seen), first.log_std).mean()
    assert improvement.queries[-1].decision.kl == pytest.approx(float(nats) / 3, rel=0.1)


def test_the_improvement_ends_when_patience_does(improve):
    improvement = improve(patience=2, gate=replace(CONFIG.gate, max_kl=0.0))
    assert [query.step for query in improvement.queries] == [10, 20]


def test_an_acceptance_restores_the_patience(improve):
    often = {"gate_period": 1, "improvement_steps": 40, "gate": replace(CONFIG.gate, confidence_z=3.0)}
    verdicts = "".join("+" if query.decision.accepted else "-" for query in improve(**often).queries)
    longest = max(len(streak) for streak in verdicts.split("+"))
    assert verdicts.count("-") > longest + 1  # so that refusals which were merely counted would end it
    assert len(improve(**often, patience=longest + 1).queries) == 40


def test_members_that_began_as_one_policy_come_back_as_their_average(learner, improve, start):
    improvement = improve(members=3, improvement_steps=20)
    assert improvement.chosen_member is None and improvement.average.accepted
    assert improvement.policy.members == ()
    assert improvement.accepted_steps == max(query.step for query in improvement.queries if query.decision.accepted)
    assert {query.member for query in improvement.queries} == {0, 1, 2}
    assert true_reward(improvement.policy) > true_reward(start)
    old, new = learner.estimate([start, improvement.policy], LEVEL).mean(-1)
    assert new > old


def test_members_that_no_budget_holds_together_are_not_averaged(learner, improved, start):
    learner.config = replace(CONFIG, members=2, gate=replace(CONFIG.gate, max_kl=None))
    run = Improving(stack([improved[0].policy, start]), 1e-4)
    run.accepted = [10, 20]
    improvement = learner.outcome(run, learner.gatekeeper(run.behavior))
    assert (improvement.chosen_member, improvement.accepted_steps, improvement.average) == (0, 10, None)
    assert same(improvement.policy, improved[0].policy)


def test_a_member_that_was_never_accepted_is_not_chosen_however_good_it_is(learner, improved, start):
    learner.config = replace(CONFIG, members=2)
    run = Improving(stack([improved[0].policy, start]), 1e-4)
    run.accepted = [0, 20]
    improvement = learner.outcome(run, learner.gatekeeper(run.behavior))
    assert (improvement.chosen_member, improvement.accepted_steps, improvement.average) == (1, 20, None)
    assert same(improvement.policy, start)


def test_an_average_that_the_gate_refuses_does_not_come_back(learner, improved):
    learner.config = replace(CONFIG, members=2, gate=replace(CONFIG.gate, max_kl=0.0))  # everything is too far
    run = Improving(stack([improved[0].policy] * 2), 1e-4)
    run.accepted = [10, 10]
    improvement = learner.outcome(run, learner.gatekeeper(run.behavior))
    assert improvement.chosen_member in {0, 1} and not improvement.average.accepted
    assert same(improvement.policy, improved[0].policy)


def test_an_ensemble_returns_the_member_that_it_names(learner, improve, start):
    learner.start = stack([start, start, start])  # as clones are: not known to be one policy
    improvement = improve(members=3, improvement_steps=20)
    steps = [query.step for query in improvement.queries if query.member == improvement.chosen_member and query.decision.accepted]
    assert improvement.accepted_steps == max(steps, default=0)
    assert {query.member for query in improvement.queries} == {0, 1, 2}
    assert improvement.policy.members == ()


def test_queries_meet_the_same_luck_and_leave_that_of_the_improvement_alone(learner, start):
    learner.begin("improvement")
    before = learner.generator.get_state()
    first = learner.gatekeeper(stack([start]))
    assert first.values.shape == (1, 200)
    assert torch.equal(learner.generator.get_state(), before)
    learner.begin("something else")
    assert torch.equal(learner.gatekeeper(stack([start])).values, first.values)


def test_where_everything_is_accepted_the_improvement_is_one_without_a_gate(learner, improve):
    gated = improve(improvement_steps=20, gate=replace(CONFIG.gate, max_kl=None))
    assert [query.decision.accepted for query in gated.queries] == [True, True]
    learner.begin("improvement")
    ungated = Improving(learner.initial_ensemble(), CONFIG.learning_rate)
    for step in range(20):
        learner.improvement_step(ungated.target, ungated.behavior, ungated.optimizer)
        if step == 9:
            ungated.settle([Decision(0.0, 0.0, 0.0, True)])
    assert same(gated.policy, member(ungated.target, 0))


def test_an_improvement_repeats_with_its_seed(improve):
    assert same(improve(improvement_steps=10).policy, improve(improvement_steps=10).policy)


def step_of(learner, policies):
    """Figures of an improvement step that leaves the policies where they are."""
    return learner.improvement_step(policies, copy.deepcopy(policies), torch.optim.Adam(policies.parameters(), lr=0.0))


def test_members_are_compared_in_the_same_states(learner):
    """Equal ones that vary from state to state by far more than their deviation would seem apart in different states."""
    figures = step_of(learner, stack([GaussianPolicy(1, 1, (16,), initial_std=0.01)] * 3))
    assert figures["disagreement"] == pytest.approx(0.0, abs=1e-5)


def test_critics_are_asked_about_actions_as_the_limit_clips_them(learner, start):
    learner.config, asked = replace(CONFIG, action_limit=0.3), []
    learner.critics.advantages = lambda observations, actions: asked.append(actions) or torch.zeros(actions.shape[:-1])
    step_of(learner, stack([start]))
    inside = (asked[0].abs() < 0.3).float().mean()
    assert asked[0].abs().max() == pytest.approx(0.3)
    assert inside == pytest.approx(0.4515, abs=0.15)  # of N(0, 0.5^2); of 128 draws


def test_of_a_policy_that_has_not_moved_the_surrogate_is_the_mean_of_normalised_advantages(learner, start):
    """0, also where the limit clips half of the actions and they are the better ones: a ratio is that of the actions as drawn."""
    learner.config = replace(CONFIG, action_limit=0.3)
    learner.critics.advantages = lambda _, actions: (actions.abs() > 0.299).float()[..., 0]
    assert step_of(learner, stack([start]))["surrogate"] == pytest.approx(0.0, abs=1e-5)


def test_actions_are_drawn_by_the_last_accepted_policy_and_their_ratios_are_clipped(learner, start):
    """Behavior N(0, 0.5^2), target one deviation further; an action e deviations above 0 has the advantage 1, below 0 -1, r = exp(e - 1/2).

    E[min(r, 1.25); e > 0] = Phi(-0.2769) - Phi(-1) + 1.25 (1 - Phi(0.7231)) = 0.5257; below 0 r is at most 0.61 and counts as 0.75:
    0.375. Without a clip it would be Phi(1) - Phi(-1) = 0.6827.
    """
    learner.config, asked = replace(CONFIG, batch_size=8192), []
    learner.critics.advantages = lambda _, actions: asked.append(actions) or actions[..., 0].sign()
    target = stack([start])
    with torch.no_grad():
        target.actor.biases[-1] += 0.5
    figures = learner.improvement_step(target, stack([start]), torch.optim.Adam(target.parameters(), lr=0.0))
    assert asked[0].mean() == pytest.approx(0.0, abs=0.03)
    assert figures["surrogate"] == pytest.approx(0.5257 - 0.375, abs=0.04)


def test_members_are_kept_apart_while_they_improve(learner, start):
    """Where no action is better than another, two members two deviations apart part further."""
    learner.config = replace(CONFIG, batch_size=4096)
    learner.critics.advantages = lambda _, actions: torch.zeros(actions.shape[:-1])
    apart = stack([start, start])
    with torch.no_grad():
        apart.actor.biases[-1][:] = torch.tensor([0.0, 1.0])[:, None, None]
    learner.improvement_step(apart, copy.deepcopy(apart), torch.optim.SGD(apart.parameters(), lr=1.0))
    low, high = apart.actor.biases[-1].detach().flatten()
    assert low < 0.0 and high > 1.0


def test_the_gate_imagines_actions_as_the_limit_clips_them(learner, start):
    learner.config, asked = replace(CONFIG, action_limit=0.3), []
    learner.critics.minimum = lambda _, actions: asked.append(actions) or torch.zeros(actions.shape[:-1])
    learner.estimate([start], LEVEL)
    assert max(actions.abs().max() for actions in asked) == pytest.approx(0.3)


def test_members_that_differ_only_beyond_the_limit_act_alike(learner, start):
    apart = stack([start, start])
    with torch.no_grad():
        apart.actor.biases[-1][:] = torch.tensor([2.0, 3.0])[:, None, None]
    assert step_of(learner, apart)["disagreement"] == pytest.approx(0.354, abs=0.1)  # of two Gaussians, two deviations apart
    learner.config = replace(CONFIG, action_limit=2.0)
    assert step_of(learner, apart)["disagreement"] == pytest.approx(0.0, abs=1e-5)


def test_models_never_learn_from_the_episodes_that_choose_the_elites(start):
    """A hundred episodes of four steps, each seen as its own number: a twentieth of them chooses."""
    numbers = np.arange(400, dtype=np.float32)[:, None]
    data = replace(bandit(400, seed=0), observations=numbers, next_observations=numbers, episode_starts=np.arange(0, 400, 4))
    learner = UniO4(data, start, history=1, config=CONFIG, seed=0)
    update, choose, learnt, judged = learner.model.update, learner.model.choose_elites, set(), set()

    def noted(rows, what):
        return lambda batch: rows.update(batch.observations.flatten().int().tolist()) or what(batch)

    learner.model.update, learner.model.choose_elites = noted(learnt, update), noted(judged, choose)
    learner.fit_dynamics(lambda *_: None, None)
    assert learnt | judged == set(range(400))
    assert (len(learnt), len(judged)) == (380, 20)
    assert len({row // 4 for row in judged}) == 5


def test_the_reward_scale_reaches_the_critics(start):
    learner = UniO4(bandit(50, seed=0), start, history=1, config=replace(CONFIG, reward_scale=10.0), seed=0)
    rewards = 10 * torch.from_numpy(bandit(50, seed=0).rewards)
    torch.testing.assert_close(learner.data.all.rewards, rewards)
    torch.testing.assert_close(learner.stretches.rows(torch.arange(50)).rewards, rewards)


def test_critics_are_fitted_to_stretches_of_several_steps(start):
    """Ten steps, the last of which earns 1: with gamma 1 every step's return is 1, though V and the target network know nothing yet."""
    rows = 10
    line = np.linspace(-1, 1, rows + 1, dtype=np.float32)[:, None]
    walk = Transitions(
        observations=line[:-1],
        actions=np.zeros((rows, 1), np.float32),
        rewards=(np.arange(rows) == rows - 1).astype(np.float32),
        next_observations=line[1:],
        terminated=np.arange(rows) == rows - 1,
        truncated=np.zeros(rows, np.bool_),
        episode_starts=np.array([0]),
    )
    iql = replace(CONFIG.iql, steps=150, n_step=rows, gamma=1.0, polyak=1e-9)
    learner = UniO4(walk, start, history=1, config=replace(CONFIG, iql=iql), seed=0)
    learner.fit(lambda *_: None)
    with torch.no_grad():
        q = learner.critics.q(learner.data.all.observations, learner.data.all.actions)
    torch.testing.assert_close(q, torch.ones(2, rows), atol=0.1, rtol=0.0)


@pytest.mark.parametrize(
    ("changes", "complaint"),
    [
        ({"members": 0}, "members is 0; it must be at least 1"),
        ({"learning_rate": float("nan")}, "learning_rate is nan; it must be above 0"),
        ({"disagreement_weight": -0.1}, "disagreement_weight is -0.1; it must be 0 or more"),
        (
            {"improvement_steps": 50, "gate_period": 100},
            "gate_period is 100, improvement_steps is 50; each must be at least the one before it",
        ),
        ({"dynamics": DynamicsConfig(members=7, elites=5), "gate": GateConfig(starts=4)}, "starts is 4; it must be at least 5"),
    ],
)
def test_settings_that_cannot_be_are_refused(changes, complaint):
    with pytest.raises(ConfigError, match=complaint):
        replace(UniO4Config(), **changes)


def test_a_budget_below_nothing_is_refused():
    with pytest.raises(ConfigError, match="max_kl is -1; it must be 0 or more"):
        GateConfig(max_kl=-1)


@pytest.fixture
def small_regression(monkeypatch):
    """What takes state and time out of advantages and returns, in a tenth of the time."""
    monkeypatch.setattr(uni_o4, "compare", partial(compare, regression=RegressionConfig(hidden=(64, 64), batch_size=128)))


@pytest.mark.usefixtures("small_regression")
def test_nothing_is_improved_where_advantages_tell_nothing(start):
    """Rewards that no action changes: the policies that come back are the ones that began."""
    data = bandit(600, seed=0)
    luck = replace(data, rewards=np.random.default_rng(1).normal(size=600).astype(np.float32))
    learner = UniO4(luck, start, history=1, config=replace(CONFIG, gate=replace(CONFIG.gate, advantage_z=1.6449)), seed=0)
    learner.fit(lambda *_: None)
    improvement = learner.improve(lambda *_: None)
    assert improvement.advantage_test.z < 1.6449
    assert improvement.advantage_test.episodes == 300
    assert improvement.queries == []
    assert improvement.accepted_steps == 0
    assert same(improvement.policy, start)


def test_too_few_episodes_to_test_advantages_improve_nothing(start):
    learner = UniO4(bandit(12, seed=0), start, history=1, config=replace(CONFIG, gate=replace(CONFIG.gate, advantage_z=0.0)), seed=0)
    improvement = learner.improve(lambda *_: None)
    assert math.isnan(improvement.advantage_test.z) and improvement.advantage_test.episodes == 6
    assert improvement.queries == [] and same(improvement.policy, start)


def test_critics_of_the_advantage_test_never_learn_from_the_episodes_that_judge_them(start, monkeypatch):
    """A hundred episodes of four steps, each seen as its own number: half of them judges."""
    numbers = np.arange(400, dtype=np.float32)[:, None]
    data = replace(bandit(400, seed=0), observations=numbers, next_observations=numbers, episode_starts=np.arange(0, 400, 4))
    update, learnt, judged = IqlCritics.update, set(), set()

    def noted(critics, batch):
        learnt.update(batch.observations.flatten().int().tolist())
        return update(critics, batch)

    def judge(_critics, _behavior, unseen, *_):
        judged.update(unseen.observations.flatten().astype(int).tolist())
        return AdvantageTest(0.0, 0.0, 50)

    monkeypatch.setattr(IqlCritics, "update", noted)
    monkeypatch.setattr(uni_o4, "compare", judge)
    UniO4(data, start, history=1, config=CONFIG, seed=0).test_advantages(lambda *_: None)
    assert learnt | judged == set(range(400))
    assert (len(learnt), len(judged), len({row // 4 for row in judged})) == (200, 200, 50)


@pytest.mark.usefixtures("small_regression")
def test_a_passed_test_changes_nothing_of_the_improvement_and_is_kept(learner, improve, tmp_path):
    gate = replace(CONFIG.gate, advantage_z=1.6449)
    without, tested = improve(improvement_steps=20), improve(improvement_steps=20, gate=gate)
    assert without.advantage_test is None
    assert tested.advantage_test.z > 10
    assert same(without.policy, tested.policy)
    learner.config, heard = replace(CONFIG, gate=gate), Heard()
    assert learner.test_advantages(heard, tmp_path) == tested.advantage_test
    assert [call[:3] for call in heard.calls] == [("advantage test", 100, 100)]
    assert learner.test_advantages(heard, tmp_path) == tested.advantage_test
    assert len(heard.calls) == 1


def test_the_improvement_begins_with_no_more_exploration_than_it_may(improve, start):
    """And its distance is counted from there: narrower deviations alone are no step away."""
    improvement = improve(exploration_std=0.1, improvement_steps=20, gate_period=10, learning_rate=1e-5)
    assert torch.exp(improvement.policy.log_std).max() < 0.11 < torch.exp(start.log_std).min()
    assert max(abs(query.decision.kl) for query in improvement.queries) < 0.01


def test_where_nothing_is_accepted_the_policy_keeps_its_exploration(improve, start):
    improvement = improve(exploration_std=0.1, improvement_steps=20, gate=replace(CONFIG.gate, max_kl=0.0))
    assert improvement.accepted_steps == 0
    assert same(improvement.policy, start)


def test_of_improved_members_the_one_that_began_far_ahead_is_chosen(learner, improve, improved, start):
    learner.start = stack([start, improved[0].policy])
    improvement = improve(members=2, improvement_steps=10)
    assert {query.member for query in improvement.queries if query.decision.accepted} >= {0}
    assert improvement.chosen_member == 1
