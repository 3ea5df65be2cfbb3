import json
import math
import os
import shutil
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from common.config import load_config
from learners.checkpoint import CheckpointError, load_checkpoint, save_checkpoint
from learners.policy import GaussianPolicy
from learners.ppo import PpoConfig
from learners.training import DivergedError
from quadloop import main
from robot.policy.artifact import load_artifact
from sim_pretrain.backend import make_environment
from sim_pretrain.config import MeasuredConfig, PretrainConfig
from sim_pretrain.environment import EnvironmentConfig
from sim_pretrain.pretrain import Pretrainer, export, pretrain
from sim_pretrain.randomisation import RandomisationConfig
from sim_pretrain.worker_environment import WorkerConfig
from twin.world import Pushes

HERE = Path(__file__).parent

# 16 robots x 8 steps are 128 control steps an update.
TINY = PretrainConfig(
    steps=256, rollout=8, hidden=(32, 16), value_hidden=(32,), ppo=PpoConfig(epochs=2, minibatches=2),
    environment=EnvironmentConfig(num_robots=16, episode_s=0.2),
)  # fmt: skip


@pytest.fixture
def make(tmp_path):
    """Makes trainers and stops their engines."""
    made = []

    def trainer(config=TINY, seed=0):
        made.append(Pretrainer(config, seed, make_environment(config, seed, tmp_path / "made")))
        return made[-1]

    yield trainer
    for trainer in made:
        trainer.environment.close()


def weights(out):
    return load_checkpoint(out / "checkpoint.pt")["policy"]


def equal(ours, theirs):
    return all(torch.equal(ours[name], theirs[name]) for name in ours)


class Report:
    def __init__(self):
        self.steps, self.figures = [], []

    def __call__(self, part, done, total, figures):
        assert (part, total >= done) == ("pretrain", True)
        self.steps.append(done)
        self.figures.append(figures)


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    """The folder of a finished run of TINY, its policy, and what it reported."""
    folder, report = tmp_path_factory.mktemp("trained"), Report()
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("robot.policy.artifact.git_revision", lambda: "abc")
        return folder, pretrain(TINY, 0, folder, report), report


@pytest.fixture
def finished(trained, tmp_path):
    """A copy of that folder, which a test may change."""
    return shutil.copytree(trained[0], tmp_path / "finished")


def test_a_few_updates_leave_a_policy_and_a_checkpoint(trained):
    folder, artifact, report = trained
    assert report.steps == [128, 256]
    assert all(math.isfinite(value) for figures in report.figures for value in figures.values())
    assert {"reward", "track_lin_vel", "surrogate", "value_loss", "std", "falls"} <= set(report.figures[0])
    loaded = load_artifact(folder / "policy.onnx")
    assert loaded.sha256 == artifact.sha256
    assert loaded.metadata.stage == "pretrained"
    assert loaded.metadata.parent_sha256 is None
    assert loaded.metadata.git_revision == "abc"


def test_learning_changes_the_policy(make):
    trainer = make()
    before = [parameter.detach().clone() for parameter in trainer.policy.parameters()]
    trainer.iterate()
    assert all(not torch.equal(old, new) for old, new in zip(before, trainer.policy.parameters(), strict=True))


def test_the_average_is_the_running_mean_of_the_acting_policies(make):
    trainer = make(replace(TINY, averaged_updates=2))
    acted = []
    for _ in range(3):
        trainer.iterate()
        acted.append(trainer.policy.actor.weights[0].detach().clone())
    mean_of_two = (acted[0] + acted[1]) / 2
    assert torch.allclose(trainer.average.actor.weights[0], (mean_of_two + acted[2]) / 2, atol=1e-7)


def test_what_is_exported_is_the_average(tmp_path):
    artifact = pretrain(replace(TINY, averaged_updates=1), 0, tmp_path / "last", Report())
    averaged = pretrain(replace(TINY, averaged_updates=50), 0, tmp_path / "averaged", Report())
    assert equal(weights(tmp_path / "last"), weights(tmp_path / "averaged"))
    assert artifact.sha256 != averaged.sha256


def test_the_same_seed_gives_the_same_policy_and_another_seed_another(tmp_path):
    first, again, other = (pretrain(TINY, seed, tmp_path / name, Report()) for name, seed in (("a", 1), ("b", 1), ("c", 2)))
    assert first.sha256 == again.sha256
    assert first.sha256 != other.sha256


def test_learning_that_blows_up_ends_on_one_line(make):
    trainer = make()
    with torch.no_grad():
        trainer.value.network.biases[-1].fill_(math.inf)
    with pytest.raises(DivergedError, match=r"pretrain: learning blew up in the update after step 0; .* a lower .*ppo\.value_lr"):
        trainer.iterate()


def test_a_run_goes_on_from_its_checkpoint(finished):
    report = Report()
    pretrain(replace(TINY, steps=512), 0, finished, report)
    assert report.steps == [384, 512]


def test_a_finished_run_keeps_its_policy_and_the_revision_that_made_it(trained, finished):
    report = Report()
    assert pretrain(TINY, 0, finished, report).sha256 == trained[1].sha256
    assert report.steps == []
    assert load_artifact(finished / "policy.onnx").metadata.git_revision == "abc"


@pytest.mark.parametrize("damage", [lambda path: path.unlink(), lambda path: path.write_bytes(b"half a policy")], ids=["absent", "damaged"])
def test_a_finished_run_without_a_policy_exports_it_again(trained, finished, damage, at_revision):
    at_revision("abc")
    damage(finished / "policy.onnx")
    assert pretrain(TINY, 0, finished, Report()).sha256 == trained[1].sha256
    assert load_artifact(finished / "policy.onnx").sha256 == trained[1].sha256


def test_a_policy_of_an_earlier_checkpoint_or_with_another_std_is_replaced(trained, finished):
    longer = replace(TINY, steps=512)
    later = pretrain(longer, 0, finished, Report())
    bolder = pretrain(replace(longer, deployed_std=0.6), 0, finished, Report())
    assert len({artifact.sha256 for artifact in (trained[1], later, bolder)}) == 3
    assert load_artifact(bolder.path).act(np.zeros(290))[1] == pytest.approx(np.full(12, 0.6))


EVERYTHING = replace(
    TINY, steps=128 * 12, checkpoint_every=2,
    environment=EnvironmentConfig(
        num_robots=16, episode_s=0.5, command_s=0.1, randomisation=RandomisationConfig(variants=3, pushes=Pushes(every_s=0.2, speed=0.5))
    ),
)  # fmt: skip


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    """The folder of such a run that nothing has interrupted."""
    folder = tmp_path_factory.mktemp("whole")
    pretrain(EVERYTHING, 0, folder, Report())
    return folder


@pytest.mark.parametrize("updates", [1, 5])
def test_an_interrupted_run_ends_with_the_same_weights(whole, tmp_path, make, updates):
    trainer = make(EVERYTHING)
    for _ in range(updates):
        trainer.iterate()
    trainer.save(tmp_path / "checkpoint.pt")
    pretrain(EVERYTHING, 0, tmp_path, Report())
    assert equal(weights(whole), weights(tmp_path))
    assert load_artifact(whole / "policy.onnx").sha256 == load_artifact(tmp_path / "policy.onnx").sha256


KILLED = """
import sys
from pathlib import Path
from test_pretrain import EVERYTHING
from sim_pretrain.pretrain import pretrain
pretrain(EVERYTHING, 0, Path(sys.argv[1]), lambda part, done, total, figures: print(done, flush=True))
"""


def test_a_killed_run_ends_with_the_same_weights(whole, tmp_path, root):
    """kill -9 in the midst of an update, then to the end: as if nothing had happened."""
    run = subprocess.Popen(
        [sys.executable, "-c", KILLED, str(tmp_path)], stdout=subprocess.PIPE, text=True,
        env=os.environ | {"PYTHONPATH": os.pathsep.join([str(root), str(HERE)])},
    )  # fmt: skip
    for _ in range(3):
        assert run.stdout.readline()
    run.kill()
    run.wait()
    run.stdout.close()
    assert 0 < load_checkpoint(tmp_path / "checkpoint.pt")["steps"] < EVERYTHING.steps
    pretrain(EVERYTHING, 0, tmp_path, Report())
    assert equal(weights(whole), weights(tmp_path))


def test_a_checkpoint_of_another_network_is_refused_on_one_line(finished):
    with pytest.raises(CheckpointError, match="does not fit this run") as refusal:
        pretrain(replace(TINY, steps=512, hidden=(8,)), 0, finished, Report())
    assert "\n" not in str(refusal.value)


@pytest.mark.parametrize("damage", [{"steps": "a"}, {"seconds": math.nan}, {"environment": 3}, {"average": {}}])
def test_a_damaged_checkpoint_is_refused_on_one_line(finished, damage):
    save_checkpoint(finished / "checkpoint.pt", load_checkpoint(finished / "checkpoint.pt") | damage)
    with pytest.raises(CheckpointError, match=r"checkpoint\.pt does not fit this run") as refusal:
        pretrain(TINY, 0, finished, Report())
    assert "\n" not in str(refusal.value)


def test_values_do_not_leak_from_one_episode_into_the_next(make):
    """With gamma 1, lambda 0 and no reward the return of a step is the value of what followed it."""
    config = replace(TINY, rollout=12, ppo=replace(TINY.ppo, gamma=1.0, gae_lambda=0.0))
    trainer = make(config)
    trainer.rollout.collect(trainer.policy, trainer.generator, trainer.ppo.autocast)
    rollout = trainer.rollout
    batch = rollout.batch(trainer.policy, trainer.value, trainer.ppo)
    following = (batch.returns - rollout.rewards.flatten()).view(12, 16)
    with torch.no_grad():
        values = trainer.value(rollout.critic_observations.flatten(0, 1)).view(13, 16)
        finals = trainer.value(rollout.finals)
    goes_on = ~(rollout.terminated | rollout.truncated)
    assert torch.allclose(following[goes_on], values[1:][goes_on], atol=1e-6)
    assert rollout.truncated.any()
    assert torch.allclose(following[rollout.truncated], finals, atol=1e-6)


def test_a_run_in_another_process_learns_too(tmp_path, monkeypatch):
    monkeypatch.setenv("PYTHONPATH", str(HERE))
    worker = WorkerConfig(python=Path(sys.executable), make="plain_task:make", task="walk")
    report = Report()
    artifact = pretrain(replace(TINY, backend="isaacgym", isaacgym=worker), 0, tmp_path, report)
    assert report.steps == [128, 256]
    assert artifact.metadata.stage == "pretrained"


def test_the_export_computes_what_the_policy_does(tmp_path):
    torch.manual_seed(0)
    policy = GaussianPolicy(290, 12, (32, 16), initial_std=1.0)
    artifact = export(policy, tmp_path / "policy.onnx", std=0.45)
    histories = np.random.default_rng(0).standard_normal((20, 290)).astype(np.float32)
    mean, std = load_artifact(artifact.path).act(histories)
    with torch.no_grad():
        expected = policy(torch.from_numpy(histories)).numpy()
    assert np.abs(mean - expected).max() <= 1e-5
    assert std == pytest.approx(np.full(12, 0.45))


def test_exploration_falls_in_a_straight_line(make):
    trainer = make(replace(TINY, steps=512, initial_std=0.8, final_std=0.4, ppo=replace(TINY.ppo, policy_lr=0.0)))
    assert [trainer.iterate()["std"] for _ in range(4)] == pytest.approx([0.8, 0.7, 0.6, 0.5])


def test_the_verb(tmp_path, capsys):
    arguments = ["pretrain", "--preset", "smoke", "--steps", "64", "--rollout", "4", "--environment.num-robots", "16", "--json"]
    assert (
        main([*arguments, "--measure.trials", "2", "--measure.steps", "20", "--measure.video-steps", "0", "--out", str(tmp_path / "run")])
        == 0
    )
    result = json.loads(capsys.readouterr().out)
    assert load_artifact(tmp_path / "run" / "policy.onnx").sha256 == result["policy_sha256"]
    assert (tmp_path / "run" / "metrics.csv").read_text().count("\npretrain,") == 1
    assert set(result["walk"]) == {"0.5", "1", "1.5", "0 0.3", "0 0 1"}
    page = (tmp_path / "run" / "report" / "index.html").read_text()
    assert "sideways 0.3 m/s" in page
    assert {"curves.png", "gait.png"} <= {path.name for path in (tmp_path / "run" / "report").iterdir()}


def test_the_verb_checks_the_task_without_training(tmp_path, capsys):
    arguments = ["pretrain", "--check", "--environment.num-robots", "16", "--json", "--out", str(tmp_path / "run")]
    assert main(arguments) == 0
    result = json.loads(capsys.readouterr().out)
    assert set(result) == {"zero", "random"}
    assert result["random"]["action_rate"]["mean"] > result["zero"]["action_rate"]["mean"] == 0
    assert not (tmp_path / "run" / "policy.onnx").exists()


def test_the_isaacgym_backend_says_what_it_lacks(tmp_path, capsys):
    assert main(["pretrain", "--preset", "smoke", "--backend", "isaacgym", "--out", str(tmp_path / "run")]) == 2
    assert "--isaacgym.python" in capsys.readouterr().err


def test_the_named_experiments_are_whole_configs(root):
    paths = sorted((root / "configs").glob("pretrain_*.yaml"))
    assert paths
    for path in paths:
        assert load_config(MeasuredConfig(), path) != MeasuredConfig()
