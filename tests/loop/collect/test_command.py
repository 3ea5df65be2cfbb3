"""`quadloop collect` on the twin, in real time, with a person who types at a terminal."""

import io
import json
import os
import pty
import select
import signal
import subprocess
import sys
import time

import numpy as np
import pytest

from common.command_line import parse
from common.errors import QuadloopError
from common.randomness import generator_for
from loop.collect.command import CollectArguments, run
from quadloop import main
from robot.forward_commands import ForwardCommands
from robot.log.episode_log import list_episodes, read_episode
from tests.loop.processes import marked

CTRL_D = "\x04"


class Person:
    """At a terminal of its own, with `quadloop collect` in it; `told` is what it said on standard error so far."""

    def __init__(self, command):
        self._hand, terminal = pty.openpty()
        self.verb = subprocess.Popen(command, stdin=terminal, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
        os.close(terminal)
        self.told = ""

    def answers(self, question, typed):
        """Type, as soon as `question` has been asked."""
        self.hears(question)
        self.types(typed)

    def hears(self, question):
        while not (question in self.told and self.told.endswith("end here: ")):
            said = os.read(self.verb.stderr.fileno(), 4096).decode()
            assert said, self.told
            self.told += said

    def hears_nothing(self, seconds):
        return not select.select([self.verb.stderr], [], [], seconds)[0]

    def types(self, typed):
        os.write(self._hand, typed.encode())

    def sees(self):
        """Exit status and standard output, once it has ended."""
        printed, said = self.verb.communicate(timeout=30)
        self.told += said.decode()
        os.close(self._hand)
        return self.verb.returncode, printed.decode()


def grown(logs):
    """Whether there is a walk of some steps in the log that is being written."""
    return any(path.stat().st_size > 50_000 for path in logs.rglob("*.part"))


@pytest.fixture(autouse=True)
def ordinary_priority(monkeypatch):
    """The verb in this process is to keep this process's own."""
    monkeypatch.setattr("loop.collect.command.prepare_control_process", list)


@pytest.fixture
def command(tmp_path, write_policy, root):
    """The verb as a command, without the arguments that differ."""
    policy = write_policy(std=0.1).path
    return [sys.executable, str(root / "quadloop.py"), "collect", "--policy", str(policy), "--out", str(tmp_path / "logs")]


def test_a_sitting(command, tmp_path):
    arguments = ["--episodes", "2", "--episode-s", "1", "--session", "first", "--notes", "wet grass", "--velocity", "t265", "--seed", "7"]
    done = subprocess.run(
        [*command, *arguments, "--yes", "--json"], stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=60
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    result = json.loads(done.stdout)
    assert (result["episodes"], result["steps"], result["falls"], result["saved"]) == (2, 100, 0, True)
    paths = list_episodes(tmp_path / "logs")
    assert [path.relative_to(tmp_path / "logs").as_posix() for path in paths] == ["first/episode_0000.hdf5", "first/episode_0001.hdf5"]
    episode = read_episode(paths[1])
    assert len(episode.actions) == 50 and episode.attributes.ended == "time_limit"
    assert "wet grass" in episode.attributes.config_json and episode.attributes.velocity_source == "t265+legs"
    assert (episode.actions != episode.action_mean).any()  # drawn, not the mean
    assert "battery 80 %" in done.stderr and "The robot is damped." in done.stderr
    assert "\nvelocity by t265\n" in done.stderr and result["velocity"]["source"] == "t265"
    assert result["seed"] == json.loads(episode.attributes.config_json)["seed"] == 7
    speeds = generator_for("collect speeds", 7)  # whatever the actions are
    for path in paths:
        assert read_episode(path).command[0, 0] == np.float32(ForwardCommands(0.2, 0.8).draw(50, speeds).command_at(0)[0])


@pytest.mark.parametrize("answer", ["q\n", CTRL_D])
def test_nothing_moves_before_the_person_says_so(command, tmp_path, answer):
    person = Person([*command, "--episodes", "1", "--json"])
    person.answers("will stand up", answer)
    status, printed = person.sees()
    assert status == 0 and json.loads(printed)["episodes"] == 0
    assert person.told.count("[Enter] go on") == 1 and "ended by the operator" in person.told
    assert not list(tmp_path.glob("logs/*"))  # so that a session of the same name may follow


def test_what_was_typed_before_a_question_is_no_answer_to_it(command, tmp_path):
    """A key that bounces must not move a robot."""
    person = Person([*command, "--episodes", "1", "--json"])
    person.types("\n\n")
    person.hears("will stand up")
    assert person.hears_nothing(seconds=1.0) and person.verb.poll() is None
    person.types("q\n")
    status, printed = person.sees()
    assert status == 0 and json.loads(printed)["episodes"] == 0
    assert person.told.count("[Enter] go on") == 1 and "ended by the operator" in person.told
    assert not list(tmp_path.glob("logs/*"))


@pytest.mark.parametrize(("typed", "status", "episodes"), [("\n\n", 0, 1), ("", 2, 0)])
def test_answers_may_come_through_a_pipe_but_there_must_be_some(command, typed, status, episodes):
    done = subprocess.run(
        [*command, "--episodes", "1", "--episode-s", "1", "--json"], input=typed, capture_output=True, text=True, timeout=60
    )  # fmt: skip
    assert done.returncode == status, done.stderr
    if episodes:
        assert json.loads(done.stdout)["episodes"] == episodes
    else:
        assert "ended by the operator" not in done.stderr
        assert "nobody could confirm a motion; --yes lets the twin move without" in done.stderr and done.stdout == ""


def test_enter_ends_an_episode(command, tmp_path):
    person = Person([*command, "--episodes", "1", "--episode-s", "20", "--json"])
    person.answers("will stand up", "\n")
    person.answers("Episode 1 of 1", "\n")
    while not grown(tmp_path / "logs"):
        time.sleep(0.02)
    person.types("\n")
    status, printed = person.sees()
    assert status == 0 and 10 < json.loads(printed)["steps"] < 900
    attributes = read_episode(list_episodes(tmp_path / "logs")[0]).attributes
    assert attributes.ended == "operator"
    assert person.told.startswith(f"seed {json.loads(attributes.config_json)['seed']}\n")


def test_each_sitting_has_its_own_luck_unless_a_seed_is_given(capsys):
    def seed_of(*arguments):
        return parse("collect", CollectArguments, ["--policy", "p.onnx", "--out", "logs", *arguments]).seed

    assert len({seed_of() for _ in range(10)}) == 10
    assert seed_of("--seed", "0") == 0
    with pytest.raises(SystemExit):
        seed_of("--help")
    assert "another one each time" in capsys.readouterr().out


@pytest.mark.parametrize(("number", "status"), [(signal.SIGINT, 130), (signal.SIGKILL, -signal.SIGKILL)])
def test_a_sitting_that_is_cut_short_while_the_robot_walks_leaves_a_log_and_nothing_else(command, tmp_path, mark, number, status):
    verb = subprocess.Popen([*command, "--yes"], stdin=subprocess.DEVNULL, stderr=subprocess.PIPE)
    while not grown(tmp_path / "logs"):
        assert verb.poll() is None
        time.sleep(0.02)
    verb.send_signal(number)
    _, complaint = verb.communicate(timeout=30)
    assert verb.returncode == status
    if number == signal.SIGINT:
        assert complaint.endswith(b"quadloop: error: interrupted\n") and b"Traceback" not in complaint
        assert b"a robot that was connected is damped" in complaint and b"What was recorded is in " in complaint
    end_s = time.monotonic() + 20
    while left := marked(mark):
        assert time.monotonic() < end_s, left
        time.sleep(0.05)
    [log] = list_episodes(tmp_path / "logs", unfinished=True)
    episode = read_episode(log)
    assert len(episode) > 10 and np.isfinite(episode.joint_pos).all()


@pytest.mark.parametrize(
    ("arguments", "status", "says"),
    [
        (["--robot", "go1", "--yes"], 2, "a person at a terminal confirms every motion"),
        (["--yes", "--session", "first"], 1, "first exists; choose another --session"),
        (["--yes", "--session", "../first"], 2, "--session is '../first'; it must be a plain name"),
        (["--yes", "--session", "x" * 201], 2, "it must be a plain name of at most 200 characters"),
        (["--yes", "--session", ".."], 2, "--session is '..'; it must be a plain name"),
        (["--yes", "--notes", "x" * 4001], 2, "it must be at most 4,000 characters long"),
        (["--yes", "--vx-high", "0.1"], 2, "--vx-low is 0.2, --vx-high is 0.1; each must be at least the one before it"),
        (["--yes", "--power-level", "50"], 2, "--power-level is 50; it must be from 1 to 10"),
        (["--yes", "--lever-arm", "25", "0", "0"], 2, "--lever-arm is (25.0, 0.0, 0.0); it must be from -1 to 1 m"),
        (["--yes", "--vx-high", "2.1"], 2, "--vx-high is 2.1; it must be at most 2 m/s"),
        (["--robot", "go1", "--vx-high", "9"], 2, "--vx-high is 9.0; it must be at most 2 m/s"),
    ],
)
def test_what_cannot_be_is_refused_on_one_line_before_anything_moves(tmp_path, write_policy, capsys, monkeypatch, arguments, status, says):
    monkeypatch.setattr("sys.stdin", io.StringIO())
    (tmp_path / "logs" / "first").mkdir(parents=True)
    assert main(["collect", "--policy", str(write_policy().path), "--out", str(tmp_path / "logs"), *arguments]) == status
    error = capsys.readouterr().err
    assert says in error and error.count("\n") == 1
    assert [path.name for path in tmp_path.rglob("*") if path.is_dir()] == ["logs", "first"]


@pytest.mark.parametrize(("out", "why"), [("text.txt", "Not a directory"), ("text.txt/logs", "Not a directory"), ("/proc/logs", "")])
def test_logs_that_cannot_be_written_are_refused_before_anything_moves(tmp_path, write_policy, capsys, out, why):
    (tmp_path / "text.txt").touch()
    assert main(["collect", "--policy", str(write_policy().path), "--out", str(tmp_path / out), "--yes"]) == 1
    error = capsys.readouterr().err
    assert f"cannot hold logs ({why}" in error and "choose another --out" in error and error.count("\n") == 1


def test_without_the_sdk_it_is_said(tmp_path, write_policy, capsys, monkeypatch):
    monkeypatch.setattr("sys.stdin.isatty", lambda: True, raising=False)
    assert main(["collect", "--policy", str(write_policy().path), "--out", str(tmp_path / "logs"), "--robot", "go1"]) == 1
    error = capsys.readouterr().err.strip()
    assert error.count("\n") == 0 and "robot_interface" in error and "unitree_legged_sdk" in error
    assert not list(tmp_path.glob("logs/*"))


def test_real_time_rights_are_asked_for_before_there_is_a_thread_or_a_process(monkeypatch):
    asked = []

    def load(_path):
        raise QuadloopError(f"asked {len(asked)} times")

    monkeypatch.setattr("loop.collect.command.prepare_control_process", lambda: asked.append("rights"))
    monkeypatch.setattr("loop.collect.command.load_artifact", load)
    with pytest.raises(QuadloopError, match="asked 1 times"):
        run(["--policy", "p.onnx", "--out", "logs"])
