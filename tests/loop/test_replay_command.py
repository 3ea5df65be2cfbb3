"""`quadloop replay` as a user calls it, on a made recording of a robot that stands."""

from __future__ import annotations

import json

import h5py
import numpy as np
import pytest

from loop.replay_command import one_after_the_other
from quadloop import main


@pytest.fixture
def recording(tmp_path):
    """A released recording of 60 rows, upright in the default posture."""
    states = np.zeros((60, 76))
    states[:, 2] = -1.0
    path = tmp_path / "logs" / "s1" / "a.hdf5"
    path.parent.mkdir(parents=True)
    with h5py.File(path, "w") as file:
        file["states"], file["actions"] = states, np.zeros((60, 12), dtype=np.float32)
    return path


def replay(recording, out, *more):
    return main(["replay", str(recording), "--out", str(out), "--video-steps", "0", "--json", *more])


def test_recorded_poses_are_shown(recording, tmp_path, capsys):
    assert replay(recording, tmp_path / "out") == 0
    said = json.loads(capsys.readouterr().out)
    assert (said["steps"], said["way_m"]) == (59, 0)
    assert "foot_force" in said["missing"]
    assert "foot_force" in (tmp_path / "out" / "index.html").read_text()


def test_recorded_targets_are_sent_in_windows(recording, tmp_path, capsys):
    assert replay(recording, tmp_path / "out", "--mode", "torque", "--horizon", "10") == 0
    said = json.loads(capsys.readouterr().out)
    assert said["windows"] == 10
    assert said["one_step"]["joint_pos"] < 0.05
    errors = json.loads((tmp_path / "out" / "replay.json").read_text())["errors"]
    assert np.shape(errors["joint_pos"]) == (10, 12)
    assert (tmp_path / "out" / "errors.png").exists()


def test_a_policy_walks_under_the_recorded_commands(recording, tmp_path, capsys, write_policy):
    policy = str(write_policy().path)
    assert replay(recording, tmp_path / "out", "--mode", "policy", "--policy", policy) == 0
    said = json.loads(capsys.readouterr().out)
    assert (said["walked_steps"], said["fell"]) == (59, False)


@pytest.mark.parametrize(
    ("more", "says"),
    [
        (("--mode", "policy"), "--policy"),
        (("--policy", "x.onnx"), "--mode policy"),
        (("--episode", "1"), "holds 1 episodes"),
        (("--mode", "torque", "--horizon", "100"), "100 steps after it"),
        (("--terrain", "sand"), "unknown terrain"),
    ],
)
def test_mistakes_are_one_line(recording, tmp_path, capsys, more, says):
    assert replay(recording, tmp_path / "out", *more) != 0
    error = capsys.readouterr().err
    assert says in error
    assert error.count("\n") == 1


def test_a_directory_is_no_log(recording, tmp_path, capsys):
    assert replay(recording.parent, tmp_path / "out") == 1
    assert "give one log" in capsys.readouterr().err


def test_windows_are_filmed_one_after_the_other():
    assert one_after_the_other(np.array([1, 6, 11, 16, 40, 41]), 10) == [0, 2, 4]


def test_another_page_is_not_replaced(recording, tmp_path, capsys):
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "index.html").write_text("of an inspection")
    assert replay(recording, tmp_path / "out") == 1
    assert (tmp_path / "out" / "index.html").read_text() == "of an inspection"


def test_an_older_film_does_not_stay_on_the_page(recording, tmp_path):
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "replay.mp4").write_bytes(b"of another replay")
    assert replay(recording, tmp_path / "out", "--force") == 0
    assert "video" not in (tmp_path / "out" / "index.html").read_text()
    assert not (tmp_path / "out" / "replay.mp4").exists()


def test_nothing_is_overwritten_without_force(recording, tmp_path, capsys):
    assert replay(recording, tmp_path / "out") == 0
    assert replay(recording, tmp_path / "out") == 1
    assert "exists" in capsys.readouterr().err
    assert replay(recording, tmp_path / "out", "--force") == 0


def test_an_out_that_is_a_file_is_refused_before_any_log_is_read(tmp_path, capsys):
    (tmp_path / "out").write_text("")
    assert main(["replay", str(tmp_path / "no-such-log.hdf5"), "--out", str(tmp_path / "out"), "--force"]) == 1
    assert f"{tmp_path / 'out'} is a file" in capsys.readouterr().err
