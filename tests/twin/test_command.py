"""`quadloop evaluate`, as a person or a script calls it."""

import json

import numpy as np
import pytest

from learners.onnx_graph import policy_graph
from quadloop import main
from robot.command import trot_command
from robot.observation import GO1_LAYOUT
from robot.policy.artifact import write_artifact
from twin.command import Gait


def evaluate(policy, *arguments):
    return main(["evaluate", "--policy", str(policy), "--trials", "2", "--steps", "10", *arguments])


def test_json_is_one_object_and_nothing_else(write_policy, capsys):
    policy = write_policy()
    assert evaluate(policy.path, "--robot", "twin", "--terrain", "mattress", "--command", "0.5", "0.1", "0.2", "--seed", "3", "--json") == 0
    result = json.loads(capsys.readouterr().out)
    assert result["trials"] == 2
    assert result["steps"] == 10
    assert result["policy_sha256"] == policy.sha256
    assert result["seed"] == 3
    assert result["terrain"] == "mattress"
    assert result["command"] == [0.5, 0.1, 0.2]
    for figure in ("return", "forward_speed", "forward_speed_error", "distance"):
        low, high = result[figure]["ci95"]
        assert low <= result[figure]["mean"] <= high
    assert isinstance(result["falls"], int)


def test_a_table_for_people(write_policy, capsys):
    assert evaluate(write_policy().path) == 0
    assert "forward_speed.mean" in capsys.readouterr().out


@pytest.fixture
def frequency_policy(tmp_path):
    """Answers with a hundredth of the gait's frequency for each joint."""
    weight = np.zeros((12, GO1_LAYOUT.size))
    weight[:, -GO1_LAYOUT.frame_size :][:, GO1_LAYOUT.slice_of("command/gait_frequency")] = 0.01
    graph = policy_graph([(weight, np.zeros(12))], np.zeros(12))
    return write_artifact(tmp_path / "frequency.onnx", graph, "pretrained", None).path


def test_the_gait_reaches_the_policy(frequency_policy, capsys):
    def seen(*arguments):
        assert evaluate(frequency_policy, *arguments, "--json") == 0
        result = json.loads(capsys.readouterr().out)
        # From nothing to a hundredth of the frequency at the first of ten steps, in twelve joints, and never again.
        assert result["action_rate"]["mean"] == pytest.approx(12 * (result["gait"]["gait_frequency"] / 100) ** 2 / 10)
        return result["gait"]

    usual = seen()
    assert (usual["gait_frequency"], usual["gait_duration"], usual["foot_swing_height"], usual["pitch"]) == (3.0, 0.5, 0.08, 0.0)
    assert seen("--gait.gait-frequency", "2.5", "--gait.pitch", "0.1") == usual | {"gait_frequency": 2.5, "pitch": 0.1}
    command = Gait(gait_frequency=2.5, body_height=-0.05).of(trot_command(0.5))
    assert command[[0, 3, 4, 8]].tolist() == [0.5, -0.05, 2.5, 0.5]


def test_a_terrain_of_ones_own(write_policy, tmp_path, capsys):
    world = tmp_path / "lawn.yaml"
    world.write_text("solref: [0.05, 1.0]\n")
    assert evaluate(write_policy().path, "--terrain", str(world), "--json") == 0
    assert json.loads(capsys.readouterr().out)["terrain"] == "lawn"


@pytest.mark.parametrize(
    ("arguments", "status", "complaint"),
    [
        (["--terrain", "swamp"], 1, "unknown terrain 'swamp'"),
        (["--command", "9"], 2, "--command is (9.0,); it must be from -5 to 5 m/s"),
        (["--command", "0.1", "0.1", "0.1", "0.1"], 2, "--command is given 4 numbers; it takes up to three"),
        (["--command", "1", "nan"], 2, "--command is"),
        (["--command", "fast"], 2, "fast"),
        (["--trials", "0"], 2, "--trials is 0; it must be at least 1"),
        (["--robot", "spot"], 2, "spot"),
        (["--speed", "1"], 2, "speed"),
        (["--gait.gait-frequency", "0"], 2, "--gait.gait-frequency is 0"),
        (["--gait.gait-duration", "1"], 2, "--gait.gait-duration is 1"),
    ],
)
def test_what_cannot_be_done_is_said_on_one_line(write_policy, capsys, arguments, status, complaint):
    assert evaluate(write_policy().path, *arguments) == status
    output = capsys.readouterr()
    assert output.out == ""
    assert output.err.count("\n") == 1
    assert output.err.startswith("quadloop: error: ")
    assert complaint in output.err


@pytest.mark.parametrize("content", [None, b"", b"not a policy"])
def test_a_bad_policy_is_named(tmp_path, capsys, content):
    path = tmp_path / "bad.onnx"
    if content is not None:
        path.write_bytes(content)
    assert evaluate(path, "--json") == 1
    output = capsys.readouterr()
    assert output.out == ""
    assert output.err.count("\n") == 1
    assert "bad.onnx" in output.err
