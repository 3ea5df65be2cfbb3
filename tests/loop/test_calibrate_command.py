"""`quadloop calibrate` as a user calls it, on logs of a twin that stands."""

from __future__ import annotations

import json
import re
import shutil
from dataclasses import replace

import pytest

from quadloop import main
from robot.log.episode_log import list_episodes, read_episode, write_episode
from twin.world import find_world

SETTINGS = {"held-out": 2, "horizon": 3, "every": 5, "repeats": 1, "points": 20, "rounds": 1, "tracked-steps": 20}
QUICK = [word for name, value in SETTINGS.items() for word in (f"--settings.{name}", str(value))]


@pytest.fixture(scope="module")
def logs(collect_in, tmp_path_factory):
    out, _ = collect_in(tmp_path_factory.mktemp("calibrate") / "run", steps=180, sessions=6)
    return out / "logs"


def calibrate(logs, out, *more):
    return main(["calibrate", str(logs), "--out", str(out), "--json", *QUICK, *more])


def test_a_twin_is_fitted_and_can_be_walked_in(logs, tmp_path, capsys):
    policy = str(logs.parent / "pretrained" / "policy.onnx")
    assert calibrate(logs, tmp_path / "fit", "--policies", policy, "--name", "lawn") == 0
    said = json.loads(capsys.readouterr().out)
    assert len(said["sessions"]["fitted"]) == 3
    assert len(said["sessions"]["held_out"]) == 3
    assert set(said["floor"]["values"]) == {"time_constant_s", "damping_ratio", "friction", "push_speed"}
    assert said["walks"]["held_out"]["recorded"]["falls_per_100k_steps"] == 0
    assert said["prediction"]["joint_pos_3_steps"]["ratio"] > 0
    assert json.loads((tmp_path / "fit" / "calibration.json").read_text())["motors"] == said["motors"]
    world = find_world(str(tmp_path / "fit" / "world.yaml"))
    assert world.name == "lawn"
    assert world.robot.motor_strength == said["motors"]["values"]["motor_strength"]
    assert "Recorded commands" in (tmp_path / "fit" / "index.html").read_text()
    command = ["evaluate", "--policy", policy, "--terrain", str(tmp_path / "fit" / "world.yaml"), "--trials", "2", "--steps", "5", "--json"]
    assert main(command) == 0
    assert json.loads(capsys.readouterr().out)["terrain"] == "lawn"


def test_without_a_policy_the_floor_stays_hard(logs, tmp_path, capsys):
    assert calibrate(logs, tmp_path / "fit") == 0
    said = json.loads(capsys.readouterr().out)
    assert "floor" not in said
    world = find_world(str(tmp_path / "fit" / "world.yaml"))
    assert world.solref == find_world("flat").solref


def test_what_is_there_is_not_overwritten_and_no_log_is_read_for_it(tmp_path, capsys):
    (tmp_path / "fit").mkdir()
    (tmp_path / "fit" / "world.yaml").write_text("name: precious\n")
    assert calibrate(tmp_path / "no-such-logs", tmp_path / "fit") == 1
    assert "--force" in capsys.readouterr().err
    assert (tmp_path / "fit" / "world.yaml").read_text() == "name: precious\n"


def test_a_policy_that_drove_nothing_is_named_at_fault(logs, tmp_path, capsys, write_policy):
    stranger = str(write_policy("stranger", mean=1.0).path)
    assert calibrate(logs, tmp_path / "fit", "--policies", stranger) == 1
    assert "drove" in capsys.readouterr().err


def test_an_unfinished_log_of_which_nothing_is_left_is_left_out(logs, tmp_path, capsys):
    shutil.copytree(logs, tmp_path / "logs")
    (tmp_path / "logs" / "killed.hdf5.part").write_bytes(b"")
    assert calibrate(tmp_path / "logs", tmp_path / "fit") == 0
    assert "left out: " in (told := capsys.readouterr().err) and "killed.hdf5.part" in told


@pytest.mark.parametrize(("source", "why"), [("replay:go1", "of a replayed walk"), ("go1", "is of the simulated robot, .* of a real one")])
def test_logs_that_say_nothing_of_this_robot_are_refused(logs, tmp_path, capsys, source, why):
    shutil.copytree(logs, tmp_path / "logs")
    path = list_episodes(tmp_path / "logs")[-1]
    episode = read_episode(path)
    write_episode(path, replace(episode, attributes=replace(episode.attributes, source=source)), force=True)
    assert calibrate(tmp_path / "logs", tmp_path / "fit") == 1
    assert re.search(why, capsys.readouterr().err)


def test_few_sessions_are_too_few(logs, tmp_path, capsys):
    assert calibrate(logs, tmp_path / "fit", "--settings.held-out", "4") == 1
    assert "6 sessions are too few" in capsys.readouterr().err


@pytest.mark.parametrize(
    "bad",
    [
        ("--settings.points", "3"), ("--settings.held-out", "1"), ("--settings.walk-s", "nan"), ("--settings.walk-s", "0.005"),
        ("--settings.tracked-steps", "0"),
    ],
)  # fmt: skip
def test_settings_are_checked_before_any_log_is_read(tmp_path, capsys, bad):
    assert calibrate(tmp_path / "no-such-logs", tmp_path / "fit", *bad) == 2
    assert capsys.readouterr().err.count("\n") == 1


def test_an_out_that_is_a_file_is_refused_before_any_log_is_read(tmp_path, capsys):
    (tmp_path / "out").write_text("")
    assert main(["calibrate", str(tmp_path / "no-such-log.hdf5"), "--out", str(tmp_path / "out"), "--force"]) == 1
    assert f"{tmp_path / 'out'} is a file" in capsys.readouterr().err
