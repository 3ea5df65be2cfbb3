"""`quadloop d4rl` as people and machines use it."""

import json
import sys

import pytest

from d4rl_bench.command import SweepArguments
from d4rl_bench.d3rlpy_process import INTERPRETER_VARIABLE
from d4rl_bench.job import Job
from d4rl_bench.make_command import COMMON_ARITHMETIC
from d4rl_bench.task import all_tasks
from quadloop import main
from tests.d4rl_bench.made_results import result


@pytest.fixture
def common_arithmetic(monkeypatch):
    """Without it `data make` replaces the process, which here is the tests'."""
    for name, value in COMMON_ARITHMETIC.items():
        monkeypatch.setenv(name, value)


def test_list_names_the_tasks_one_a_line(capsys):
    assert main(["d4rl", "list"]) == 0
    assert capsys.readouterr().out.splitlines() == list(all_tasks())
    assert main(["d4rl", "list", "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["door-human-v1"]["quoted"]["Uni-O4"] == 27.1


@pytest.mark.usefixtures("common_arithmetic")
@pytest.mark.parametrize(
    ("arguments", "status", "message"),
    [
        (["d4rl"], 2, ""),
        (["d4rl", "lst"], 2, "quadloop d4rl has no 'lst'; it has list, data, offline, online, table"),
        (["d4rl", "data", "get"], 2, "quadloop d4rl data has no 'get'; it has make, download, show"),
        (["d4rl", "data", "show", "hoper-medium"], 1, "there is no task 'hoper-medium'; did you mean hopper-medium"),
        (["d4rl", "data", "show", "hopper-medium", "--data", "nowhere"], 1, "quadloop d4rl data make hopper"),
        (["d4rl", "data", "make", "ant"], 2, "invalid choice 'ant' for argument 'environment'. Expected one of ('hopper', "),
        (["d4rl", "data", "make", "hopper", "--training.steps", "10"], 2, "each must be at least the one before it"),
        (
            ["d4rl", "data", "make", "hopper", "--steps", "2000000"],
            2,
            "training.steps is 1000000; it must be at least steps, which is 2000000",
        ),
        (["d4rl", "offline", "--tasks", "hopper-medium", "--data", "nowhere"], 1, "no such file"),
        (["d4rl", "offline", "--tasks", "hopper", "--data", "nowhere"], 1, "there is no task 'hopper'; did you mean hopper-medium"),
        (
            ["d4rl", "offline", "--tasks", "hopper-medium", "--methods", "ppo"],
            1,
            "'ppo' is no method of the offline phase; known are uni-o4",
        ),
        (["d4rl", "online", "--methods", "ppo"], 1, "'ppo' is no method of the online phase; known are uni-o4, iql"),
        (["d4rl", "offline", "--seeds", "0", "-1"], 2, "--seeds is (0, -1); it must be from 0 to 9,223,372,036,854,775,807"),
        (["d4rl", "offline", "--seeds", "99999999999999999999"], 2, "it must be from 0 to 9,223,372,036,854,775,807"),
        (["d4rl", "offline", "--address", "10.0.0.1:6379"], 2, "--address is of a Ray cluster; add --engine ray"),
        (
            ["d4rl", "online", "--tasks", "hopper-medium", "--methods", "uni-o4", "--set", "ppo.cliprange=1"],
            1,
            "--set does not fit uni-o4: unknown key 'ppo.cliprange'",
        ),
        (
            ["d4rl", "online", "--tasks", "hopper-medium", "--methods", "uni-o4", "--set", "ppo.gamma=0.5"],
            1,
            "--set does not fit uni-o4: ppo.gamma is 0.5, but the offline phase learnt V with 0.99; leave it",
        ),
        (
            ["d4rl", "online", "--set", "ppo.epochs=3"],
            1,
            "--set does not fit iql: unknown key 'ppo'; known are steps, update_every, evaluate_every; "
            "give --methods uni-o4 scratch, which it fits",
        ),
        (
            ["d4rl", "offline", "--methods", "bc", "uni-o4", "--set", "uni_o4.members=2"],
            1,
            "--set does not fit bc: unknown key 'uni_o4'",
        ),
        (["d4rl", "offline", "--tasks", "kitchen", "--data", "pyproject.toml"], 2, "is the data of one task; give a directory for 3 tasks"),
        (["d4rl", "online", "--data", "minari:mujoco/hopper/medium-v0"], 2, "is the data of one task; give a directory for 9 tasks"),
        (["d4rl", "offline", "--seeds"], 2, "--seeds takes at least one value"),
        (["d4rl", "offline", "--methods"], 2, "--methods takes at least one value"),
        (["d4rl", "online", "--tasks"], 2, "--tasks takes at least one value"),
        (["d4rl", "table", "--cells", "nowhere"], 2, "nowhere is no directory; --cells takes the --out of quadloop d4rl offline"),
        (["d4rl", "table", "--page", "new.png"], 2, "--page takes a Markdown file, such as docs/d4rl.md, not new.png"),
        (["d4rl", "offline", "--seeds", "1", "--seeds", "0"], 2, "--seeds is given twice; give it once (several values stand behind"),
        (["d4rl", "offline", "--set", "a.b=1", "c.d=2", "a.b=3"], 2, "--set gives a.b twice"),
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


def test_a_cell_is_asked_for_once_however_often_its_seed_and_method_are_named():
    wanted = SweepArguments(tasks=("hopper-medium",), methods=("iql", "scratch", "iql"), seeds=(0, 1, 0))
    task = "hopper-medium-v2"
    assert wanted.cells() == [(task, "iql", 0), (task, "iql", 1), (task, "scratch", 0), (task, "scratch", 1)]


def test_what_starts_from_nothing_does_so_once_a_world():
    wanted = SweepArguments(tasks=("hopper-medium-replay", "hopper-medium-expert", "kitchen"), methods=("scratch",))
    assert [task for task, _, _ in wanted.cells()] == ["hopper-medium-v2", "kitchen-complete-v0", "kitchen-mixed-v0"]


def test_settings_of_an_ablation_are_values_of_json():
    wanted = SweepArguments(
        tasks=("hopper-medium",), methods=("uni-o4",), set=("uni_o4.members=1", "uni_o4.gate.max_kl=null", "uni_o4.iql.precision=fp32")
    )
    assert wanted.overrides() == {"uni_o4.members": 1, "uni_o4.gate.max_kl": None, "uni_o4.iql.precision": "fp32"}


def test_a_picture_that_is_not_the_pages_own_is_not_overwritten(gathered, tmp_path, capsys):
    page, picture = tmp_path / "page.md", tmp_path / "page.png"
    picture.write_bytes(b"a holiday")
    asked = ["d4rl", "table", "--results", str(gathered(result())), "--page", str(page)]
    assert main(asked) == 2
    complaint = capsys.readouterr().err
    assert complaint == f"quadloop: error: {picture}, where the picture goes, exists, but {page} does not; choose another --page\n"
    assert picture.read_bytes() == b"a holiday" and not page.exists()
    picture.unlink()
    assert [main(asked), main(asked)] == [0, 0]
    assert picture.exists() and page.exists()


def test_the_real_demonstrations_are_shown(real_data, capsys):
    assert main(["d4rl", "data", "show", "door-human", "--data", str(real_data / "adroit_door_human.hdf5"), "--json"]) == 0
    shown = json.loads(capsys.readouterr().out)
    assert shown["steps"] == 6704 and shown["episodes"] == 25 and shown["terminated"] == 0
    assert shown["rows"] == 6729 and shown["rows_without_successor_left_out"] == 25
    assert not shown["made_locally"]


def test_people_get_a_line_for_each_cell_that_is_whole_however_narrow_the_terminal(tmp_path, capsys, monkeypatch):
    monkeypatch.setenv("COLUMNS", "40")
    result = {"score": 87.654, "seconds": 1234.5, "curve": [[0, 1.0]], "preset": "minutes", "overrides": {}}
    monkeypatch.setattr("d4rl_bench.sweep.run_all", lambda jobs, *_: [result] * len(jobs))
    asked = ["d4rl", "online", "--tasks", "hopper-medium", "--methods", "scratch", "--seeds", "0", "1", "--out", str(tmp_path)]
    assert main(asked) == 0
    lines = capsys.readouterr().out.splitlines()
    assert [line.split()[:4] for line in lines] == [["score", "87.7", "seconds", "1,234.5"]] * 2
    assert [line.split()[4].rpartition("-")[0] for line in lines] == [f"hopper-medium-v2/online-scratch-seed_{seed}" for seed in (0, 1)]
    assert main([*asked, "--json"]) == 0
    assert list(json.loads(capsys.readouterr().out).values()) == [{"score": 87.654, "seconds": 1234.5}] * 2


def test_the_cells_that_were_finished_are_shown_beside_those_that_failed(tmp_path, capsys):
    """One that starts from nothing is there already; the other's folder is another sweep's rubbish."""
    asked = ["d4rl", "online", "--tasks", "hopper-medium", "--methods", "scratch", "--preset", "smoke", "--out", str(tmp_path)]
    done, failing = (Job("online", "hopper-medium-v2", "scratch", seed, "smoke") for seed in (0, 1))
    (tmp_path / done.name()).mkdir(parents=True)
    result = {"key": done.key(), "preset": "smoke", "overrides": {}, "score": 12.5, "seconds": 3.0}
    (tmp_path / done.name() / "result.json").write_text(json.dumps(result))
    (tmp_path / failing.name()).mkdir()
    (tmp_path / failing.name() / "checkpoint.pt").write_bytes(b"rubbish")
    assert main([*asked, "--seeds", "0", "1", "--json"]) == 1
    said = capsys.readouterr()
    assert json.loads(said.out) == {done.name(): {"score": 12.5, "seconds": 3.0}}
    assert said.err.splitlines()[-1].startswith(f"quadloop: error: 1 of 2 jobs failed, the first: {failing.name()}: error: ")
    assert main([*asked, "--seeds", "0", "1"]) == 1
    assert capsys.readouterr().out.split() == ["score", "12.5", "seconds", "3.0", done.name()]


@pytest.mark.timeout(300)  # five processes that load the learners
def test_from_data_to_both_tables(hopper_data, tmp_path, capsys, monkeypatch):
    """Offline, online, table. An interpreter without d3rlpy lets IQL's offline cell fail: it takes no other cell along."""
    monkeypatch.setenv(INTERPRETER_VARIABLE, sys.executable)
    cells, results, page = tmp_path / "cells", tmp_path / "results", tmp_path / "page.md"
    common = ["--tasks", "hopper-medium", "--preset", "smoke", "--data", str(hopper_data), "--out", str(cells), "--json"]

    assert main(["d4rl", "offline", *common]) == 0
    [(name, offline)] = json.loads(capsys.readouterr().out).items()
    assert name.startswith("hopper-medium-v2/offline-uni-o4-seed_0-")

    finished = cells / name / "result.json"
    whole = json.loads(finished.read_text())
    finished.write_text(json.dumps(whole | {"preset": "minutes", "overrides": {"uni_o4.members": 2}}))  # as of another version
    assert main(["d4rl", "offline", *common]) == 0
    assert json.loads(capsys.readouterr().out)[name] == offline
    assert json.loads(finished.read_text()) == whole  # called as it was asked for, and not done again

    assert main(["d4rl", "online", *common, "--methods", "uni-o4", "iql", "scratch"]) == 1
    said = capsys.readouterr()
    complaint = said.err.splitlines()[-1]
    assert "1 of 3 cells have no offline run to start from: 1 of 2 jobs failed, the first: hopper-medium-v2/offline-iql-" in complaint
    assert main(["d4rl", "online", *common, "--methods", "uni-o4", "scratch"]) == 0  # which are there
    online = json.loads(capsys.readouterr().out)
    assert json.loads(said.out) == online
    assert [name.partition("-seed")[0] for name in online] == ["hopper-medium-v2/online-uni-o4", "hopper-medium-v2/online-scratch"]

    assert main(["d4rl", "table", "--cells", str(cells), "--results", str(results), "--page", str(page)]) == 0
    assert sorted(str(path.relative_to(results)) for path in results.rglob("*.json")) == [
        "offline/hopper-medium-v2.json",
        "online/hopper-medium-v2.json",
    ]
    table = page.read_text()
    assert f"| hopper-medium-v2 † | {offline['score']:.1f} (1) ‡ |" in table
    assert "| hopper-medium-v2 † | uni-o4, smoke |" in table and "| hopper-medium-v2 † | scratch, smoke |" in table
    assert page.with_suffix(".png").exists()
