from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from robot import go1
from robot.observation import GO1_LAYOUT
from twin.evaluate import straight_command
from twin.model import standing_qpos
from twin.render import record_walk, write_video
from twin.world import FLAT


class Still:
    def act(self, observation_history):
        return np.zeros((len(observation_history), 12), dtype=np.float32), np.ones(12, dtype=np.float32)


def test_a_walk_is_recorded_25_times_a_second():
    frames = record_walk(Still(), FLAT, straight_command(0.5), seed=0, steps=10)
    assert frames.shape == (5, 19)
    assert np.isfinite(frames).all()
    assert np.abs(frames[:, 7:] - go1.DEFAULT_JOINT_POS).max() < 0.5  # it settles on its feet


def test_a_policy_is_shown_histories_of_its_own_layout():
    seen = []

    class Watching(Still):
        def act(self, observation_history):
            seen.append(observation_history.shape)
            return super().act(observation_history)

    record_walk(Watching(), FLAT, straight_command(0.5), seed=0, steps=1, layout=replace(GO1_LAYOUT, history=3))
    assert seen == [(1, 3 * 58)]


def test_without_a_gl_library_there_is_a_note_and_no_picture(tmp_path, monkeypatch):
    monkeypatch.setenv("MUJOCO_GL", "none-such")
    note = write_video(np.tile(standing_qpos(), (2, 1)), tmp_path / "walk.mp4")
    assert note is not None
    assert note.startswith("no video walk.mp4: ")
    assert "libegl1" in note
    assert "\n" not in note
    assert list(tmp_path.iterdir()) == []


def test_poses_that_cannot_be_drawn_blame_no_library(tmp_path):
    if write_video(np.tile(standing_qpos(), (1, 1)), tmp_path / "can.mp4") is not None:
        pytest.skip("this machine cannot draw")
    note = write_video(np.zeros((2, 3)), tmp_path / "walk.mp4")
    assert note is not None
    assert note.startswith("no video walk.mp4: ValueError")
    assert "libegl1" not in note
    assert [path.name for path in tmp_path.iterdir()] == ["can.mp4"]


def test_nothing_of_the_users_directory_is_run(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for name in ("robot.py", "twin.py", "numpy.py"):
        (tmp_path / name).write_text("from pathlib import Path\nPath('ran').touch()\nraise SystemExit('a user\\'s own file')\n")
    note = write_video(np.tile(standing_qpos(), (2, 1)), Path("out") / "walk.mp4")
    assert not (tmp_path / "ran").exists()
    assert (note is None) == (tmp_path / "out" / "walk.mp4").exists()
    assert note is None or "user's own file" not in note


def test_a_video_is_whole_and_leaves_nothing_beside_it(tmp_path):
    note = write_video(np.tile(standing_qpos(), (3, 1)), tmp_path / "walk.mp4")
    if note is not None:
        pytest.skip(note)
    assert [path.name for path in tmp_path.iterdir()] == ["walk.mp4"]
    assert (tmp_path / "walk.mp4").read_bytes()[4:8] == b"ftyp"
