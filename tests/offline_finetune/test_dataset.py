"""Transitions from episode logs: what follows what, what is left out, and who is held out."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from dataclasses import fields, replace
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from learners.onnx_graph import policy_graph
from learners.progress import silent
from offline_finetune.config import PRESETS as FINETUNE_PRESETS
from offline_finetune.dataset import DatasetError, build_dataset, held_out_groups, usable_rows
from offline_finetune.finetune import finetune
from robot.log.episode import Episode
from robot.log.episode_log import EpisodeLogError, read_episode, write_episode
from robot.observation import SLOT_17_TIMING, go1_layout
from robot.policy.artifact import write_artifact
from robot.policy.metadata import layout_json
from tests.offline_finetune.made_data import made_episode

Write = Callable[..., Path]
ENDS = ("final_observation", "terminated", "truncated", "missing")


def test_transitions_keep_the_order_and_the_ends_of_the_episodes(write_made: Write) -> None:
    paths = [write_made(3, fell=True), write_made(2)]
    data = build_dataset(paths, holdout_share=0).train
    assert data.observations.shape == (5, 290)
    assert data.observations.dtype == np.float32
    assert data.observations[:, 0].tolist() == [1, 2, 3, 1, 2]
    assert data.next_observations[:, 0].tolist() == [2, 3, 4, 2, 3]
    assert data.rewards == pytest.approx([0, 1e-4, 2e-4, 0, 1e-4])
    assert data.terminated.tolist() == [False, False, True, False, False]
    assert data.truncated.tolist() == [False, False, False, False, True]
    assert data.episode_starts.tolist() == [0, 3]


def test_the_flattened_history_is_oldest_first() -> None:
    rows = usable_rows(made_episode(1))
    assert rows.observations[0, [0, 57, 58, 289]].tolist() == [1, 1, 2, 5]


def test_a_step_without_a_history_is_dropped() -> None:
    episode = made_episode(4)
    episode.observations[0] = 0.0
    rows = usable_rows(episode)
    assert rows.observations[:, 0].tolist() == [2, 3, 4]
    assert rows.dropped == Counter(no_history=1)


def test_a_step_whose_reward_needs_an_invalid_velocity_is_dropped_and_its_neighbours_stay() -> None:
    episode = made_episode(5)
    episode.reward_terms[1, 0] = np.nan
    rows = usable_rows(episode)
    assert rows.observations[:, 0].tolist() == [1, 3, 4, 5]
    assert rows.next_observations[:, 0].tolist() == [2, 4, 5, 6]
    assert rows.dropped == Counter(velocity_glitch=1)


def test_a_dropped_end_leaves_a_truncated_step_before_it() -> None:
    episode = made_episode(3)
    episode.reward_terms[2, 0] = np.nan
    rows = usable_rows(episode)
    assert rows.truncated.tolist() == [False, True]
    assert rows.dropped == Counter(velocity_glitch=1)


@pytest.mark.parametrize("field", ["observations", "actions", "rewards"])
def test_a_log_without_what_is_learnt_from_is_named(tmp_path: Path, field: str) -> None:
    episode = made_episode(3)
    getattr(episode, field)[:] = np.nan
    episode.missing = (*episode.missing, field)
    write_episode(tmp_path / "lacking.hdf5", episode)
    with pytest.raises(DatasetError, match=rf"lacking\.hdf5: has no {field}, which is learnt from; leave the log out"):
        build_dataset([tmp_path / "lacking.hdf5"])


@pytest.mark.parametrize("event", [1 << 9, 1 << 10, 1 << 11, 1 << 12])  # no numbers, no attitude, no Go1's joints, late
def test_a_step_that_led_to_no_reading_of_the_robot_is_dropped(event: int) -> None:
    episode = made_episode(3, safety_events=np.array([0, 0, event], np.uint32))
    rows = usable_rows(episode)
    assert rows.observations[:, 0].tolist() == [1, 2] and rows.next_observations[:, 0].tolist() == [2, 3]
    assert rows.truncated.tolist() == [False, True]
    assert rows.dropped == Counter(unreadable_end=1)
    fallen = made_episode(3, fell=True, safety_events=np.array([0, 0, event], np.uint32))
    assert len(usable_rows(fallen)) == 3


def at_rest_from(row: int, steps: int, event: int) -> Episode:
    """An episode that an event ended, whose sensors stand still from a row on."""
    episode = made_episode(steps, safety_events=np.array([0] * (steps - 1) + [event], np.uint32))
    episode.joint_vel[row:] = episode.joint_vel[row]
    return episode


@pytest.mark.parametrize("event", [1 << 12, 1 << 16])  # late, a fault of the driver's
def test_steps_after_which_the_sensors_stood_still_are_dropped(event: int) -> None:
    rows = usable_rows(at_rest_from(4, 10, event))
    assert rows.observations[:, 0].tolist() == [1, 2, 3, 4] and rows.next_observations[:, 0].tolist() == [2, 3, 4, 5]
    assert rows.truncated.tolist() == [False, False, False, True]
    assert rows.dropped == Counter(unreadable_end=6)
    assert len(usable_rows(at_rest_from(0, 10, event))) == 0


def test_sensors_that_never_stood_still_lose_nothing_to_a_fault_of_the_driver() -> None:
    assert len(usable_rows(made_episode(3, safety_events=np.array([0, 0, 1 << 16], np.uint32)))) == 3  # B on the remote


def test_joints_that_rest_while_the_gyro_moves_are_no_sensors_that_stand_still() -> None:
    episode = at_rest_from(4, 10, 1 << 16)
    episode.gyro_b[:, 0] = np.arange(10)
    assert len(usable_rows(episode)) == 10


@pytest.mark.parametrize("rows", [slice(None), slice(1, None), slice(2, 4)], ids=["whole", "one row less", "cut on both sides"])
def test_a_walk_that_is_there_twice_is_refused(write_made: Write, tmp_path: Path, rows: slice) -> None:
    first = write_made(5, session="one")
    episode = read_episode(first)
    columns = {each.name: getattr(episode, each.name)[rows] for each in fields(episode) if each.name not in (*ENDS, "attributes")}
    whole = made_episode(len(columns["actions"]), session="two")
    write_episode(tmp_path / "again.hdf5", replace(whole, **columns))
    with pytest.raises(DatasetError, match=r"again\.hdf5: steps of the same walk as .*001\.hdf5; .*, leave one out"):
        build_dataset([first, write_made(5), tmp_path / "again.hdf5"])


def test_a_stop_from_outside_leaves_its_step() -> None:
    assert len(usable_rows(made_episode(3, safety_events=np.array([0, 0, 1 << 14], np.uint32)))) == 3  # an emergency stop


def stamps(*periods: float) -> NDArray[np.float64]:
    """Of rows that are so many control periods apart, as the robot's clock has them."""
    return 1000.0 + 0.02 * np.cumsum([0.0, *periods])


def test_a_step_over_a_missed_period_is_dropped_and_its_neighbours_stay() -> None:
    rows = usable_rows(made_episode(5, stamp_s=stamps(1.0, 2.0, 1.2, 0.0)))
    assert rows.observations[:, 0].tolist() == [1, 3, 4, 5]
    assert rows.next_observations[:, 0].tolist() == [2, 4, 5, 6]
    assert rows.truncated.tolist() == [False, False, False, True]
    assert rows.dropped == Counter(missed_period=1)


def test_a_step_is_dropped_for_one_reason_only() -> None:
    episode = made_episode(4, stamp_s=stamps(2.0, 2.0, 2.0))
    episode.observations[0] = 0.0
    episode.reward_terms[1, 0] = np.nan
    assert usable_rows(episode).dropped == Counter(no_history=1, velocity_glitch=1, missed_period=1)


@pytest.mark.parametrize(
    ("stamp", "dropped"),
    [(np.nan, {}), (np.inf, {"missed_period": 1, "out_of_order": 2}), (1e308, {"missed_period": 1, "out_of_order": 2})],
)
def test_a_log_without_stamps_has_no_gaps_and_stamps_that_are_no_times_do_no_harm(stamp: float, dropped: dict[str, int]) -> None:
    assert usable_rows(made_episode(4, stamp_s=np.array([stamp, -stamp, stamp, -stamp]))).dropped == Counter(dropped)


def test_a_step_whose_successor_is_older_is_dropped() -> None:
    rows = usable_rows(made_episode(5, stamp_s=stamps(1.0, -2.0, 1.0, 1.0)))
    assert rows.observations[:, 0].tolist() == [1, 3, 4, 5]
    assert rows.dropped == Counter(out_of_order=1)


def moved(episode: Episode, order: list[int]) -> Episode:
    """The episode with its rows in another order, but for the flags of its end."""
    names = [each.name for each in fields(episode) if len(np.shape(getattr(episode, each.name))) and each.name not in ENDS]
    return replace(episode, **{name: getattr(episode, name)[order] for name in names})


def test_steps_that_are_not_followed_by_what_they_led_to_are_dropped() -> None:
    rows = usable_rows(moved(made_episode(8), [0, 1, 2, 5, 6, 3, 4, 7]))
    assert rows.observations[:, 0].tolist() == [1, 2, 6, 4, 8]
    assert (rows.next_observations[:, 0] - rows.observations[:, 0]).tolist() == [1] * 5
    assert rows.dropped == Counter(out_of_order=3)


def test_actions_that_are_not_those_of_their_rows_are_dropped() -> None:
    episode = made_episode(6, fell=True)
    episode.actions[2, 7] = 0.5  # the next row saw another last action
    rows = usable_rows(episode)
    assert rows.observations[:, 0].tolist() == [1, 2, 4, 5, 6]
    assert rows.dropped == Counter(out_of_order=1)


def test_a_fall_is_kept_whatever_was_read_after_it() -> None:
    episode = made_episode(3, fell=True)
    episode.final_observation = episode.observations[-1]
    assert usable_rows(episode).dropped == Counter()


def test_a_fall_is_kept_even_where_the_camera_was_lost() -> None:
    episode = made_episode(3, fell=True)
    episode.reward_terms[2, 0] = np.nan
    rows = usable_rows(episode)
    assert rows.terminated.tolist() == [False, False, True]
    assert not rows.truncated.any()
    assert rows.falls_without_velocity == 1
    assert rows.dropped == Counter()


def test_sessions_are_held_out_whole_and_the_report_adds_up(write_made: Write) -> None:
    no_history = made_episode(10).observations.copy()
    no_history[0] = 0.0
    paths = [write_made(10, session=f"s{index}", fell=index == 0, observations=no_history.copy()) for index in range(10)]
    paths.append(write_made(10, session="s3", observations=no_history.copy()))
    data = build_dataset(paths, holdout_share=0.3, seed=1)
    report = data.report
    assert (report.episodes, report.steps, report.falls, report.dropped) == (11, 110, 1, {"no_history": 11})
    assert (len(data.train), len(data.holdout)) == (report.train_steps, report.holdout_steps)
    assert report.train_steps + report.holdout_steps == 99
    assert report.holdout_steps == 27  # at most 0.3 x 99 = 29.7, in sessions of 9 or 18
    assert len(report.sessions) == 10
    assert set(report.train_sessions) == set(report.sessions) - set(report.holdout_sessions)
    assert np.bincount(data.holdout_sessions).tolist() == [18 if name == "s3" else 9 for name in report.holdout_sessions]
    assert 9 * (len(report.holdout_sessions) + ("s3" in report.holdout_sessions)) == 27


def test_the_same_seed_holds_out_the_same_sessions() -> None:
    sizes = np.full(20, 10)
    first = held_out_groups(sizes, 0.2, seed=3, for_two=3)
    assert len(first) == 4
    assert held_out_groups(sizes, 0.2, seed=3, for_two=3) == first
    assert any(held_out_groups(sizes, 0.2, seed=seed, for_two=3) != first for seed in range(4, 8))


@pytest.mark.parametrize(
    ("sizes", "for_two", "held_out"),
    [
        ([1000, 400], 3, {1}),
        ([1000, 400, 0], 3, {1}),  # nothing of the third can be used
        ([1000, 400, 900], 3, {1, 2}),
        ([1000, 90, 900, 800], 3, {1, 3}),  # 90 are within a tenth, one more makes two
        ([1000, 400, 900], 4, {1}),
        ([1000, 400, 900, 900], 4, {1, 2}),
    ],
)
def test_a_small_share_still_holds_out_the_smallest_groups(sizes: list[int], for_two: int, held_out: set[int]) -> None:
    assert held_out_groups(np.array(sizes), 0.1, seed=0, for_two=for_two) == held_out


def test_of_one_session_whole_episodes_are_held_out(write_made: Write) -> None:
    paths = [write_made(steps) for steps in (50, 4, 60, 70, 3)]
    paths.append(write_made(2, session="s0", observations=np.zeros((2, 5, 58), dtype=np.float32)))  # a session without a usable row
    data = build_dataset(paths, holdout_share=0.1)
    assert data.report.holdout_by == "episode"
    assert data.report.holdout_sessions == ()
    assert data.holdout_sessions.tolist() == [1] * 4 + [4] * 3
    assert data.holdout.observations[:, 0].tolist() == [1, 2, 3, 4, 1, 2, 3]
    assert (data.report.train_steps, data.report.holdout_steps, data.report.dropped) == (180, 7, {"no_history": 2})


def test_of_two_episodes_of_one_session_one_is_held_out(write_made: Write) -> None:
    data = build_dataset([write_made(4), write_made(9)], holdout_share=0.2)
    assert data.holdout_sessions.tolist() == [0] * 4
    assert len(data.train) == 9


def test_of_three_sessions_two_are_held_out(write_made: Write) -> None:
    unusable = write_made(1, session="unusable", observations=np.zeros((1, 5, 58), dtype=np.float32))
    data = build_dataset([*(write_made(steps, session=f"s{steps}") for steps in (30, 40, 50)), unusable], holdout_share=0.2)
    assert (data.report.holdout_by, data.report.holdout_sessions) == ("session", ("s30", "s40"))
    assert (data.report.sessions, data.report.train_sessions) == (("s30", "s40", "s50", "unusable"), ("s50",))
    assert data.holdout_sessions.tolist() == [0] * 30 + [1] * 40


def test_a_share_of_0_holds_out_nothing(write_made: Write) -> None:
    data = build_dataset([write_made(4)], holdout_share=0)
    assert data.holdout.observations.shape == (0, 290)
    assert data.holdout.episode_starts.shape == data.holdout_sessions.shape == (0,)


def test_held_out_rows_know_their_session(write_made: Write) -> None:
    paths = [write_made(2, session="b"), write_made(50, session="c"), write_made(3, session="a"), write_made(1, session="b")]
    data = build_dataset(paths, holdout_share=0.2)
    assert data.report.holdout_sessions == ("b", "a")
    assert data.holdout_sessions.tolist() == [0, 0, 1, 1, 1, 0]
    assert data.holdout.observations[:, 0].tolist() == [1, 2, 1, 2, 3, 1]


def test_what_cannot_become_a_data_set_is_refused(write_made: Write, tmp_path: Path) -> None:
    one = write_made(4)
    with pytest.raises(DatasetError, match="no episode logs"):
        build_dataset([])
    with pytest.raises(DatasetError, match=r"only one episode log holds usable steps.*add another episode"):
        build_dataset([one])
    with pytest.raises(DatasetError, match="share"):
        build_dataset([one], holdout_share=float("nan"))
    with pytest.raises(DatasetError, match="can be learnt from"):
        build_dataset([write_made(1, observations=np.zeros((1, 5, 58), dtype=np.float32))])
    other = made_episode(4, session="s2")
    other_layout = layout_json(go1_layout(SLOT_17_TIMING))
    write_episode(tmp_path / "other.hdf5", replace(other, attributes=replace(other.attributes, layout_json=other_layout)))
    with pytest.raises(DatasetError, match="another observation layout"):
        build_dataset([one, tmp_path / "other.hdf5"])
    (tmp_path / "bad.hdf5").write_bytes(b"no log")
    with pytest.raises(EpisodeLogError, match=r"bad\.hdf5"):
        build_dataset([tmp_path / "bad.hdf5"])


def test_logs_of_the_twin_and_of_a_robot_are_not_mixed(tmp_path: Path) -> None:
    for name, source in (("a", "twin:mattress"), ("b", "twin:flat"), ("c", "go1")):
        episode = made_episode(3, session=name)
        episode.attributes = replace(episode.attributes, source=source)
        write_episode(tmp_path / f"{name}.hdf5", episode)
    a, b, c = (tmp_path / f"{name}.hdf5" for name in "abc")
    assert build_dataset([a, b]).report.steps == 6
    for paths in ([a, b, c], [c, a]):
        with pytest.raises(DatasetError, match=r"a\.hdf5 is of the simulated robot, .*c\.hdf5 of a real one; keep their logs in folders"):
            build_dataset(paths)


@pytest.mark.parametrize("first", [True, False])
def test_the_log_of_a_replayed_walk_is_refused(write_made: Write, tmp_path: Path, first: bool) -> None:
    episode = made_episode(3, session="replayed")
    write_episode(tmp_path / "replayed.hdf5", replace(episode, attributes=replace(episode.attributes, source="replay:made")))
    paths = [tmp_path / "replayed.hdf5", write_made(3)]
    with pytest.raises(DatasetError, match=r"replayed\.hdf5: of a replayed walk, in which no action led to anything; leave it out"):
        build_dataset(paths if first else paths[::-1])


def test_a_policy_that_sees_another_layout_is_refused_before_anything_is_learnt(write_made: Write, tmp_path: Path) -> None:
    artifact = write_artifact(
        tmp_path / "policy.onnx",
        policy_graph([(np.zeros((12, 290)), np.zeros(12))], np.zeros(12)),
        "test",
        None,
        go1_layout(SLOT_17_TIMING),
    )
    data = build_dataset([write_made(5, session="one"), write_made(5, session="two")])
    with pytest.raises(DatasetError, match="sees another observation layout than the logs recorded"):
        finetune(artifact.path, data, tmp_path / "out", FINETUNE_PRESETS["smoke"], 0, silent)
    assert not (tmp_path / "out").exists()


def test_too_few_held_out_steps_are_told_before_anything_is_learnt(write_made: Write, tmp_path: Path) -> None:
    artifact = write_artifact(tmp_path / "policy.onnx", policy_graph([(np.zeros((12, 290)), np.zeros(12))], np.zeros(12)), "test", None)
    data = build_dataset([write_made(5, session="one"), write_made(1, session="two")])
    with pytest.raises(DatasetError, match="1 usable steps are held out, fewer than the 2 models"):
        finetune(artifact.path, data, tmp_path / "out", FINETUNE_PRESETS["smoke"], 0, silent)
    assert not (tmp_path / "out").exists()
