"""Sweeps over toy jobs, on this computer and on a Ray cluster: nothing is lost, whatever ends in between."""

import contextlib
import importlib.util
import io
import json
import re
import signal
import socket
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass
from pathlib import Path
from types import SimpleNamespace

import pytest

from common.errors import MissingExtraError
from d4rl_bench.engines import EngineError, LocalEngine, RayEngine
from d4rl_bench.job_process import JobFileError, do_job
from d4rl_bench.job_process import main as job_process
from d4rl_bench.sweep import SweepError, run_all

WAIT_S = 20

# Draws a number by `steps` steps from `number`, keeping where it is. The first try stops half-way for what `trouble` says.
TOY = """
import json, os, signal, sys, time
from pathlib import Path
from d4rl_bench.engines import die_with_parent

die_with_parent()
folder = Path(sys.argv[1])
order = json.loads((folder / "job.json").read_text())
job = order["job"]
with (folder / "tries").open("a") as tries:
    tries.write(f"{os.getpid()}\\n")
first = len((folder / "tries").read_text().split()) == 1
state = folder / "state.json"
step, value = json.loads(state.read_text()) if state.exists() else (0, job["number"])
while step < job["steps"]:
    step, value = step + 1, (1103515245 * value + 12345) % 2**31
    (folder / "new.json").write_text(json.dumps([step, value]))
    os.replace(folder / "new.json", state)
    (folder / "steps").open("a").write(f"{step}\\n")
    half = job["steps"] // 2
    trouble = job["trouble"] if step == half or job["trouble"] == "killed always" and step > half else ""
    if trouble == "fail silently":
        sys.exit(1)
    if trouble == "raise":
        sys.exit("error: the data are bad")
    if trouble == "killed always" or trouble == "killed" and first:
        os.kill(os.getpid(), signal.SIGKILL)
    if trouble == "its starter killed" and first:
        os.kill(os.getppid(), signal.SIGKILL)
        time.sleep(60)
    if trouble == "slow":
        (folder / "progress.json").write_text(json.dumps({"part": "half", "done": step, "total": job["steps"]}))
        time.sleep(60 if (folder / "../wait").exists() else 0.3)
    if job["trouble"] == "steady":
        said = {"part": "all", "done": step, "total": job["steps"], "seconds": 500.0 + 10 * step}
        (folder / "new.json").write_text(json.dumps(said))
        os.replace(folder / "new.json", folder / "progress.json")
        time.sleep(0.15)
if job["trouble"] != "says nothing":
    (folder / "new.json").write_text(json.dumps({"key": order["key"], "value": value, "threads": os.environ["OMP_NUM_THREADS"]}))
    os.replace(folder / "new.json", folder / "result.json")
"""


@dataclass(frozen=True)
class Toy:
    number: int
    trouble: str = ""
    steps: int = 10

    def key(self):
        return f"{self.number:04x}"

    def name(self):
        return f"toy-{self.key()}"

    def to_json(self):
        return asdict(self)


def value_of(job):
    value = job.number
    for _ in range(job.steps):
        value = (1103515245 * value + 12345) % 2**31
    return value


@pytest.fixture
def worker(tmp_path):
    (tmp_path / "toy.py").write_text(TOY)
    return (sys.executable, str(tmp_path / "toy.py"))


@pytest.fixture
def sweep(tmp_path, worker):
    """Runs toy jobs in tmp_path/out and returns their values."""

    def run(jobs, engine=None, **options):
        results = run_all(jobs, tmp_path / "out", engine or LocalEngine(2), worker=worker, **options)
        return [result["value"] for result in results]

    return run


def tries_of(tmp_path, job):
    return [int(pid) for pid in (tmp_path / "out" / job.name() / "tries").read_text().split()]


def steps_of(tmp_path, job):
    return [int(step) for step in (tmp_path / "out" / job.name() / "steps").read_text().split()]


@pytest.mark.parametrize("begun_as", ["/env/bin/quadloop", "/home/quadloop.py"])
def test_results_come_in_the_order_of_the_jobs(sweep, tmp_path, monkeypatch, begun_as):
    monkeypatch.setattr("sys.argv", [begun_as, "d4rl", "offline", "--data", "my data"])
    jobs = [Toy(3, "slow"), Toy(1), Toy(2)]
    assert sweep(jobs) == [value_of(job) for job in jobs]
    order = json.loads((tmp_path / "out" / "toy-0001" / "job.json").read_text())
    assert order["job"] == {"number": 1, "trouble": "", "steps": 10}
    assert order["key"] == "0001"
    assert order["command"] == "quadloop d4rl offline --data 'my data'"


def test_workers_have_one_thread_each(worker, tmp_path):
    assert [result["threads"] for result in run_all([Toy(1)], tmp_path, LocalEngine(1), worker=worker)] == ["1"]


def test_what_is_done_is_not_done_again(sweep, tmp_path):
    sweep([Toy(1), Toy(2)])
    assert sweep([Toy(1), Toy(2), Toy(3)]) == [value_of(Toy(number)) for number in (1, 2, 3)]
    assert [len(tries_of(tmp_path, Toy(number))) for number in (1, 2, 3)] == [1, 1, 1]


@pytest.mark.parametrize("damage", ["", "{", "[]", '{"key": "another"}', "[" * 100_000])
def test_a_damaged_result_is_made_again(sweep, tmp_path, damage):
    sweep([Toy(1)])
    (tmp_path / "out" / "toy-0001" / "result.json").write_text(damage)
    assert sweep([Toy(1)]) == [value_of(Toy(1))]


def test_the_same_job_twice_is_refused(sweep, tmp_path):
    with pytest.raises(SweepError, match="the same job is asked for 2 times"):
        sweep([Toy(1), Toy(2), Toy(1)])
    assert not (tmp_path / "out").exists()


def test_a_failed_job_is_named_after_all_others_are_done(sweep, tmp_path, capsys):
    with pytest.raises(SweepError, match=r"2 of 4 jobs failed, the first: toy-0001: error: the data are bad"):
        sweep([Toy(1, "raise"), Toy(2), Toy(3, "says nothing"), Toy(4)])
    lines = capsys.readouterr().err.splitlines()
    log = tmp_path / "out" / "toy-0001" / "log.txt"
    assert lines[-2:] == [
        f"toy-0001: error: the data are bad (see {log})",
        "toy-0003: it ended without a whole result.json",
    ]
    assert len(tries_of(tmp_path, Toy(1))) == 1
    assert [(tmp_path / "out" / f"toy-000{number}" / "result.json").exists() for number in (1, 2, 3, 4)] == [False, True, False, True]


def test_a_job_that_fails_without_a_word_leads_to_the_disk(sweep):
    with pytest.raises(SweepError, match=r"toy-0001: it failed and its log is empty: is the disk full\? \(see \S+log.txt\)"):
        sweep([Toy(1, "fail silently")])


def test_a_killed_job_goes_on_where_it_was(sweep, tmp_path):
    job = Toy(1, "killed")
    assert sweep([job, Toy(2)]) == [value_of(job), value_of(Toy(2))]
    assert len(tries_of(tmp_path, job)) == 2
    assert steps_of(tmp_path, job) == list(range(1, 11))


def test_a_job_that_is_killed_each_time_is_given_up(sweep, tmp_path):
    with pytest.raises(SweepError, match="toy-0001: it was killed 3 times"):
        sweep([Toy(1, "killed always"), Toy(2)])
    assert steps_of(tmp_path, Toy(1)) == [1, 2, 3, 4, 5, 6, 7]
    assert steps_of(tmp_path, Toy(2)) == list(range(1, 11))


def test_a_bar_of_cells_and_what_the_running_ones_say(sweep, capsys, monkeypatch):
    monkeypatch.setattr("d4rl_bench.sweep.LINES_PERIOD_S", 0.05)
    sweep([Toy(1, "slow"), Toy(2)])
    said = capsys.readouterr()
    assert said.out == ""
    lines = said.err.splitlines()
    assert any(line.startswith("cells: 1/2, 0:00:0") and line.endswith(" left") for line in lines)
    assert "  toy-0001: half 5/10" in lines
    assert lines[-1].startswith("cells: 2/2")


def test_a_running_cell_says_how_fast_it_is_and_how_long_its_part_still_takes(sweep, capsys, monkeypatch):
    monkeypatch.setattr("d4rl_bench.sweep.LINES_PERIOD_S", 0.05)
    sweep([Toy(1, "steady")])  # a step in 10 s, as it says
    rests = {
        "2": "0:01:20", "3": "0:01:10", "4": "0:01:00", "5": "0:00:50", "6": "0:00:40", "7": "0:00:30", "8": "0:00:20", "9": "0:00:10",
    }  # fmt: skip
    said = re.findall(r"^  toy-0001: all (\d+)/10, (.*)/s, (.*) left$", capsys.readouterr().err, re.MULTILINE)
    assert said and all((speed, rest) == ("0.1", rests[step]) for step, speed, rest in said)


class Terminal(io.StringIO):
    def isatty(self):
        return True


def test_on_a_terminal_too(sweep, monkeypatch):
    stream = Terminal()
    monkeypatch.setattr("sys.stderr", stream)
    sweep([Toy(1)])
    assert re.search("cells .*1/1, 0:00:0", stream.getvalue())


def test_two_sweeps_in_one_folder_share_the_work(sweep, tmp_path):
    jobs = [Toy(number, "slow") for number in range(4)]
    with ThreadPoolExecutor() as pool:
        both = [pool.submit(sweep, jobs), pool.submit(sweep, jobs[::-1])]
    assert both[0].result() == both[1].result()[::-1] == [value_of(job) for job in jobs]
    assert [steps_of(tmp_path, job) for job in jobs] == [list(range(1, 11))] * 4


OTHER_PROCESS = """
import sys
from pathlib import Path
sys.path.insert(0, sys.argv[1])
from test_sweep import *
signal.signal(signal.SIGINT, signal.default_int_handler)  # which a shell's background job would ignore
run_all([Toy(1, "slow"), Toy(2, "slow"), Toy(3, "slow")], Path(sys.argv[2]), LocalEngine(2), worker=(sys.executable, sys.argv[3]))
"""


@pytest.mark.parametrize("end", [signal.SIGINT, signal.SIGTERM, signal.SIGKILL])
def test_a_sweep_that_is_ended_leaves_no_worker_and_can_be_gone_on_with(sweep, worker, tmp_path, end):
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "wait").touch()
    arguments = [str(Path(__file__).parent), str(tmp_path / "out"), worker[1]]
    with subprocess.Popen([sys.executable, "-c", OTHER_PROCESS, *arguments], stderr=subprocess.PIPE) as process:
        running = [Toy(1, "slow"), Toy(2, "slow")]
        until(lambda: all((tmp_path / "out" / job.name() / "progress.json").exists() for job in running))
        process.send_signal(end)
        process.wait(WAIT_S)
    until(lambda: not any(alive(pid) for job in running for pid in tries_of(tmp_path, job)))
    (tmp_path / "out" / "wait").unlink()
    jobs = [*running, Toy(3, "slow")]
    assert sweep(jobs) == [value_of(job) for job in jobs]
    assert [steps_of(tmp_path, job) for job in jobs] == [list(range(1, 11))] * 3


def until(condition):
    ends_s = time.monotonic() + WAIT_S
    while not condition():
        assert time.monotonic() < ends_s
        time.sleep(0.02)


def alive(pid):
    with contextlib.suppress(FileNotFoundError):
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    return False


@pytest.mark.skipif(importlib.util.find_spec("ray") is None, reason="ray is not installed")
def test_a_ray_cluster_gives_the_same_and_survives_the_loss_of_workers(sweep, tmp_path):
    jobs = [Toy(1), Toy(2, "killed"), Toy(3, "its starter killed"), Toy(4)]
    with pytest.raises(SweepError, match=r"1 of 5 jobs failed, the first: toy-0005: error: the data are bad"):
        sweep([*jobs, Toy(5, "raise")], RayEngine(2))
    assert [len(tries_of(tmp_path, job)) for job in [*jobs, Toy(5)]] == [1, 2, 2, 1, 1]
    assert [steps_of(tmp_path, job) for job in jobs] == [list(range(1, 11))] * 4
    assert sweep(jobs) == [value_of(job) for job in jobs]  # what lies there, as a local sweep reads and makes it


@pytest.mark.skipif(importlib.util.find_spec("ray") is None, reason="ray is not installed")
def test_a_cluster_that_cannot_be_reached_is_named():
    with pytest.raises(EngineError, match="no Ray cluster at nonsense"), RayEngine(1, "nonsense"):
        pass


@pytest.fixture
def asked_of_ray(monkeypatch):
    """The addresses that a ray, which begins nothing, is asked to connect to."""
    asked = []
    ray = SimpleNamespace(
        init=lambda address, **_: asked.append(address), remote=lambda **_: lambda run: run, shutdown=lambda: None,
        exceptions=SimpleNamespace(RayError=OSError),
    )  # fmt: skip
    monkeypatch.setitem(sys.modules, "ray", ray)
    return asked


@pytest.mark.parametrize("address", ["127.0.0.1:{}", "ray://127.0.0.1:{}", "127.0.0.1:9{}"])
def test_a_port_where_nobody_listens_is_named_at_once(asked_of_ray, address):
    with socket.socket() as deaf:  # nobody listens, and nobody else can on this port
        deaf.bind(("127.0.0.1", 0))
        address = address.format(deaf.getsockname()[1])
        with pytest.raises(EngineError, match=f"no Ray cluster answers at {address} .*HOST:PORT"), RayEngine(1, address):
            pass
    assert asked_of_ray == []


def test_an_address_that_answers_or_that_only_ray_knows_is_left_to_ray(asked_of_ray):
    with socket.create_server(("127.0.0.1", 0)) as server:
        addresses = [None, "auto", "local", f"127.0.0.1:{server.getsockname()[1]}"]
        for address in addresses:
            with RayEngine(1, address):
                pass
    assert asked_of_ray == ["local", *addresses[1:]]


def test_without_ray_the_extra_is_named(monkeypatch):
    monkeypatch.setitem(sys.modules, "ray", None)
    with pytest.raises(MissingExtraError, match=r"quadloop\[sweep\]"):
        RayEngine(2)


def ordered(folder, **changes):
    job = {"task": "hopper-medium-v2", "method": "bc", "seed": 3, "data": "/somewhere", "start": ""}
    (folder / "job.json").write_text(json.dumps({"key": "k", "command": "quadloop d4rl", "job": job} | changes))


def test_the_process_of_a_job_says_what_its_result_was_made_with(tmp_path):
    ordered(tmp_path)

    def run(order, folder, progress):
        progress("cloning", 5, 10, {"loss": 0.5})
        return {"score": 12.5, "asked": order["job"]["data"], "here": str(folder)}

    do_job(tmp_path, run)
    result = json.loads((tmp_path / "result.json").read_text())
    assert result["versions"].keys() >= {"python", "numpy", "torch"}
    assert len(result["revision"]) >= 7
    assert 0 <= result["seconds"] < WAIT_S
    assert abs(result["finished"] - time.time()) < WAIT_S
    made = {name: value for name, value in result.items() if name not in ("versions", "revision", "seconds", "finished")}
    assert made == {
        "task": "hopper-medium-v2", "method": "bc", "seed": 3, "score": 12.5, "asked": "/somewhere", "here": str(tmp_path),
        "key": "k", "command": "quadloop d4rl",
    }  # fmt: skip
    assert json.loads((tmp_path / "progress.json").read_text())["done"] == 5


def test_a_job_says_at_once_what_it_is_at(tmp_path):
    ordered(tmp_path)

    def run(order, folder, progress):
        for step in range(1, 3):
            progress("cloning", step, 2, {})
        progress("critics, which another run learns", 0, 10, {})
        said = json.loads((folder / "progress.json").read_text())
        assert (said["part"], said["done"]) == ("critics, which another run learns", 0)
        return {}

    do_job(tmp_path, run)
    assert (tmp_path / "result.json").exists()


def test_the_seconds_of_interrupted_processes_count(tmp_path):
    ordered(tmp_path)
    (tmp_path / "progress.json").write_text('{"part": "cloning", "done": 5, "total": 10, "seconds": 1000.0}')
    do_job(tmp_path, lambda order, folder, progress: {})
    assert 1000 <= json.loads((tmp_path / "result.json").read_text())["seconds"] < 1000 + WAIT_S


def test_a_job_that_is_done_is_left_alone(tmp_path):
    ordered(tmp_path)
    for score in (1, 2):
        do_job(tmp_path, lambda order, folder, progress, score=score: {"score": score})
    assert json.loads((tmp_path / "result.json").read_text())["score"] == 1


@pytest.mark.parametrize("content", [None, "", "[]", '{"key": 1, "command": "", "job": {}}', '{"key": "k", "command": ""}'])
def test_a_folder_without_a_job_is_refused_on_one_line(tmp_path, content):
    if content is not None:
        (tmp_path / "job.json").write_text(content)
    with pytest.raises(JobFileError, match=r"job.json .*run the sweep again"):
        do_job(tmp_path, lambda order, folder, progress: {})


def test_the_job_process_fails_on_one_line(tmp_path, capsys):
    assert job_process([str(tmp_path)]) == 1
    said = capsys.readouterr().err
    assert said.startswith(f"error: {tmp_path / 'job.json'} cannot be read (")
    assert said.count("\n") == 1
    assert job_process([]) == 2
