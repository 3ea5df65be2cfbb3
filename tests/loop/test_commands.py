"""`quadloop finetune` and `quadloop online` at toy size, and what they refuse."""

import json

import pytest

from quadloop import main
from robot.episode_log import list_episodes
from robot.policy_artifact import load_artifact

SMALL = [
    "--uni-o4.improvement-steps", "10", "--uni-o4.gate-period", "10", "--uni-o4.iql.steps", "10", "--uni-o4.dynamics.steps", "10",
    "--fqe.steps", "10", "--trials", "2", "--terrain", "flat",
]  # fmt: skip


def finetune(policy, logs, out, *more):
    return main(["finetune", "--policy", str(policy), "--logs", str(logs), "--out", str(out), "--preset", "smoke", *more])


def online(policy, value, out, *more):
    return main(["online", "--policy", str(policy), "--value", str(value), "--out", str(out), "--preset", "smoke", *more])


def test_from_logs_to_a_better_policy_to_one_that_goes_on_learning(collect, tmp_path, capsys):
    run, _ = collect()
    policy, out = run / "pretrained" / "policy.onnx", tmp_path / "offline"
    assert finetune(policy, run / "logs", out, *SMALL, "--json") == 0
    result = json.loads(capsys.readouterr().out)
    assert {"policy", "estimates", "gate", "data", "seconds"} <= set(result)
    for name in ("amq", "fqe"):
        assert {"old", "new", "difference", "ci95"} <= set(result["estimates"][name])
    assert {"accepted", "rejected"} <= set(result["gate"])
    assert result["data"]["steps"] == 180
    assert (out / "report" / "index.html").is_file()
    evidence = json.loads((out / "evidence.json").read_text())
    assert set(evidence["twin"]) == {"terrain", "old", "new"}
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


def test_finetune_refuses_before_it_writes(write_policy, tmp_path, capsys):
    policy, out = write_policy().path, tmp_path / "out"
    assert finetune(tmp_path / "absent.onnx", tmp_path, out) == 1
    assert_refused(capsys, out, "absent.onnx")
    assert finetune(policy, tmp_path, out, "--terrain", "swamp") == 1
    assert_refused(capsys, out, "swamp")


@pytest.mark.parametrize(("logs", "complaint"), [("absent", "no such directory"), (".", "no episode logs")])
def test_finetune_without_logs(write_policy, tmp_path, capsys, logs, complaint):
    assert finetune(write_policy().path, tmp_path / logs, tmp_path / "out") == 1
    assert complaint in capsys.readouterr().err


def test_online_refuses_before_it_writes(write_policy, tmp_path, capsys):
    policy, out = write_policy().path, tmp_path / "out"
    assert online(tmp_path / "absent.onnx", policy, out) == 1
    assert_refused(capsys, out, "absent.onnx")
    assert online(policy, policy, out) == 1
    assert_refused(capsys, out, "policy.onnx is not a checkpoint")
