"""`quadloop inject` as a user calls it, and every fault on one simulated robot, in real time."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
import time
import uuid

import pytest

from common.child_process import start_module
from loop.inject.command import tell
from loop.inject.faults import FAULTS, Expected, Fault
from loop.inject.rehearsal import Outcome, Rehearsal
from quadloop import main
from tests.loop.processes import MARK, marked


@pytest.fixture(scope="module")
def rehearsal(tmp_path_factory):
    """One robot for all faults, which stands up quickly; it leaves no process behind."""
    mark = uuid.uuid4().hex
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv(MARK, mark)
        patch.setattr(
            "loop.inject.walker_process.start_module",
            lambda _, *rest, **pipes: start_module("tests.loop.inject.quick_walker", *rest, **pipes),
        )
        with Rehearsal(None, "flat", 0, tmp_path_factory.mktemp("walks"), walk_s=0.2, watch_s=0.6) as rehearsal:
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


@pytest.fixture
def outcomes():
    """Of all faults; one robot did not react as it must."""
    return [
        Outcome(name, "torque", wrong=["nobody said it"]) if name == "estop" else Outcome(name, "damped", reaction_ms=12.3)
        for name in FAULTS
    ]


def test_what_came_of_all_faults_is_a_table(outcomes, capsys):
    assert tell(outcomes, "all", 7.0, as_json=False) == 1
    said = capsys.readouterr().out
    assert said.count("NO: ") == 1 and "NO: nobody said it" in said
    assert all(name in said for name in FAULTS)
    sound = [outcome for outcome in outcomes if outcome.ok]
    assert tell(sound, "all", 7.0, as_json=False) == 0
    assert "NO: " not in capsys.readouterr().out


def test_what_came_of_all_faults_is_json_for_machines(outcomes, capsys):
    assert tell(outcomes, "all", 7.0, as_json=True) == 1
    said = json.loads(capsys.readouterr().out)
    assert set(said["faults"]) == set(FAULTS) and said["seconds"] == 7.0
    assert (said["faults"]["estop"]["ok"], said["faults"]["estop"]["reaction_ms"]) == (False, None)
    assert (said["faults"]["state_nan"]["ok"], said["faults"]["state_nan"]["reaction_ms"]) == (True, 12.3)


def test_what_came_of_one_fault_is_told_in_words(outcomes, capsys):
    assert tell([outcome for outcome in outcomes if outcome.fault == "state_nan"], "state_nan", 7.0, as_json=False) == 0
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
    monkeypatch.setattr("loop.inject.rehearsal.PATIENCE_S", 0.2)
    monkeypatch.setitem(FAULTS, "nothing", Fault("nothing", lambda scene: None, Expected.DAMPED, 0.1, "faults: EVERYTHING"))
    outcome = rehearsal.run("nothing")
    assert outcome.wrong == ["the robot must be damped, it is goes on", "there was no reaction", "nobody said 'faults: EVERYTHING'"]
    assert not outcome.ok
