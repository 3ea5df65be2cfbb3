"""`quadloop collect` on the twin, in real time, with a person who types."""

import json
import subprocess
import sys
import time

import pytest

from quadloop import main
from robot.episode_log import list_episodes, read_episode


@pytest.fixture
def collect(tmp_path, write_policy, root):
    """Runs the verb with what a person types, line by line; returns exit status, standard output and standard error."""
    policy = write_policy(std=0.1).path

    def run(*arguments, typed=""):
        command = [sys.executable, str(root / "quadloop.py"), "collect", "--policy", str(policy), "--out", str(tmp_path / "logs")]
        done = subprocess.run([*command, *arguments], input=typed, capture_output=True, text=True, timeout=60)
        return done.returncode, done.stdout, done.stderr

    return run


def test_a_sitting(collect, tmp_path):
    status, printed, told = collect(
        "--episodes", "2", "--episode-s", "1", "--session", "first", "--notes", "wet grass", "--yes", "--json", "--velocity", "t265"
    )  # fmt: skip
    assert status == 0, told
    result = json.loads(printed)
    assert (result["episodes"], result["steps"], result["falls"], result["saved"]) == (2, 100, 0, True)
    paths = list_episodes(tmp_path / "logs")
    assert [path.relative_to(tmp_path / "logs").as_posix() for path in paths] == ["first/episode_0000.hdf5", "first/episode_0001.hdf5"]
    episode = read_episode(paths[1])
    assert len(episode.actions) == 50 and episode.attributes.ended == "time_limit"
    assert "wet grass" in episode.attributes.config_json and episode.attributes.velocity_source == "t265+legs"
    assert (episode.actions != episode.action_mean).any()  # drawn, not the mean
    assert "battery 80 %" in told and "The robot is damped." in told


def test_nothing_moves_before_the_person_says_so(collect, tmp_path):
    status, printed, told = collect("--episodes", "1", "--json", typed="q\n")
    assert status == 0 and json.loads(printed)["episodes"] == 0
    assert told.count("[Enter] go on") == 1 and "will stand up" in told
    assert not (tmp_path / "logs").exists()


def test_an_input_that_ends_is_a_no(collect):
    status, printed, _ = collect("--json", typed="")
    assert status == 0 and json.loads(printed)["episodes"] == 0


def test_enter_ends_an_episode(tmp_path, write_policy, root):
    command = [sys.executable, str(root / "quadloop.py"), "collect", "--policy", str(write_policy().path), "--out", str(tmp_path / "logs")]
    person = subprocess.Popen(
        [*command, "--episodes", "1", "--episode-s", "20", "--json"],
        stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True,
    )  # fmt: skip
    person.stdin.write("\n\n")  # stand up, walk
    person.stdin.flush()
    parts = tmp_path / "logs"
    while not any(path.stat().st_size > 50_000 for path in parts.rglob("*.part")):
        time.sleep(0.02)
    printed, _ = person.communicate("\n", timeout=30)
    assert person.returncode == 0 and 10 < json.loads(printed)["steps"] < 900
    assert read_episode(list_episodes(parts)[0]).attributes.ended == "operator"


def test_yes_is_not_for_a_real_robot(tmp_path, write_policy, capsys):
    arguments = ["collect", "--policy", str(write_policy().path), "--out", str(tmp_path), "--robot", "go1", "--yes"]
    assert main(arguments) == 2
    assert "a person at a terminal confirms every motion" in capsys.readouterr().err


def test_a_session_is_not_written_over(tmp_path, write_policy, capsys):
    (tmp_path / "logs" / "first").mkdir(parents=True)
    arguments = ["collect", "--policy", str(write_policy().path), "--out", str(tmp_path / "logs"), "--session", "first", "--yes"]
    assert main(arguments) == 1
    assert "choose another --session" in capsys.readouterr().err


def test_without_the_sdk_it_is_said(tmp_path, write_policy, capsys, monkeypatch):
    monkeypatch.setattr("sys.stdin.isatty", lambda: True, raising=False)
    arguments = ["collect", "--policy", str(write_policy().path), "--out", str(tmp_path / "logs"), "--robot", "go1"]
    assert run_without_priority(arguments, monkeypatch) == 1
    error = capsys.readouterr().err.strip()
    assert error.count("\n") == 0 and "robot_interface" in error and "unitree_legged_sdk" in error


def run_without_priority(arguments, monkeypatch):
    """The verb in this process, which is to keep its own."""
    monkeypatch.setattr("loop.collect_command.prepare_control_process", list)
    return main(arguments)
