import json
import math
from dataclasses import replace

import numpy as np
import pytest
import torch

from learners.checkpoint import CheckpointError
from learners.policy import GaussianPolicy
from learners.ppo import PpoConfig
from quadloop import main
from robot.policy_artifact import load_artifact
from sim_pretrain.environment import EnvironmentConfig
from sim_pretrain.pretrain import PretrainConfig, Pretrainer, export, pretrain

# 16 robots x 8 steps are 128 control steps an update.
TINY = PretrainConfig(
    steps=256, rollout=8, hidden=(32, 16), value_hidden=(32,), ppo=PpoConfig(epochs=2, minibatches=2),
    environment=EnvironmentConfig(num_robots=16, episode_s=0.2),
)  # fmt: skip


class Report:
    def __init__(self):
        self.steps, self.figures = [], []

    def __call__(self, part, done, total, figures):
        assert (part, total >= done) == ("pretrain", True)
        self.steps.append(done)
        self.figures.append(figures)


def test_a_few_updates_leave_a_policy_and_a_checkpoint(tmp_path):
    report = Report()
    artifact = pretrain(TINY, 0, tmp_path, report, "abc")
    assert report.steps == [128, 256]
    assert all(math.isfinite(value) for figures in report.figures for value in figures.values())
    assert {"reward", "track_lin_vel", "surrogate", "value_loss", "std", "falls"} <= set(report.figures[0])
    loaded = load_artifact(tmp_path / "policy.onnx")
    assert loaded.sha256 == artifact.sha256
    assert loaded.metadata.stage == "pretrained"
    assert loaded.metadata.parent_sha256 is None
    assert loaded.metadata.git_revision == "abc"


def test_learning_changes_the_policy(tmp_path):
    trainer = Pretrainer(TINY, 0)
    before = [parameter.detach().clone() for parameter in trainer.policy.parameters()]
    trainer.iterate()
    trainer.close()
    assert all(not torch.equal(old, new) for old, new in zip(before, trainer.policy.parameters(), strict=True))


def test_a_run_goes_on_from_its_checkpoint(tmp_path):
    pretrain(TINY, 0, tmp_path, Report())
    report = Report()
    pretrain(replace(TINY, steps=512), 0, tmp_path, report)
    assert report.steps == [384, 512]


def test_a_finished_run_gives_the_same_policy_again(tmp_path):
    first = pretrain(TINY, 0, tmp_path, Report())
    report = Report()
    assert pretrain(TINY, 0, tmp_path, report).sha256 == first.sha256
    assert report.steps == []


def test_a_checkpoint_holds_all_that_was_learnt(tmp_path):
    trainer, other = Pretrainer(TINY, 0), Pretrainer(TINY, 1)
    trainer.iterate()
    trainer.environment.range_share = 0.7
    trainer.save(tmp_path / "checkpoint.pt")
    other.resume(tmp_path / "checkpoint.pt")
    trainer.close()
    other.close()
    for module in ("policy", "value"):
        ours, theirs = getattr(trainer, module).state_dict(), getattr(other, module).state_dict()
        assert all(torch.equal(ours[name], theirs[name]) for name in ours)
    assert (other.steps, other.updates, other.environment.range_share) == (128, 1, 0.7)
    assert torch.equal(trainer.generator.get_state(), other.generator.get_state())
    assert other.ppo.policy_optimizer.state_dict()["state"].keys() == trainer.ppo.policy_optimizer.state_dict()["state"].keys()


def test_a_checkpoint_of_another_network_is_refused_on_one_line(tmp_path):
    pretrain(TINY, 0, tmp_path, Report())
    with pytest.raises(CheckpointError, match="does not fit this config") as refusal:
        pretrain(replace(TINY, steps=512, hidden=(8,)), 0, tmp_path, Report())
    assert "\n" not in str(refusal.value)


def test_values_do_not_leak_from_one_episode_into_the_next():
    trainer = Pretrainer(TINY, 0)
    rollout, _ = trainer._collect()
    trainer.close()
    following, goes_on = rollout.values[1:], ~(rollout.terminated | rollout.truncated)[:-1]
    assert torch.equal(rollout.next_values[:-1][goes_on], following[goes_on])
    ended = rollout.truncated[:-1]
    assert ended.any()
    assert (rollout.next_values[:-1][ended] != following[ended]).all()


def test_the_export_computes_what_the_policy_does(tmp_path):
    torch.manual_seed(0)
    policy = GaussianPolicy(290, 12, (32, 16), initial_std=1.0)
    artifact = export(policy, tmp_path / "policy.onnx", max_std=0.45)
    histories = np.random.default_rng(0).standard_normal((20, 290)).astype(np.float32)
    mean, std = load_artifact(artifact.path).act(histories)
    with torch.no_grad():
        expected = policy(torch.from_numpy(histories)).numpy()
    assert np.abs(mean - expected).max() <= 1e-5
    assert std == pytest.approx(np.full(12, 0.45))


def test_export_leaves_a_smaller_std_alone(tmp_path):
    artifact = export(GaussianPolicy(290, 12, (8,), initial_std=0.2), tmp_path / "policy.onnx", max_std=0.45)
    assert artifact.act(np.zeros(290, dtype=np.float32))[1] == pytest.approx(np.full(12, 0.2))


def test_the_verb(tmp_path, capsys):
    arguments = ["pretrain", "--preset", "smoke", "--steps", "64", "--rollout", "4", "--environment.num-robots", "16", "--json"]
    assert main([*arguments, "--out", str(tmp_path / "run")]) == 0
    result = json.loads(capsys.readouterr().out)
    assert load_artifact(tmp_path / "run" / "policy.onnx").sha256 == result["policy_sha256"]
    assert (tmp_path / "run" / "metrics.csv").read_text().count("\npretrain,") == 1
