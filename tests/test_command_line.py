"""`quadloop` as a person runs it: a process, its two streams and its exit status."""

import importlib
import json
import re
import signal
import subprocess
import sys
from pathlib import Path

import pytest

import quadloop

VERB = """
import sys
from dataclasses import dataclass
from common.command_line import parse
from common.errors import QuadloopError
from common.result import emit

@dataclass(frozen=True)
class Arguments:
    do: str
    json: bool = False

def run(arguments):
    wanted = parse("made", Arguments, arguments)
    print("chatter")
    if wanted.do == "fail":
        raise QuadloopError("the floor is\\nmissing; build one")
    if wanted.do == "write":
        open("/dev/null/report", "w")
    if wanted.do == "lack":
        import rclpy_of_no_one
    if wanted.do == "extra":
        raise ModuleNotFoundError("No module named 'mujoco.rollout'", name="mujoco.rollout")
    if wanted.do == "gorge":
        bytes(2**62)
    if wanted.do == "gorge on tensors":
        raise RuntimeError("[enforce fail] DefaultCPUAllocator: can't allocate memory: you tried to allocate 9 bytes.")
    if wanted.do == "talk":
        sys.stdout.write("word " * 100_000)
    if wanted.do == "wait":
        print("ready", file=sys.stderr, flush=True)
        import time
        time.sleep(30)
    emit({"done": wanted.do}, wanted.json)
    return 0
"""
START = "import sys, quadloop; quadloop.VERBS['made'] = quadloop.Verb('made for a test', 'made_verb:run'); sys.exit(quadloop.main())"


def command(*arguments: str) -> list[str]:
    return [sys.executable, "-m", "quadloop", *arguments]


def run(*arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(command(*arguments), capture_output=True, text=True, check=False, timeout=60, cwd=Path(quadloop.__file__).parent)


@pytest.fixture
def made(tmp_path: Path) -> list[str]:
    """The start of a command that has one verb more, `made`."""
    (tmp_path / "made_verb.py").write_text(VERB)
    paths = f"import sys; sys.path[:0] = [{str(tmp_path)!r}, {str(Path(quadloop.__file__).parent)!r}]; "
    return [sys.executable, "-c", paths + START, "made"]


def run_made(made: list[str], *arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run([*made, *arguments], capture_output=True, text=True, check=False, timeout=60)


def test_help_lists_the_verbs() -> None:
    shown = run("--help")
    assert (shown.returncode, shown.stderr) == (0, "")
    for name in quadloop.VERBS:
        assert f"\n  {name} " in shown.stdout


def test_the_version_says_which_code_this_is() -> None:
    answer = run("--version")
    assert (answer.returncode, answer.stderr) == (0, "")
    assert re.fullmatch(r"quadloop (\d+\.\d+\.\d+|unknown), revision ([0-9a-f]{40}(-dirty)?|unknown)\n", answer.stdout)


def test_no_verb_is_a_mistake() -> None:
    assert run().returncode == 2


def test_unknown_verb() -> None:
    answer = run("doktor")
    assert (answer.returncode, answer.stdout) == (2, "")
    assert answer.stderr == "quadloop: error: there is no verb 'doktor'; did you mean 'doctor'?; quadloop --help lists them\n"


def test_unknown_flag() -> None:
    answer = run("doctor", "--jsn")
    assert (answer.returncode, answer.stdout) == (2, "")
    assert answer.stderr == "quadloop: error: Unrecognized options: --jsn; did you mean --json?; see quadloop doctor --help\n"


def test_help_of_a_verb() -> None:
    shown = run("doctor", "--help")
    assert shown.returncode == 0
    assert "usage: quadloop doctor" in shown.stdout


def test_every_verb_can_be_imported() -> None:
    for verb in quadloop.VERBS.values():
        module, function = verb.target.split(":")
        assert callable(getattr(importlib.import_module(module), function))


def test_the_table_imports_nothing_heavy() -> None:
    code = "import sys, quadloop; print([name for name in ('torch', 'mujoco', 'numpy', 'tyro', 'rich') if name in sys.modules])"
    shown = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, cwd=Path(quadloop.__file__).parent)
    assert shown.stdout == "[]\n"


def test_doctor_for_machines() -> None:
    answer = run("doctor", "--json")
    assert (answer.returncode, answer.stderr) == (0, "")
    report = json.loads(answer.stdout)
    assert report["stages"]["robot"]["ready"] is True
    assert report["stages"]["robot"]["installed"]["h5py"].count(".") == 2
    for stage in report["stages"].values():
        assert stage["ready"] is (stage["missing"] == {})


def test_doctor_for_people() -> None:
    answer = run("doctor")
    assert answer.returncode == 0
    assert "robot     ready: numpy (" in answer.stdout


def test_result_for_people(made: list[str]) -> None:
    answer = run_made(made, "--do", "work")
    assert (answer.returncode, answer.stdout.split()) == (0, ["chatter", "done", "work"])


def test_result_for_machines(made: list[str]) -> None:
    answer = run_made(made, "--do", "work", "--json")
    assert (answer.returncode, answer.stdout, answer.stderr) == (0, '{"done": "work"}\n', "chatter\n")


def test_too_little_memory_is_one_line(made: list[str]) -> None:
    answer = run_made(made, "--do", "gorge")
    assert answer.returncode == 1
    assert answer.stderr == "quadloop: error: there is not enough memory for what was asked for (it was refused)\n"


def test_too_little_memory_for_a_tensor_is_one_line(made: list[str]) -> None:
    answer = run_made(made, "--do", "gorge on tensors")
    assert answer.returncode == 1
    assert answer.stderr == "quadloop: error: there is not enough memory for what was asked for (you tried to allocate 9 bytes.)\n"


def test_who_stops_reading_hears_no_complaint(made: list[str]) -> None:
    with subprocess.Popen([*made, "--do", "talk"], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None and process.stderr is not None
        assert process.stdout.read(4) == "chat"
        process.stdout.close()
        assert process.stderr.read() == ""
    assert process.returncode == 1


def test_an_expected_failure_is_one_line(made: list[str]) -> None:
    answer = run_made(made, "--do", "fail", "--json")
    assert (answer.returncode, answer.stdout) == (1, "")
    assert answer.stderr == "chatter\nquadloop: error: the floor is missing; build one\n"


def test_a_file_that_cannot_be_written_is_one_line(made: list[str]) -> None:
    answer = run_made(made, "--do", "write", "--json")
    assert (answer.returncode, answer.stdout) == (1, "")
    assert answer.stderr == "chatter\nquadloop: error: /dev/null/report: Not a directory\n"


@pytest.mark.parametrize(
    "arguments",
    [
        ("loop", "--out", "no-such-run"),
        ("pretrain", "--out", "no-such-run"),
        ("finetune", "--policy", "x", "--logs", "x", "--out", "no-such-run"),
        ("online", "--policy", "x", "--value", "x", "--out", "no-such-run"),
        ("evaluate", "--policy", "x"),
    ],
    ids=lambda arguments: arguments[0],
)
def test_a_negative_seed_is_refused(arguments: tuple[str, ...], capsys: pytest.CaptureFixture[str]) -> None:
    assert quadloop.main([*arguments, "--seed", "-1"]) == 2
    assert capsys.readouterr().err == "quadloop: error: --seed must be from 0 to 9223372036854775807, not -1\n"
    assert not Path("no-such-run").exists()


def test_a_missing_extra_is_named(made: list[str]) -> None:
    answer = run_made(made, "--do", "extra", "--json")
    assert answer.returncode == 1
    assert answer.stderr.splitlines()[-1] == "quadloop: error: 'mujoco' is not installed; run: pip install 'quadloop[sim]'"


def test_a_mistake_of_ours_keeps_its_traceback(made: list[str]) -> None:
    answer = run_made(made, "--do", "lack")
    assert answer.returncode == 1
    assert "Traceback" in answer.stderr
    assert "rclpy_of_no_one" in answer.stderr


def test_interrupted(made: list[str]) -> None:
    with subprocess.Popen([*made, "--do", "wait", "--json"], stderr=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        assert process.stderr is not None
        while process.stderr.readline() != "ready\n":
            pass
        process.send_signal(signal.SIGINT)
        _, errors = process.communicate(timeout=30)
    assert process.returncode == 130
    assert errors == "quadloop: error: interrupted\n"
