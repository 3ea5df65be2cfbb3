"""Released files as episode logs: falls, histories, rewards, and every row accounted for."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from common.errors import QuadloopError, UsageError
from common.files import FileExistsAlreadyError
from offline_finetune.import_command import run
from offline_finetune.released.episodes import Stretch, dropped_rows, valid_velocity, walking_stretches
from offline_finetune.released.file import ReleasedFileError
from offline_finetune.released.logs import ImportReport, import_logs
from offline_finetune.released.policies import import_policy
from robot.log.episode import Episode
from robot.log.episode_log import list_episodes, read_episode
from tests.offline_finetune.made_data import standing_states, tilted

Write = Callable[..., Path]


def imported(path: Path) -> list[Episode]:
    logs = path.parents[1]
    import_logs(logs, logs.parent / "out")
    return [read_episode(log) for log in list_episodes(logs.parent / "out")]


def gravity_of(*parts: tuple[int, float]) -> NDArray[Any]:
    """Gravity (N, 3) of `rows` rows at a tilt in degrees, one part after the other."""
    return np.concatenate([np.tile(tilted(degrees), (rows, 1)) for rows, degrees in parts])


def test_the_history_is_empty_in_row_0_and_begins_with_row_1(write_released: Write) -> None:
    states = standing_states(8)
    states[:, 18] = np.arange(8) / 10  # marks the frames
    (episode,) = imported(write_released(states))
    assert not episode.observations[0].any()
    marks = episode.observations[:, :, 18]
    assert marks[1] == pytest.approx([0, 0, 0, 0, 0.1])
    assert marks[3] == pytest.approx([0, 0, 0.1, 0.2, 0.3])
    assert marks[6] == pytest.approx([0.2, 0.3, 0.4, 0.5, 0.6])
    assert episode.final_observation[:, 18] == pytest.approx([0.3, 0.4, 0.5, 0.6, 0.7])


def test_a_recording_without_a_fall_is_truncated_and_loses_its_last_row(write_released: Write) -> None:
    path = write_released(standing_states(8), session="20230807-1", start="x")
    out = path.parents[2] / "out"
    report = import_logs(path.parents[1], out)
    episode = read_episode(out / "20230807-1" / "x.hdf5")
    assert report == ImportReport(episodes=1, steps=8, falls=0, dropped={"no_successor": 1}, velocity_glitches=0)
    assert len(episode) == 7
    assert episode.truncated.tolist() == [False] * 6 + [True]
    assert not episode.terminated.any()
    assert (episode.attributes.session, episode.attributes.source, episode.attributes.ended) == ("20230807-1", "released_uni_o4", "unknown")
    assert "estimated" in json.loads(episode.attributes.config_json)["notes"]["joint_torque"]
    assert {"action_mean", "log_prob"} <= set(episode.missing)


def test_recordings_in_which_nobody_walks_are_no_import(write_released: Write, tmp_path: Path) -> None:
    lying = standing_states(60)
    lying[:, :3] = tilted(85)
    path = write_released(lying)
    for source in (path, path.parents[1]):
        with pytest.raises(ReleasedFileError, match=rf"^{source}: no released recording in which the robot walks"):
            import_logs(source, tmp_path / "out")
    assert not (tmp_path / "out").exists()
    write_released(standing_states(60), start="b")
    report = import_logs(path.parents[1], tmp_path / "out")
    assert (report.episodes, report.dropped) == (1, {"after_fall": 60, "no_successor": 1})


def test_the_step_into_a_fall_terminates_and_lying_is_dropped(write_released: Write) -> None:
    states = standing_states(10)
    states[:, :3] = gravity_of((7, 5), (3, 80))
    path = write_released(states)
    report = import_logs(path.parents[1], path.parents[2] / "out")
    episode = read_episode(path.parents[2] / "out" / "s1" / "a.hdf5")
    assert report == ImportReport(episodes=1, steps=10, falls=1, dropped={"after_fall": 3}, velocity_glitches=0)
    assert episode.terminated.tolist() == [False] * 6 + [True]
    assert not episode.truncated.any()
    assert episode.attributes.ended == "fall"
    assert episode.final_observation[4, :3] == pytest.approx(tilted(80), abs=1e-6)


def test_a_stale_first_frame_is_no_fall(write_released: Write) -> None:
    states = standing_states(10)
    states[0, :3] = tilted(95)
    path = write_released(states)
    assert import_logs(path.parents[1], path.parents[2] / "out") == ImportReport(1, 10, 0, {"no_successor": 1}, 0)


def test_a_robot_set_upright_again_starts_another_episode(write_released: Write) -> None:
    states = standing_states(75)
    states[:, :3] = gravity_of((10, 5), (5, 85), (60, 10))
    states[:, 18] = np.arange(75) / 100
    path = write_released(states)
    report = import_logs(path.parents[1], path.parents[2] / "out")
    assert report == ImportReport(episodes=2, steps=75, falls=1, dropped={"after_fall": 5, "no_successor": 1}, velocity_glitches=0)
    second = read_episode(path.parents[2] / "out" / "s1" / "a-1.hdf5")
    assert len(second) == 59
    assert second.observations[0, :, 18] == pytest.approx([0.11, 0.12, 0.13, 0.14, 0.15])  # as really recorded, while it lay


@pytest.mark.parametrize(
    ("parts", "stretches"),
    [
        ([(20, 5)], [Stretch(0, 19, False)]),
        ([(20, 5), (1, 61)], [Stretch(0, 20, True)]),
        ([(20, 5), (5, 59), (3, 5)], [Stretch(0, 27, False)]),  # caught itself
        ([(20, 5), (5, 85), (49, 5)], [Stretch(0, 20, True)]),  # upright for less than a second
        ([(20, 5), (5, 85), (80, 40)], [Stretch(0, 20, True)]),  # never below 30 degrees
        ([(20, 5), (5, 85), (20, 29), (1, 31), (50, 5), (2, 70)], [Stretch(0, 20, True), Stretch(46, 96, True)]),
        ([(5, 85), (60, 5)], [Stretch(5, 64, False)]),  # begins lying
        ([(1, 5)], []),
        ([(30, 85)], []),
    ],
)
def test_where_the_robot_walked(parts: list[tuple[int, float]], stretches: list[Stretch]) -> None:
    assert walking_stretches(gravity_of(*parts)) == stretches


@given(st.lists(st.tuples(st.integers(1, 70), st.sampled_from([5.0, 45.0, 85.0])), min_size=1, max_size=8))
def test_every_row_is_kept_once_or_dropped_once(parts: list[tuple[int, float]]) -> None:
    gravity = gravity_of(*parts)
    stretches = walking_stretches(gravity)
    kept = [row for stretch in stretches for row in range(stretch.start, stretch.end)]
    assert len(kept) == len(set(kept))
    assert all(-gravity[row, 2] > 0.5 for row in kept)
    assert len(kept) + dropped_rows(stretches, len(gravity)).total() == len(gravity)
    assert all(stretch.fell == (-gravity[stretch.end, 2] < 0.5) for stretch in stretches)


def test_the_reward_is_measured_one_row_later_against_the_unscaled_command(write_released: Write) -> None:
    states = standing_states(6)
    states[:, 3] = 1.0  # scaled: 0.5 m/s
    states[3, 61] = 0.5  # on speed at row 3 only
    (episode,) = imported(write_released(states))
    # standing: 0.02 exp(-0.25 / 0.25) + 0.01; on speed: 0.02 + 0.01
    assert episode.rewards == pytest.approx([0.0173576, 0.0173576, 0.03, 0.0173576, 0.0173576], abs=1e-7)
    assert episode.reward_terms[2, :2] == pytest.approx([0.02, 0.01])
    assert episode.base_lin_vel_b[3] == pytest.approx([0.5, 0, 0])


def test_the_penalties_use_the_action_its_torque_and_the_joint_it_moved(write_released: Write) -> None:
    states, actions = standing_states(5), np.zeros((5, 12))
    actions[2, 0], states[3, 42] = 2.0, 2.0  # a hip action at row 2 is the last action of row 3
    states[3, 30] = 0.05  # and moves the hip at 1 rad/s there
    (episode,) = imported(write_released(states, actions))
    # torque 20 x 0.25 - 0.5 x 1 = 4.5; joint_acc 1 / 0.02 = 50
    expected = [0.02, 0.01, 0.0, -2e-6 * 20.25, -2e-6 * 1, -5e-9 * 2500, -2e-3 * 4]
    assert episode.reward_terms[2] == pytest.approx(expected)
    # r_neg = -(4.05e-5 + 2e-6 + 1.25e-5 + 8e-3) = -0.008055; 0.03 exp(-0.40275) = 0.03 x 0.668479
    assert episode.rewards[2] == pytest.approx(0.0200544, abs=1e-7)
    assert episode.reward_terms[3, 6] == pytest.approx(-8e-3)  # back to 0
    assert episode.joint_torque[3, 0] == pytest.approx(4.5)
    assert episode.joint_pos_target[2, 0] == pytest.approx(0.35)


def test_a_lost_camera_leaves_the_velocity_terms_unmeasured(write_released: Write) -> None:
    states = standing_states(60)
    states[5, 61] = 4.0  # m/s
    path = write_released(states)
    (episode,) = imported(path)
    assert import_logs(path, path.parents[2] / "again").velocity_glitches == 1
    assert np.flatnonzero(~episode.velocity_valid).tolist() == [5]
    assert np.isnan(episode.reward_terms[4, [0, 2]]).all()
    assert np.isfinite(episode.reward_terms[[3, 5]]).all()
    assert episode.rewards[4] == pytest.approx(0.01)  # the yaw rate's share is what was measured
    assert episode.rewards[3] == pytest.approx(0.03)


def test_a_climb_that_no_trunk_makes_invalidates_the_velocity_but_a_wrong_height_does_not() -> None:
    position, velocity = np.zeros((300, 3)), np.zeros((300, 3))
    position[:, 2] = -16.0
    position[200:, 2] = 0.2  # the camera finds its place again
    velocity[100:150, 2] = -1.0
    valid = valid_velocity(position, velocity)
    # a second around a row is 51 rows; more than 0.5 m is 26 of them at 0.02 m: rows 100 to 149 all have 26 to 50, rows 99 and 150 too few
    assert np.flatnonzero(~valid).tolist() == [*range(100, 150), 200]


def test_no_log_at_all_and_one_bad_file_among_good_ones(write_released: Write, tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    with pytest.raises(ReleasedFileError, match=r"no \.hdf5 file"):
        import_logs(tmp_path / "empty", tmp_path / "out")
    write_released(standing_states(5), start="a")
    bad = write_released(np.full((5, 76), np.nan), start="b")
    with pytest.raises(ReleasedFileError, match=r"b\.hdf5"):
        import_logs(bad.parents[1], tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_an_import_onto_a_full_disk_names_the_log_and_leaves_none(
    write_released: Write, tmp_path: Path, full_disk: Callable[[], AbstractContextManager[None]]
) -> None:
    path = write_released(standing_states(60))
    with full_disk(), pytest.raises(QuadloopError, match=rf"^{tmp_path}/out/s1/a\.hdf5: cannot be read or written \(File too large\)$"):
        import_logs(path, tmp_path / "out")
    assert list((tmp_path / "out" / "s1").iterdir()) == []


def test_episode_logs_are_not_overwritten_unless_asked(write_released: Write, tmp_path: Path) -> None:
    logs = write_released(standing_states(5)).parents[1]
    import_logs(logs, tmp_path / "out")
    with pytest.raises(FileExistsAlreadyError):
        import_logs(logs, tmp_path / "out")
    import_logs(logs, tmp_path / "out", force=True)


def test_one_log_that_exists_keeps_all_from_being_written(write_released: Write, tmp_path: Path) -> None:
    for start in ("a", "b"):
        write_released(standing_states(5), start=start)
    import_logs(tmp_path / "logs", tmp_path / "out")
    (tmp_path / "out" / "s1" / "a.hdf5").unlink()
    with pytest.raises(FileExistsAlreadyError, match=r"b\.hdf5"):
        import_logs(tmp_path / "logs", tmp_path / "out")
    assert not (tmp_path / "out" / "s1" / "a.hdf5").exists()


def test_a_session_is_named_by_its_directory_wherever_one_stands(
    write_released: Write, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(write_released(standing_states(5), session="mon/am").parent)
    write_released(standing_states(5), session="tue/am")
    for source, expected in ((".", ["am/a.hdf5"]), ("a.hdf5", ["am/a.hdf5"]), ("../..", ["mon-am/a.hdf5", "tue-am/a.hdf5"])):
        out = tmp_path / str(len(source))
        import_logs(Path(source), out)
        logs = list_episodes(out)
        assert [str(path.relative_to(out)) for path in logs] == expected
        assert [read_episode(path).attributes.session for path in logs] == [name.split("/")[0] for name in expected]


def test_two_files_that_would_become_one_log_are_refused(write_released: Write, tmp_path: Path) -> None:
    write_released(standing_states(5), session="mon/am")
    write_released(standing_states(5), session="mon-am")
    with pytest.raises(ReleasedFileError, match=r"mon-am/a\.hdf5 and .*mon/am/a\.hdf5 would both become .*out/mon-am/a\.hdf5"):
        import_logs(tmp_path / "logs", tmp_path / "out", force=True)
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    ("source", "out"),
    [("logs", "logs"), ("logs", "logs/new"), ("logs/s1", "logs"), ("logs/s1/a.hdf5", "logs"), ("logs/s1/a.hdf5", "logs/s1/a.hdf5")],
)
def test_no_import_takes_the_place_of_a_recording(write_released: Write, tmp_path: Path, source: str, out: str) -> None:
    path = write_released(standing_states(5))
    before = path.read_bytes()
    with pytest.raises(QuadloopError, match=r"among the logs|one of the recordings|what is to be imported"):
        run([str(tmp_path / source), "--out", str(tmp_path / out), "--force"])
    assert [found for found in (tmp_path / "logs").rglob("*") if found.is_file()] == [path]
    assert path.read_bytes() == before


def test_the_import_verb_takes_one_log_and_tells_of_glitches(
    write_released: Write, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    states = standing_states(60)
    states[5, 61] = 4.0  # m/s
    path = write_released(states)
    assert run([str(path), "--out", str(tmp_path / "out"), "--json"]) == 0
    counted = {"episodes": 1, "steps": 60, "falls": 0, "dropped": {"no_successor": 1}, "velocity_glitches": 1}
    assert json.loads(capsys.readouterr().out).items() >= counted.items()
    assert (tmp_path / "out" / "s1" / "a.hdf5").exists()
    with pytest.raises(ReleasedFileError, match="no such file"):
        run([str(tmp_path / "none.hdf5"), "--out", str(tmp_path / "out")])
    with pytest.raises(ReleasedFileError, match=r"no released policy \(\.pt, \.npz\)"):
        run([str(tmp_path / "none.txt"), "--out", str(tmp_path / "out")])
    with pytest.raises(UsageError, match="named as a policy is"):
        run([str(path), "--out", str(tmp_path / "out.onnx")])
    with pytest.raises(UsageError, match=r"a file that ends in \.onnx"):
        run([str(tmp_path / "policy.npz"), "--out", str(tmp_path / "out")])


@pytest.mark.parametrize(("recorded", "policy"), [("20230808-205726", "sim_000200"), ("20230808-211516", "sim_000300")])
def test_the_deterministic_recordings_reproduce_every_action(real_data: Path, tmp_path: Path, recorded: str, policy: str) -> None:
    shutil.copytree(real_data / "go1_mattress" / "logs" / recorded, tmp_path / "logs" / recorded)
    import_logs(tmp_path / "logs", tmp_path / "out")
    episode = read_episode(tmp_path / "out" / recorded / f"{recorded}.hdf5")
    artifact = import_policy(real_data / "go1_mattress" / "policies" / f"{policy}.npz", tmp_path / "policy.onnx")
    mean, _ = artifact.act(episode.observations)
    errors = ((np.clip(mean, -10, 10) - episode.actions) ** 2).mean(axis=1)
    assert len(errors) > 3000
    assert errors[0] < 1e-6
    assert errors.mean() < 1e-6
    assert errors.max() < 1e-6


def test_all_released_rows_are_accounted_for(real_data: Path, tmp_path: Path) -> None:
    report = import_logs(real_data / "go1_mattress" / "logs", tmp_path / "out")
    dropped = {"after_fall": 1061, "no_successor": 14}
    assert report == ImportReport(episodes=105, steps=115_520, falls=91, dropped=dropped, velocity_glitches=2922)


def test_our_own_logs_need_no_import(write_released: Write, tmp_path: Path) -> None:
    path = write_released(standing_states(8))
    out = path.parents[2] / "out"
    import_logs(path.parents[1], out)
    with pytest.raises(ReleasedFileError, match="is an episode log already; it needs no import"):
        import_logs(out, tmp_path / "again")
