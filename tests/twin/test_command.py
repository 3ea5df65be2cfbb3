"""`quadloop evaluate`, as a person or a script calls it."""

import json

import pytest

from quadloop import main


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


def test_a_terrain_of_ones_own(write_policy, tmp_path, capsys):
    terrain = tmp_path / "lawn.yaml"
    terrain.write_text("solref: [0.05, 1.0]\n")
    assert evaluate(write_policy().path, "--terrain", str(terrain), "--json") == 0
    assert json.loads(capsys.readouterr().out)["terrain"] == "lawn"


@pytest.mark.parametrize(
    ("arguments", "status", "complaint"),
    [
        (["--terrain", "swamp"], 1, "unknown terrain 'swamp'"),
        (["--command", "9"], 1, "beyond 5 m/s"),
        (["--command", "0.1", "0.1", "0.1", "0.1"], 1, "one to three numbers"),
        (["--command", "nan"], 2, "command"),
        (["--command", "fast"], 2, "fast"),
        (["--trials", "0"], 1, "at least one trial"),
        (["--robot", "spot"], 2, "spot"),
        (["--speed", "1"], 2, "speed"),
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
