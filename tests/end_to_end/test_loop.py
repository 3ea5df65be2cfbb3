"""The whole loop as a person starts it: killed in its middle, resumed, finished, and looked at."""

import json
import os
import signal
import subprocess
import sys
import time

import pytest

from common.files import sha256_of_file
from quadloop import main
from robot.log.episode_log import list_episodes
from robot.policy.artifact import load_artifact

STAGES = ("pretrain", "collect", "offline", "online", "measure")
FIGURES = {"trials", "steps", "return", "forward_speed", "forward_speed_error", "distance", "falls", "policy_sha256"}
FLOOR = "friction: 0.8\n"
PATIENCE_S = 300
pytestmark = pytest.mark.timeout(600)  # on two busy cores; a minute on idle ones


def floor(out):
    """The file that describes the floor of the loop in `out`."""
    return out.parent / "floor.yaml"


def loop(out, *more):
    """The arguments of `quadloop`."""
    return ["loop", "--preset", "smoke", "--terrain", str(floor(out)), "--out", str(out), "--json", *more]


def command(out, *more):
    return [sys.executable, "-m", "quadloop", *loop(out, *more)]


def kill_after(root, out, sign):
    """Start a loop, kill -9 it as soon as the file `sign` is there, and return its exit status."""
    silent = {"stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL}
    process = subprocess.Popen(command(out), cwd=root, start_new_session=True, **silent)
    deadline = time.monotonic() + PATIENCE_S
    try:
        while process.poll() is None and not (out / sign).exists() and time.monotonic() < deadline:
            time.sleep(0.05)
    finally:
        if process.poll() is None:
            os.killpg(process.pid, signal.SIGKILL)
    return process.wait()


def content(out):
    """Every file below `out` with what is in it."""
    return {str(path.relative_to(out)): sha256_of_file(path) for path in sorted(out.rglob("*")) if path.is_file()}


@pytest.fixture(scope="module")
def killed(root, tmp_path_factory):
    """A loop that died after its collection, and what it had left behind."""
    out = tmp_path_factory.mktemp("loop") / "run"
    floor(out).write_text(FLOOR)
    assert kill_after(root, out, "stages/collect.json") == -signal.SIGKILL
    assert not (out / "result.json").exists()
    return out, content(out)


@pytest.fixture(scope="module")
def finished(root, killed):
    """The same loop after `--resume`."""
    out, _ = killed
    done = subprocess.run(command(out, "--resume"), cwd=root, capture_output=True, text=True, timeout=PATIENCE_S)
    assert done.returncode == 0, done.stderr
    return out, done


def test_a_killed_loop_goes_on_where_it_was(killed, finished):
    _, before = killed
    after = content(finished[0])
    kept = [name for name in before if name.startswith(("pretrained/", "logs/", "stages/")) or name == "config.yaml"]
    assert "pretrained/policy.onnx" in kept
    assert "stages/collect.json" in kept
    assert {name: after.get(name) for name in kept} == {name: before[name] for name in kept}


def test_the_result_is_what_machines_are_promised(finished):
    out, done = finished
    result = json.loads(done.stdout)
    assert set(result["stages"]) == {"pretrained", "offline", "online"}
    for stage, commands in result["stages"].items():
        assert len(commands) == 2
        for figures in commands.values():
            assert set(figures) >= FIGURES
            assert figures["policy_sha256"] == load_artifact(out / stage / "policy.onnx").sha256
    assert set(result["seconds"]) == set(STAGES)
    assert all(seconds > 0 for seconds in result["seconds"].values())
    assert json.loads((out / "result.json").read_text()) == result


def test_each_policy_names_the_one_that_it_was_made_from(finished):
    pretrained, offline, online = (load_artifact(finished[0] / stage / "policy.onnx") for stage in ("pretrained", "offline", "online"))
    assert [policy.metadata.stage for policy in (pretrained, offline, online)] == ["pretrained", "offline", "online"]
    assert pretrained.metadata.parent_sha256 is None
    assert offline.metadata.parent_sha256 == pretrained.sha256
    assert online.metadata.parent_sha256 == offline.sha256


def test_every_arrow_is_a_file(finished):
    out, _ = finished
    assert len(list_episodes(out / "logs")) > 0
    assert list(out.rglob("*.part")) == []
    assert {"estimates", "gate", "data"} <= set(json.loads((out / "offline" / "evidence.json").read_text()))
    for name in ("config.yaml", "revision", "metrics.csv", "offline/value.pt", "online/checkpoint.pt"):
        assert (out / name).is_file()


def test_metrics_have_one_row_a_step_in_spite_of_the_kill(finished):
    rows = [tuple(line.split(",")[:2]) for line in (finished[0] / "metrics.csv").read_text().splitlines()]
    assert {"pretrain", "critics", "dynamics", "improvement", "online"} <= {stage for stage, _ in rows}
    assert len(rows) == len(set(rows))


def test_the_report_shows_every_stage(finished):
    out, done = finished
    page = (out / "report" / "index.html").read_text()
    assert json.loads(done.stdout)["report"] == str(out / "report" / "index.html")
    for stage in ("pretrained", "offline", "online"):
        assert f"<td>{stage}</td>" in page
        assert (out / "report" / f"{stage}.mp4").is_file() or f"no video {stage}.mp4" in page
    assert (out / "report" / "curves.png").is_file() or "no pictures" in page


def test_a_second_run_does_not_touch_the_first(finished, capsys):
    out, _ = finished
    before = content(out)
    assert main(loop(out)) == 1
    said = capsys.readouterr()
    assert said.out == ""
    assert said.err.count("\n") == 1
    assert "--resume" in said.err
    assert content(out) == before


def test_a_finished_loop_gives_its_result_again(finished, capsys):
    out, done = finished
    before = content(out)
    assert main(loop(out, "--resume")) == 0
    assert json.loads(capsys.readouterr().out) == json.loads(done.stdout)
    assert content(out) == before


def test_another_config_is_not_mixed_in(finished, capsys):
    out, _ = finished
    assert main(loop(out, "--resume", "--terrain", "flat")) == 1
    assert "terrain" in capsys.readouterr().err


def test_an_edited_floor_is_not_mixed_in(finished, capsys):
    out, _ = finished
    floor(out).write_text("friction: 0.7\n")
    status = main(loop(out, "--resume"))
    floor(out).write_text(FLOOR)
    assert status == 1
    assert "friction=0.7" in capsys.readouterr().err
