"""`quadloop finetune` and `quadloop online` at toy size, and what they refuse."""

import contextlib
import io
import json
import shutil
from functools import partial

import numpy as np
import onnx
import pytest
from onnx import numpy_helper

from common.run_directory import RunDirectory
from learners.onnx_graph import export_policy, policy_of_graph
from loop.config import PRESETS as LOOP_PRESETS
from loop.stages import STAGES
from quadloop import main
from robot.log.episode_log import list_episodes
from robot.observation import SLOT_17_TIMING, go1_layout
from robot.policy.artifact import load_artifact, write_artifact
from twin.world import find_world

SMALL = [
    "--uni-o4.improvement-steps", "10", "--uni-o4.gate-period", "10", "--uni-o4.iql.steps", "10", "--uni-o4.dynamics.steps", "10",
    "--fqe.steps", "10", "--trials", "2", "--trial-steps", "20", "--terrain", "flat",
]  # fmt: skip


def finetune(policy, logs, out, *more):
    return main(["finetune", "--policy", str(policy), "--logs", str(logs), "--out", str(out), "--preset", "smoke", *more])


def online(policy, value, out, *more):
    return main(["online", "--policy", str(policy), "--value", str(value), "--out", str(out), "--preset", "smoke", *more])


@pytest.fixture(scope="module")
def finetuned(collect_in, tmp_path_factory):
    """A finished fine-tuning: its policy, its logs, its directory, and what it printed."""
    run, _ = collect_in(tmp_path_factory.mktemp("finetuned") / "run")
    policy, out, printed = run / "pretrained" / "policy.onnx", run / "offline", io.StringIO()
    with contextlib.redirect_stdout(printed):
        assert finetune(policy, run / "logs", out, *SMALL, "--json") == 0
    return policy, run / "logs", out, printed.getvalue()


def test_from_logs_to_a_better_policy_to_one_that_goes_on_learning(finetuned, tmp_path, capsys):
    policy, _logs, out, printed = finetuned
    result = json.loads(printed)
    assert {"policy", "verdict", "estimates", "gate", "data", "seconds"} <= set(result)
    for name in ("amq", "fqe", "wis"):
        assert {"old", "new", "difference", "ci95", "judgement"} <= set(result["estimates"][name])
    assert {"accepted", "rejected"} <= set(result["gate"])
    losses = result["model"]["losses"]
    assert sorted(result["model"]["elites"], key=losses.__getitem__) == result["model"]["elites"] and len(losses) == 2
    assert result["data"]["steps"] == 180
    assert (out / "report" / "index.html").is_file()
    evidence = json.loads((out / "evidence.json").read_text())
    assert set(evidence["twin"]) == {"terrain", "old", "new"}
    assert [(each["trials"], each["steps"]) for each in evidence["twin"]["new"].values()] == [(2, 20)] * 2
    assert evidence["parent_sha256"] == load_artifact(policy).sha256
    offline = load_artifact(out / "policy.onnx")
    assert offline.metadata.parent_sha256 == load_artifact(policy).sha256

    steps = ["--steps", "60", "--steps-per-update", "30", "--episode-steps", "30", "--ppo.epochs", "1", "--terrain", "flat"]
    assert online(out / "policy.onnx", out / "value.pt", tmp_path / "online", *steps, "--json") == 0
    result = json.loads(capsys.readouterr().out)
    assert result["steps"] == 60
    assert load_artifact(tmp_path / "online" / "policy.onnx").sha256 == result["policy_sha256"]
    assert load_artifact(tmp_path / "online" / "policy.onnx").metadata.parent_sha256 == offline.sha256
    assert len(list_episodes(tmp_path / "online" / "episodes")) == 2


def assert_refused(capsys, out, complaint):
    output = capsys.readouterr()
    assert output.out == ""
    assert output.err.splitlines()[-1].startswith("quadloop: error: ")
    assert complaint in output.err
    assert not out.exists()


def test_people_read_the_verdict_first_and_what_the_twin_makes_of_it(finetuned, capsys):
    policy, logs, out, _ = finetuned
    assert finetune(policy, logs, out, *SMALL, "--resume") == 0
    said = capsys.readouterr().out.splitlines()
    assert said[0].startswith("verdict ") and len(said) < 12
    assert sum("falls" in line and "of 2" in line for line in said) == 2


def test_a_finished_finetuning_that_is_resumed_stays_as_it_is(finetuned):
    policy, logs, out, _ = finetuned
    files = [out / name for name in ("policy.onnx", "value.pt", "evidence.json", "report/index.html")]
    before = [path.read_bytes() for path in files]
    assert finetune(policy, logs, out, *SMALL, "--resume") == 0
    assert [path.read_bytes() for path in files] == before


def test_logs_that_do_not_fit_are_refused_before_anything_is_written(finetuned, tmp_path, capsys):
    policy, logs, _, _ = finetuned
    out, elsewhere = tmp_path / "out", tmp_path / "elsewhere.onnx"
    write_artifact(elsewhere, export_policy(policy_of_graph(policy.read_bytes())), "pretrained", None, go1_layout(SLOT_17_TIMING))
    assert finetune(elsewhere, logs, out) == 1
    assert_refused(capsys, out, f"{elsewhere} sees another observation layout than the logs recorded")
    many = [f"--uni-o4.{name}=150" for name in ("dynamics.members", "dynamics.elites", "gate.starts")]
    assert finetune(policy, logs, out, *many) == 1
    assert_refused(capsys, out, "120 usable steps are held out, fewer than the 150 models")


def test_finetune_refuses_before_it_writes(write_policy, tmp_path, capsys):
    policy, out = write_policy().path, tmp_path / "out"
    assert finetune(tmp_path / "absent.onnx", tmp_path, out) == 1
    assert_refused(capsys, out, "absent.onnx")
    assert finetune(policy, tmp_path, out, "--terrain", "swamp") == 1
    assert_refused(capsys, out, "swamp")


@pytest.mark.parametrize(("logs", "complaint"), [("absent", "no such directory"), (".", "no episode log")])
def test_finetune_without_logs(write_policy, tmp_path, capsys, logs, complaint):
    assert finetune(write_policy().path, tmp_path / logs, tmp_path / "out") == 1
    assert complaint in capsys.readouterr().err


def foreign(tmp_path):
    """A policy that acts as an artifact must, through a graph that quadloop did not make."""
    mean = onnx.helper.make_node("MatMul", ["observation_history", "w"], ["action_mean"])
    std = onnx.helper.make_node("Abs", ["s"], ["action_std"])
    weights = [numpy_helper.from_array(np.full(shape, 0.1, dtype=np.float32), name) for name, shape in (("w", (290, 12)), ("s", (12,)))]
    value_info = partial(onnx.helper.make_tensor_value_info, elem_type=onnx.TensorProto.FLOAT)
    outputs = [value_info("action_mean", shape=["batch", 12]), value_info("action_std", shape=[12])]
    graph = onnx.helper.make_graph([mean, std], "other", [value_info("observation_history", shape=["batch", 290])], outputs, weights)
    model = onnx.helper.make_model(graph, opset_imports=[onnx.helper.make_opsetid("", 17)], ir_version=9)
    return write_artifact(tmp_path / "foreign.onnx", model.SerializeToString(), "pretrained", None).path


def test_a_policy_that_cannot_be_trained_on_is_refused_before_anything_is_written(tmp_path, capsys):
    policy, out = foreign(tmp_path), tmp_path / "out"
    for run in (finetune, online):
        assert run(policy, tmp_path, out) == 1
        assert_refused(capsys, out, f"{policy}: the graph is not a plain multilayer perceptron")
    assert main(["evaluate", "--policy", str(policy), "--trials", "1", "--steps", "1"]) == 0


@pytest.mark.parametrize("std", [1e-5, 1e3])
def test_a_policy_that_hardly_or_wildly_explores_is_refused_before_anything_is_written(write_policy, tmp_path, capsys, std):
    policy, out = write_policy(std=std).path, tmp_path / "out"
    for run in (finetune, online):
        assert run(policy, tmp_path, out) == 1
        assert_refused(capsys, out, f"{policy}: its actions have standard deviations from {std:.3g} to {std:.3g}; learning needs")


def test_finetune_is_not_resumed_with_other_inputs(finetuned, tmp_path, capsys):
    policy, logs, run, _ = finetuned
    moved, out = tmp_path / "moved", tmp_path / "out"
    shutil.copytree(logs, moved)
    shutil.copytree(run, out)
    assert finetune(policy, moved, out, *SMALL, "--resume") == 0
    capsys.readouterr()
    for name, value in {"terrain": "mattress", "trials": "3", "trial-steps": "30"}.items():
        assert finetune(policy, moved, out, *SMALL, f"--{name}", value, "--resume") == 1
        assert f"holds a run of another config ({name.replace('-', '_')} is " in capsys.readouterr().err
    list_episodes(moved)[0].rename(moved / "session_00" / "episode_9000.hdf5")
    assert finetune(policy, moved, out, *SMALL, "--resume") == 1
    assert "holds a run of another config (other or changed logs: sha256 was " in capsys.readouterr().err


@pytest.mark.parametrize(
    ("arguments", "status", "complaint"),
    [
        (["--terrain", "swamp"], 1, "unknown terrain 'swamp'"),
        (["--measure.commands", "0.5", "9"], 2, "it must be from -5 to 5 m/s"),
        (["--measure.trials", "0"], 2, "--measure.trials is 0"),
        (["--collect.sessions", "1"], 2, "--collect.sessions is 1"),
        (["--online.ppo.epochs", "0"], 2, "--online.ppo.epochs is 0"),
    ],
)
def test_the_loop_refuses_before_it_writes(tmp_path, capsys, arguments, status, complaint):
    assert main(["loop", "--preset", "smoke", "--out", str(tmp_path / "out"), *arguments]) == status
    assert_refused(capsys, tmp_path / "out", complaint)


def test_a_floor_that_is_edited_while_the_loop_runs_stays_what_it_was(tmp_path, monkeypatch, capsys):
    floor, seen = tmp_path / "floor.yaml", []
    floor.write_text("friction: 0.8\n")

    def stage(context):
        seen.append(context.world.friction)
        floor.write_text("friction: 0.3\n")
        return {"steps": 0, "falls": 0}

    def write_report(_out, _config, world, _result):
        seen.append(world.friction)
        return []

    monkeypatch.setattr("loop.command.STAGES", dict.fromkeys(STAGES, stage))
    monkeypatch.setattr("loop.command.write_report", write_report)
    assert main(["loop", "--preset", "smoke", "--out", str(tmp_path / "out"), "--terrain", str(floor), "--json"]) == 0
    assert seen == [0.8] * (len(STAGES) + 1)
    capsys.readouterr()


def test_force_spares_a_floor_that_the_run_reads(finetuned, tmp_path, capsys):
    policy, logs, offline, _ = finetuned
    out = tmp_path / "out"
    floor = out / "floor.yaml"
    RunDirectory(out, LOOP_PRESETS["smoke"]).close()
    floor.write_text("friction: 0.8\n")
    more = "--terrain", str(floor), "--force"
    for run in (
        lambda: main(["loop", "--preset", "smoke", "--out", str(out), *more]),
        lambda: finetune(policy, logs, out, *SMALL[:-2], *more),
        lambda: online(offline / "policy.onnx", offline / "value.pt", out, *more),
    ):
        assert run() == 1
        assert f"holds {floor}, which this run reads" in capsys.readouterr().err
        assert floor.read_text() == "friction: 0.8\n"


def made_measurement(speed, falls):
    figures = {name: {"mean": value, "ci95": [value - 0.1, value + 0.1]} for name, value in
               (("return", 20.0), ("forward_speed", speed), ("forward_speed_error", 0.25), ("distance", 7.5))}  # fmt: skip
    return figures | {"falls": falls, "trials": 4}


def test_the_loop_shows_people_a_table_of_the_stages_and_what_the_robot_had_to_suffer(tmp_path, capsys):
    """A run that is finished already: its results are shown again."""
    out, config = tmp_path / "out", LOOP_PRESETS["smoke"]
    measured = {"pretrained": {"0.8": made_measurement(0.41, 3)}, "offline": {"0.8": made_measurement(0.62, 1)},
                "online": {"0.8": made_measurement(0.73, 0)}}  # fmt: skip
    results = {"pretrain": {}, "collect": {"steps": 1200, "falls": 5}, "offline": {}, "online": {"steps": 2400, "falls": 2}}
    with RunDirectory(out, config, inputs={"seed": 0, "terrain": find_world(config.terrain)}) as directory:
        for name, result in (results | {"measure": measured}).items():
            directory.mark_stage_done(name, {"result": result, "seconds": 1.0})
    (out / "report").mkdir()
    (out / "report" / "index.html").touch()
    assert main(["loop", "--preset", "smoke", "--out", str(out), "--resume"]) == 0
    said = capsys.readouterr().out
    rows = [
        [cell.strip() for cell in line.strip("│┃").replace("┃", "│").split("│")] for line in said.splitlines() if line[:1] in ("│", "┃")
    ]
    assert [row[:2] for row in rows] == [
        ["command", "stage"], ["0.8 m/s", "pretrained"], ["0.8 m/s", "offline"], ["0.8 m/s", "online"]
    ]  # fmt: skip
    assert [row[6] for row in rows[1:]] == ["3/4", "1/4", "0/4"]
    assert ["0.41" in rows[1][3], "0.62" in rows[2][3], "0.73" in rows[3][3]] == [True] * 3
    assert "Falls on the way: collect 5 in 1,200 steps, online 2 in 2,400 steps." in said
    assert f"report: {out / 'report' / 'index.html'}" in said.replace("\n", "")


@pytest.mark.parametrize("name", ["--trials", "--trial-steps"])
def test_finetune_compares_at_least_once(tmp_path, capsys, name):
    assert finetune(tmp_path / "x.onnx", tmp_path, tmp_path / "out", name, "0") == 2
    assert_refused(capsys, tmp_path / "out", f"{name} is 0; it must be at least 1")


def test_online_refuses_before_it_writes(write_policy, tmp_path, capsys):
    policy, out = write_policy().path, tmp_path / "out"
    assert online(tmp_path / "absent.onnx", policy, out) == 1
    assert_refused(capsys, out, "absent.onnx")
    assert online(policy, policy, out) == 1
    assert_refused(capsys, out, "policy.onnx is not a checkpoint")
