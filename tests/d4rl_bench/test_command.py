"""`quadloop d4rl` as people and machines use it."""

import json

import pytest

from d4rl_bench.command import SweepArguments
from d4rl_bench.task import all_tasks
from quadloop import main


def test_list_names_the_tasks_one_a_line(capsys):
    assert main(["d4rl", "list"]) == 0
    assert capsys.readouterr().out.splitlines() == list(all_tasks())
    assert main(["d4rl", "list", "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["door-human-v1"]["quoted"]["Uni-O4"] == 27.1


@pytest.mark.parametrize(
    ("arguments", "status", "message"),
    [
        (["d4rl"], 2, ""),
        (["d4rl", "lst"], 2, "quadloop d4rl has no 'lst'; it has list, data, offline, online, table"),
        (["d4rl", "data", "get"], 2, "quadloop d4rl data has no 'get'; it has make, download, show"),
        (["d4rl", "data", "show", "hoper-medium"], 1, "there is no task 'hoper-medium'; did you mean hopper-medium"),
        (["d4rl", "data", "show", "hopper-medium", "--data", "nowhere"], 1, "quadloop d4rl data make"),
        (["d4rl", "data", "make", "ant"], 2, "hopper"),
        (["d4rl", "offline", "--tasks", "hopper-medium", "--data", "nowhere"], 1, "no such file"),
        (["d4rl", "offline", "--tasks", "hopper", "--data", "nowhere"], 1, "there is no task 'hopper'; did you mean hopper-medium"),
        (
            ["d4rl", "offline", "--tasks", "hopper-medium", "--methods", "ppo"],
            1,
            "'ppo' is no method of the offline phase; known are uni-o4",
        ),
        (["d4rl", "online", "--methods", "ppo"], 1, "'ppo' is no method of the online phase; known are uni-o4, iql"),
        (["d4rl", "offline", "--seeds", "0", "-1"], 1, "seeds is (0, -1); it must be 0 or more"),
        (["d4rl", "offline", "--address", "10.0.0.1:6379"], 2, "--address is of a Ray cluster; add --engine ray"),
        (
            ["d4rl", "online", "--tasks", "hopper-medium", "--methods", "uni-o4", "--set", "ppo.cliprange=1"],
            1,
            "unknown key 'ppo.cliprange'",
        ),
        (["d4rl", "offline", "--tasks", "kitchen", "--data", "pyproject.toml"], 2, "is the data of one task; give a directory for 3 tasks"),
        (["d4rl", "offline", "--set", "members"], 2, "--set takes name=value, such as uni_o4.members=1, not 'members'"),
    ],
)
def test_mistakes_are_answered_in_one_line(arguments, status, message, capsys):
    assert main(arguments) == status
    complaint = capsys.readouterr().err
    assert message in complaint and len(complaint.splitlines()) <= 1


def test_a_family_stands_for_its_tasks_and_none_is_run_twice():
    wanted = SweepArguments(tasks=("hopper-medium", "kitchen", "hopper-medium-v2"), methods=("bc",))
    assert wanted.chosen_tasks() == ["hopper-medium-v2", "kitchen-complete-v0", "kitchen-partial-v0", "kitchen-mixed-v0"]


def test_settings_of_an_ablation_are_values_of_json():
    wanted = SweepArguments(tasks=(), methods=(), set=("uni_o4.members=1", "uni_o4.gate.max_kl=null", "uni_o4.iql.precision=fp32"))
    assert wanted.overrides() == {"uni_o4.members": 1, "uni_o4.gate.max_kl": None, "uni_o4.iql.precision": "fp32"}


def test_the_real_demonstrations_are_shown(real_data, capsys):
    assert main(["d4rl", "data", "show", "door-human", "--data", str(real_data / "adroit_door_human.hdf5"), "--json"]) == 0
    shown = json.loads(capsys.readouterr().out)
    assert shown["steps"] == 6704 and shown["episodes"] == 25 and shown["terminated"] == 0
    assert not shown["made_locally"]
