from dataclasses import replace

import numpy as np
import pytest
import torch

from common.errors import QuadloopError
from learners.checkpoint import load_checkpoint, save_checkpoint
from learners.ppo import PpoConfig
from learners.training import DivergedError
from online_finetune.online import OnlineConfig, OnlineFinetuner, load_value
from robot.log.episode_log import list_episodes, read_episode
from robot.policy.artifact import load_artifact
from robot.still_driver import StillVelocity

STANDING_UP = 77  # control periods, 1.5 s, before the policy acts
TINY = OnlineConfig(
    steps=80, steps_per_update=40, episode_steps=20, exploration_std=0.2, vx_low=0.2, vx_start=0.5, vx_high=1.0, vx_step=0.1,
    ppo=PpoConfig(epochs=2, minibatches=2),
)  # fmt: skip


@pytest.fixture
def make(tmp_path, write_policy, value_path, make_station):
    parent = write_policy(stage="offline")

    def finetuner(config=TINY, falls_at=None, falls=0, source="still"):
        return OnlineFinetuner(make_station(falls_at, falls, source), parent.path, value_path, tmp_path / "online", config, 0)

    return finetuner


def test_two_updates(make, tmp_path, write_policy, at_revision):
    at_revision("abc")
    tuner, reported = make(), []
    artifact = tuner.run(lambda part, done, total, figures: reported.append((part, done, total, figures)))
    assert [entry[:3] for entry in reported] == [("online", 40, 80), ("online", 80, 80)]
    assert all(np.isfinite(list(figures.values())).all() for *_, figures in reported)
    assert (tuner.steps, tuner.updates, tuner.falls) == (80, 2, 0)
    loaded = load_artifact(tmp_path / "online" / "policy.onnx")
    assert loaded.sha256 == artifact.sha256
    assert loaded.metadata.stage == "online"
    assert loaded.metadata.parent_sha256 == tuner.parent.sha256
    assert loaded.metadata.git_revision == "abc"


def test_every_episode_names_the_policy_that_made_it(make, tmp_path):
    tuner = make()
    first = tuner.artifact.sha256
    tuner.iterate()
    second = tuner.artifact.sha256
    tuner.iterate()
    assert len({first, second, tuner.artifact.sha256}) == 3
    for update, sha256 in enumerate((first, second)):
        paths = list_episodes(tmp_path / "online" / "episodes" / f"update_{update:04d}")
        episodes = [read_episode(path) for path in paths]
        assert [len(episode) for episode in episodes] == [20, 20]
        assert {episode.attributes.policy_sha256 for episode in episodes} == {sha256}
        assert {episode.attributes.session for episode in episodes} == {f"online-{tuner.parent.sha256[:8]}"}


def test_exploration_starts_at_most_at_what_was_asked_for(make):
    std = make().artifact.act(np.zeros(290, dtype=np.float32))[1]
    assert std == pytest.approx(np.full(12, 0.2))  # the parent explores with 0.3


def test_a_stopped_run_goes_on_at_its_last_update(make, tmp_path):
    stopped = make()
    stopped.iterate()
    stopped.save()
    resumed = make()
    assert (resumed.steps, resumed.updates, resumed.falls, resumed.vx_high) == (40, 1, 0, stopped.vx_high)
    assert resumed.artifact.sha256 == stopped.artifact.sha256
    for ours, theirs in ((resumed.policy, stopped.policy), (resumed.value, stopped.value)):
        assert all(torch.equal(a, b) for a, b in zip(ours.parameters(), theirs.parameters(), strict=True))
    resumed.run(lambda *_: None)
    assert resumed.steps == 80


def interrupted(make, tmp_path, source):
    """What is in the folders of the second update of a run that was stopped in it twice and then went on, file names by folder."""
    first = make(source=source)
    first.iterate()
    first.save()
    for _ in range(2):
        make(source=source).iterate()  # and not saved
        (tmp_path / "online" / "episodes" / "update_0001" / "episode_0002.hdf5.part").write_bytes(b"cut short")
    make(source=source).iterate()
    folders = sorted((tmp_path / "online" / "episodes").glob("update_0001*"))
    return {folder.name: sorted(path.name for path in folder.iterdir()) for folder in folders}


def test_the_logs_of_an_interrupted_update_of_a_robot_are_kept_and_not_learnt_from(make, tmp_path):
    whole, cut = ["episode_0000.hdf5", "episode_0001.hdf5"], ["episode_0002.hdf5.part"]
    assert interrupted(make, tmp_path, "go1") == {
        "update_0001": whole, "update_0001_interrupted_0": whole + cut, "update_0001_interrupted_1": whole + cut,
    }  # fmt: skip


def test_the_twin_walks_an_interrupted_update_again(make, tmp_path):
    assert interrupted(make, tmp_path, "twin:mattress") == {"update_0001": ["episode_0000.hdf5", "episode_0001.hdf5"]}


def test_a_resumed_run_does_not_repeat_the_luck_of_its_beginning(make, tmp_path):
    stopped = make()
    stopped.iterate()
    stopped.save()
    make().iterate()
    first, second = (read_episode(tmp_path / "online" / "episodes" / f"update_000{update}" / "episode_0000.hdf5") for update in (0, 1))
    assert not np.allclose(first.actions - first.action_mean, second.actions - second.action_mean)


def test_a_finished_run_gives_its_policy_again(make, at_revision):
    at_revision("abc")
    sha256 = make().run(lambda *_: None).sha256
    at_revision("def")
    again = make().run(lambda *_: pytest.fail("there is nothing left to do"))
    assert (again.sha256, again.metadata.git_revision) == (sha256, "abc")


def test_a_run_that_is_killed_before_its_checkpoint_measures_that_update_again(make):
    reported = []

    def killed(_part, done, *_):
        reported.append(done)
        if done == 80:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        make().run(killed)
    make().run(lambda _part, done, *_: reported.append(done))
    assert reported == [40, 80, 80]


@pytest.mark.parametrize("network", ["policy", "value"])
def test_learning_that_blows_up_leaves_the_last_good_checkpoint(make, tmp_path, network):
    tuner, out = make(), tmp_path / "online"
    tuner.iterate()
    tuner.save()
    kept = {name: (out / name).read_bytes() for name in ("checkpoint.pt", "policy.onnx")}
    for group in getattr(tuner.ppo, f"{network}_optimizer").param_groups:
        group["lr"] = float("inf")
    with pytest.raises(DivergedError, match=rf"online: .* after step 40; begin anew with a lower ppo\.{network}_lr$"):
        tuner.iterate()
    assert {name: (out / name).read_bytes() for name in kept} == kept


def test_faster_commands_after_an_update_without_a_fall(make):
    tuner = make(replace(TINY, vx_high=0.65))
    assert tuner.vx_high == 0.5
    tuner.iterate()
    assert tuner.vx_high == pytest.approx(0.6)
    tuner.iterate()
    assert tuner.vx_high == pytest.approx(0.65)


@pytest.mark.parametrize(("falls", "expected"), [(1, 0.8), (2, 0.7), (3, 0.7)])
def test_slower_commands_after_two_falls(make, falls, expected):
    tuner = make(falls_at=STANDING_UP + 8, falls=falls)
    tuner.vx_high = 0.8
    assert tuner.iterate()["falls"] == falls
    assert tuner.vx_high == pytest.approx(expected)


def test_a_robot_that_falls_at_once_is_not_asked_for_ever(make, tmp_path):
    tuner = make(falls_at=STANDING_UP + 1, falls=1000)
    with pytest.raises(QuadloopError, match="10 episodes in a row ended before their first step"):
        tuner.iterate()
    assert (tuner.steps, tuner.updates) == (0, 0)


class Blind(StillVelocity):
    """A velocity source that never measures anything."""

    def read(self, state):
        return replace(super().read(state), valid=False)


def test_nothing_is_learnt_from_steps_without_a_velocity(make):
    tuner = make()
    tuner.collector.station = replace(tuner.collector.station, velocity=Blind())
    with pytest.raises(QuadloopError, match="update_0000 has a measured velocity"):
        tuner.iterate()


NO_COUNTERS = {"steps": "a", "updates": 1, "falls": 0}


@pytest.mark.parametrize(
    "damage",
    [
        {"policy": None}, {"policy_optimizer": 5}, {"generator": torch.zeros(3)},
        {"counters": {}}, {"counters": 3}, {"counters": NO_COUNTERS},
        {"counters": NO_COUNTERS | {"steps": 40, "updates": -1, "falls": 0}}, {"vx_high": 99.0}, {"vx_high": float("nan")},
    ],
)  # fmt: skip
def test_a_checkpoint_that_does_not_fit_is_refused_on_one_line(make, tmp_path, damage):
    make(replace(TINY, steps=40)).run(lambda *_: None)
    path = tmp_path / "online" / "checkpoint.pt"
    save_checkpoint(path, load_checkpoint(path) | damage)
    with pytest.raises(QuadloopError, match=r"checkpoint\.pt does not fit this run") as refusal:
        make()
    assert "\n" not in str(refusal.value)


def test_commands_never_get_slower_than_at_the_start(make):
    tuner = make(falls_at=STANDING_UP + 8, falls=2)
    tuner.iterate()
    assert tuner.vx_high == 0.5


def test_commands_lie_between_the_slowest_and_the_fastest(make, tmp_path):
    make(replace(TINY, steps_per_update=240, episode_steps=60)).iterate()
    paths = list_episodes(tmp_path / "online" / "episodes")
    speeds = np.concatenate([read_episode(path).command[:10, 0] for path in paths])  # before they slow down to a stop
    assert 0.2 <= speeds.min() < speeds.max() <= 0.5


@pytest.mark.parametrize("content", [None, {}, {"value": {}, "sizes": [290, 16, 1], "reward_scale": 1.0}, {"sizes": 3}])
def test_what_is_no_value_of_the_offline_stage_is_refused_on_one_line(tmp_path, content):
    path = tmp_path / "other.pt"
    if content is not None:
        save_checkpoint(path, content)
    with pytest.raises(QuadloopError, match=r"other\.pt") as refusal:
        load_value(path, 290, 0.99)
    assert "\n" not in str(refusal.value)


def test_a_value_is_loaded_with_its_scale(value_path):
    value, reward_scale = load_value(value_path, 290, 0.99)
    assert value(torch.zeros(2, 290)).shape == (2,)
    assert reward_scale == 10.0


def test_a_value_for_other_observations_is_refused(value_path):
    with pytest.raises(QuadloopError, match=r"value\.pt is for observations of 290 values, the policy's have 174"):
        load_value(value_path, 174, 0.99)


def test_a_value_of_another_discount_or_of_none_that_is_known_is_refused(value_path):
    with pytest.raises(QuadloopError, match=r"value\.pt was learnt with gamma 0\.99, ppo\.gamma is 0\.9; give both stages the same"):
        load_value(value_path, 290, 0.9)
    save_checkpoint(value_path, {name: part for name, part in load_checkpoint(value_path).items() if name != "gamma"})
    with pytest.raises(QuadloopError, match=r"value\.pt is of an earlier version, which did not say its discount; run `quadloop finetune`"):
        load_value(value_path, 290, 0.99)


@pytest.mark.parametrize("scale", [0.0, -1.0, float("nan"), float("inf")])
def test_a_scale_that_says_nothing_is_refused(value_path, scale):
    save_checkpoint(value_path, load_checkpoint(value_path) | {"reward_scale": scale})
    with pytest.raises(QuadloopError, match=r"value\.pt: reward_scale is .*, no finite number above 0"):
        load_value(value_path, 290, 0.99)


@pytest.mark.parametrize(
    "damage",
    [
        {"sizes": [290, 10**9, 1]}, {"sizes": [290, *[4096] * 300, 1]}, {"sizes": []}, {"sizes": [290, 0, 1]},
        {"value": 3}, {"reward_scale": "a"}, {"gamma": "a"}, {"gamma": 10**400},
    ],
)  # fmt: skip
def test_a_damaged_value_is_refused(value_path, damage):
    save_checkpoint(value_path, load_checkpoint(value_path) | damage)
    with pytest.raises(QuadloopError, match=r"value\.pt holds no value function of the offline stage"):
        load_value(value_path, 290, 0.99)


def test_a_value_that_blew_up_is_refused(value_path):
    content = load_checkpoint(value_path)
    next(iter(content["value"].values())).fill_(float("nan"))
    save_checkpoint(value_path, content)
    with pytest.raises(QuadloopError, match=r"value\.pt holds no value function of the offline stage"):
        load_value(value_path, 290, 0.99)
