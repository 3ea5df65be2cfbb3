"""`quadloop inject` as a user calls it, and every fault on one simulated robot, in real time."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
import time
import uuid
from pathlib import Path

import pytest

from loop.faults import FAULTS, Expected, Fault
from loop.rehearsal import Outcome, Rehearsal
from quadloop import main

MARK = "QUADLOOP_REHEARSAL"


def marked(mark):
    """Commands of the processes, wherever they were started from, that have inherited this mark."""
    found = []
    for process in Path("/proc").glob("[0-9]*"):
        try:
            if f"{MARK}={mark}".encode() in (process / "environ").read_bytes().split(b"\0"):
                found.append((process / "cmdline").read_bytes().replace(b"\0", b" ").decode())
        except OSError:  # it has just ended
            continue
    return [command for command in found if command]


@pytest.fixture
def mark(monkeypatch):
    """What everything that a test starts can be told by."""
    mark = uuid.uuid4().hex
    monkeypatch.setenv(MARK, mark)
    return mark


@pytest.fixture(scope="module")
def rehearsal(tmp_path_factory):
    """One robot for all faults; it leaves no process behind."""
    mark = uuid.uuid4().hex
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv(MARK, mark)
        with Rehearsal(None, "flat", 0, tmp_path_factory.mktemp("walks"), walk_s=0.5, watch_s=1.0) as rehearsal:
            yield rehearsal
    assert marked(mark) == []


def test_a_policy_file_walks(write_policy, mark, tmp_path, capsys):
    policy = write_policy().path
    assert main(["inject", "policy_killed", "--policy", str(policy), "--out", str(tmp_path / "out"), "--json"]) == 0
    said = json.loads(capsys.readouterr().out)
    assert (said["fault"], said["happened"], said["ok"], said["wrong"]) == ("policy_killed", "damped", True, [])
    assert 0 < said["reaction_ms"] < said["bound_ms"]
    assert said["reported"][-1] == "walker: killed (SIGKILL)"
    assert [path.name for path in (tmp_path / "out").rglob("*.part")] == ["001.hdf5.part"]
    assert marked(mark) == []


class OnPaper:
    """A Rehearsal in which one fault goes wrong."""

    def __init__(self, *_):
        pass

    def __enter__(self):
        return self

    def __exit__(self, *_):
        return

    def run(self, name):
        return Outcome(name, "torque", wrong=["nobody said it"]) if name == "estop" else Outcome(name, "damped", 12.3)


def test_all_gives_a_table_or_json(monkeypatch, capsys):
    monkeypatch.setattr("loop.inject_command.Rehearsal", OnPaper)
    assert main(["inject", "all"]) == 1
    said = capsys.readouterr().out
    assert "NO: nobody said it" in said
    assert all(name in said for name in FAULTS)
    assert main(["inject", "all", "--json"]) == 1
    said = json.loads(capsys.readouterr().out)
    assert set(said) == {"faults", "seconds"}
    assert (said["faults"]["estop"]["ok"], said["faults"]["estop"]["reaction_ms"]) == (False, None)
    assert main(["inject", "state_nan"]) == 0
    assert "the robot answers with joints that are not numbers" in capsys.readouterr().out


def test_ctrl_c_leaves_nothing_behind(mark, root):
    command = [sys.executable, "quadloop.py", "inject", "driver_stopped"]
    process = subprocess.Popen(command, cwd=root, stderr=subprocess.PIPE, start_new_session=True)
    end_s = time.monotonic() + 30
    while not any("robot.unitree.guardian" in each for each in marked(mark)):
        assert time.monotonic() < end_s
        time.sleep(0.05)
    process.send_signal(signal.SIGINT)
    _, complaint = process.communicate(timeout=30)
    assert process.returncode == 130
    assert complaint.endswith(b"quadloop: error: interrupted\n")
    assert marked(mark) == []


def test_the_faults_are_listed(capsys):
    assert main(["inject", "--list"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert [line.split()[0] for line in lines] == list(FAULTS)
    assert lines[0].endswith("the control process is killed: damped")
    assert main(["inject", "--list", "--json"]) == 0
    assert set(json.loads(capsys.readouterr().out)["faults"]) == set(FAULTS)


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (["policy_kiled"], "did you mean 'policy_killed'?"),
        (["xyzzy"], "--list names them"),
        ([], "which fault?"),
        (["estop", "--terrain", "sand"], "unknown terrain"),
        (["estop", "--policy", "absent.onnx"], "absent.onnx"),
        (["estop", "--out", "."], ". exists; choose another --out\n"),
        (["estop", "--out", "/dev/null/logs"], "cannot hold logs (Not a directory); choose another --out"),
    ],
)
def test_mistakes_are_one_line(capsys, arguments, says):
    assert main(["inject", *arguments]) != 0
    error = capsys.readouterr().err
    assert says in error
    assert error.count("\n") == 1


@pytest.mark.parametrize("name", FAULTS)
def test_the_robot_reacts_as_it_must(rehearsal, name):
    outcome = rehearsal.run(name)
    assert outcome.wrong == [], outcome
    assert outcome.reaction_ms is not None
    assert FAULTS[name].expected is Expected.LIMITED or outcome.happened == (
        "damped" if FAULTS[name].expected is Expected.DAMPED else "goes on"
    )


def test_a_wrong_reaction_is_called_wrong(rehearsal, monkeypatch):
    monkeypatch.setitem(FAULTS, "nothing", Fault("nothing", lambda scene: None, Expected.DAMPED, 0.1, "faults: EVERYTHING"))
    outcome = rehearsal.run("nothing")
    assert outcome.wrong == ["the robot must be damped, it is goes on", "there was no reaction", "nobody said 'faults: EVERYTHING'"]
    assert not outcome.ok
