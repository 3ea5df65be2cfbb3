"""The recorder: the logs are EpisodeWriter's own, and neither disk nor process can make the control side wait, raise or log a gap."""

from __future__ import annotations

import dataclasses
import gc
import json
import os
import resource
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from common.files import FileExistsAlreadyError
from common.shared_block import SharedBlock
from robot.log.episode_fields import EpisodeLogError, EpisodeStep
from robot.log.episode_log import EpisodeWriter, list_episodes, list_unfinished, read_episode
from robot.log.recorder import Recorder, Recording
from robot.log.row_ring import RowRing
from robot.run_episode import EpisodeSink
from tests.robot.log.test_episode_log import ATTRIBUTES, FINAL, assert_same, make_step

ROOT = Path(__file__).parents[3]
STEPS = [make_step(number) for number in range(700)]


@pytest.fixture(scope="module")
def shared() -> Iterator[Recorder]:
    """One process for the tests that leave it whole."""
    with Recorder() as recorder:
        yield recorder


@pytest.fixture
def own() -> Iterator[Recorder]:
    """A process for a test that does something to it."""
    recorder = Recorder(capacity_rows=64)
    yield recorder
    recorder.close(timeout_s=10)


def record(sink: EpisodeSink, steps: list[EpisodeStep], ended: str = "time_limit") -> None:
    for step in steps:
        sink.append(step)
    sink.close(ended, FINAL)


def numbers(path: Path) -> list[int]:
    """The numbers of the steps in a log."""
    return read_episode(path).safety_events.tolist()


def until(holds: Callable[[], bool], timeout_s: float = 10.0) -> None:
    deadline = time.monotonic() + timeout_s
    while not holds():
        assert time.monotonic() < deadline
        time.sleep(0.005)


def open_files(process: int | str) -> int:
    return len(list(Path(f"/proc/{process}/fd").iterdir()))


# --- what is recorded is what EpisodeWriter writes


def test_both_are_sinks(tmp_path: Path, shared: Recorder) -> None:
    sinks: list[EpisodeSink] = [EpisodeWriter(tmp_path / "direct.hdf5", ATTRIBUTES), shared.begin(tmp_path / "e.hdf5", ATTRIBUTES)]
    for sink in sinks:
        record(sink, STEPS[:3], "fall")
    assert shared.wait_finished(10)
    assert numbers(tmp_path / "e.hdf5") == [0, 1, 2]


@pytest.mark.parametrize("ended", ["fall", "safety", "time_limit", "operator", "unknown"])
@pytest.mark.parametrize("steps", [1, 2, 17, 400])
def test_the_log_is_the_one_that_episode_writer_writes(tmp_path: Path, shared: Recorder, ended: str, steps: int) -> None:
    record(shared.begin(tmp_path / "e.hdf5", ATTRIBUTES), STEPS[:steps], ended)
    record(EpisodeWriter(tmp_path / "direct.hdf5", ATTRIBUTES), STEPS[:steps], ended)
    assert shared.wait_finished(10)
    assert_same(read_episode(tmp_path / "e.hdf5"), read_episode(tmp_path / "direct.hdf5"))
    assert list_unfinished(tmp_path) == []
    assert shared.status.error == ""


def test_what_is_not_recorded_is_named(tmp_path: Path, shared: Recorder) -> None:
    attributes = dataclasses.replace(ATTRIBUTES, config_json=json.dumps({"ü€": 1}), velocity_source="t265")
    recording = shared.begin(tmp_path / "e.hdf5", attributes, missing=("rewards", "log_prob"))
    record(recording, [make_step(0, rewards=np.nan, log_prob=np.nan)], "operator")
    assert shared.wait_finished(10)
    episode = read_episode(tmp_path / "e.hdf5")
    assert episode.missing == ("rewards", "log_prob")
    assert episode.attributes == dataclasses.replace(attributes, ended="operator")


def test_rows_are_counted(tmp_path: Path, own: Recorder) -> None:
    for name in ("a", "b"):
        record(own.begin(tmp_path / f"{name}.hdf5", ATTRIBUTES), STEPS[:30])
    assert own.wait_finished(10)
    status = own.status
    assert (status.rows_offered, status.rows_written, status.rows_dropped, status.error, status.alive) == (60, 60, 0, "", True)


def test_leaving_without_close_keeps_the_part(tmp_path: Path, shared: Recorder) -> None:
    with pytest.raises(RuntimeError, match="stumbled"), shared.begin(tmp_path / "e.hdf5", ATTRIBUTES) as recording:
        for step in STEPS[:5]:
            recording.append(step)
        raise RuntimeError("stumbled")
    assert shared.wait_finished(10)
    assert numbers(tmp_path / "e.hdf5.part") == [0, 1, 2, 3]  # the last row has no successor
    with shared.begin(tmp_path / "empty.hdf5", ATTRIBUTES):
        pass
    assert shared.wait_finished(10)
    assert [path.name for path in tmp_path.iterdir()] == ["e.hdf5.part"]


def test_the_next_recording_ends_the_one_before(tmp_path: Path, shared: Recorder) -> None:
    first = shared.begin(tmp_path / "a.hdf5", ATTRIBUTES)
    first.append(STEPS[0])
    first.append(STEPS[1])
    second = shared.begin(tmp_path / "b.hdf5", ATTRIBUTES)
    first.append(STEPS[2])
    record(second, STEPS[:3])
    assert shared.wait_finished(10)
    assert numbers(tmp_path / "a.hdf5.part") == [0]
    assert numbers(tmp_path / "b.hdf5") == [0, 1, 2]


def test_begin_refuses_what_can_be_seen_at_once(tmp_path: Path, shared: Recorder) -> None:
    record(EpisodeWriter(tmp_path / "e.hdf5", ATTRIBUTES), STEPS[:2])
    (tmp_path / "f.hdf5.part").touch()
    for name in ("e.hdf5", "f.hdf5"):
        with pytest.raises(FileExistsAlreadyError):
            shared.begin(tmp_path / name, ATTRIBUTES)
    for name, attributes, missing, why in (
        ("g.h5", ATTRIBUTES, (), r"ends with \.hdf5"),
        ("g.hdf5", dataclasses.replace(ATTRIBUTES, robot="spot"), (), "robot is 'spot'"),
        ("g.hdf5", ATTRIBUTES, ("overrun",), "cannot be missing"),
        ("g.hdf5", dataclasses.replace(ATTRIBUTES, config_json="x" * 10**6), (), "the attributes take more than"),
    ):
        with pytest.raises(EpisodeLogError, match=why):
            shared.begin(tmp_path / name, attributes, missing=missing)
    record(shared.begin(tmp_path / "e.hdf5", ATTRIBUTES, force=True), STEPS[:5])
    assert shared.wait_finished(10)
    assert numbers(tmp_path / "e.hdf5") == [0, 1, 2, 3, 4]


@pytest.mark.parametrize(
    ("changes", "why"),
    [
        ({"observations": np.full((5, 58), np.nan)}, "observations of step 3 holds NaN or infinity"),
        ({"actions": np.full(12, 1e39)}, "actions of step 3 holds NaN or infinity"),
        ({"actions": np.zeros(11)}, "actions has shape (11,), not (12,)"),
        ({"safety_events": -1}, "safety_events: "),
    ],
)
def test_a_bad_row_ends_the_recording_of_its_episode_alone(tmp_path: Path, own: Recorder, changes: dict[str, Any], why: str) -> None:
    record(own.begin(tmp_path / "e.hdf5", ATTRIBUTES), [*STEPS[:3], make_step(3, **changes), *STEPS[4:9]])
    assert not own.wait_finished(10)
    status = own.status
    assert status.error.startswith(why)
    assert status.error.endswith("; recording stopped at step 3 of e.hdf5")
    assert (status.rows_written, status.rows_dropped, status.alive) == (3, 6, True)
    assert numbers(tmp_path / "e.hdf5.part") == [0, 1]
    record(own.begin(tmp_path / "f.hdf5", ATTRIBUTES), STEPS[:3])
    assert own.wait_finished(10)
    assert own.status.error == ""


@pytest.mark.parametrize(("ended", "final", "why"), [("bored", FINAL, "not 'bored'"), ("fall", FINAL * np.nan, "final_observation holds")])
def test_an_end_that_is_none_leaves_the_part(tmp_path: Path, shared: Recorder, ended: str, final: Any, why: str) -> None:
    recording = shared.begin(tmp_path / "e.hdf5", ATTRIBUTES)
    for step in STEPS[:4]:
        recording.append(step)
    recording.close(ended, final)
    assert not shared.wait_finished(10)
    assert why in shared.status.error
    assert "e.hdf5 was not finished, its first 4 steps are in e.hdf5.part" in shared.status.error
    assert numbers(tmp_path / "e.hdf5.part") == [0, 1, 2]


# --- nobody waits


def test_a_stopped_process_costs_rows_and_no_time(tmp_path: Path, own: Recorder) -> None:
    recording = own.begin(tmp_path / "e.hdf5", ATTRIBUTES)
    for step in STEPS[:10]:
        recording.append(step)
    until(lambda: own.status.rows_written == 10)
    os.kill(own.pid, signal.SIGSTOP)
    try:
        started = time.monotonic()
        for step in STEPS[10:]:
            recording.append(step)
        recording.close("time_limit", FINAL)
        assert time.monotonic() - started < 2  # 690 rows would take 14 s at 50 Hz
        status = own.status
        assert status.error == "64 rows wait for a recorder or a disk that is too slow; recording stopped at step 74 of e.hdf5"
        assert (status.rows_offered, status.rows_written, status.rows_dropped, status.alive) == (700, 10, 626, True)
        assert not own.wait_finished(0.05)
        record(own.begin(tmp_path / "still.hdf5", ATTRIBUTES), STEPS[:5])
        assert own.status.error.endswith("recording stopped at step 0 of still.hdf5")
    finally:
        os.kill(own.pid, signal.SIGCONT)
    assert not own.wait_finished(10)
    assert numbers(tmp_path / "e.hdf5.part") == list(range(73))
    assert [path.name for path in tmp_path.iterdir()] == ["e.hdf5.part"]
    record(own.begin(tmp_path / "after.hdf5", ATTRIBUTES), STEPS[:5])
    assert own.wait_finished(10)
    status = own.status
    assert status.error == ""
    assert status.rows_offered == status.rows_written + status.rows_dropped == 710


def test_close_does_not_wait_for_a_stopped_process_for_ever(tmp_path: Path) -> None:
    recorder = Recorder(capacity_rows=8)
    record(recorder.begin(tmp_path / "e.hdf5", ATTRIBUTES), STEPS[:4])
    assert recorder.wait_finished(10)
    os.kill(recorder.pid, signal.SIGSTOP)
    recorder.begin(tmp_path / "f.hdf5", ATTRIBUTES)
    started = time.monotonic()
    recorder.close(timeout_s=0.1)
    assert time.monotonic() - started < 5
    assert "was killed (SIGKILL); recording stopped at step 0 of f.hdf5" in recorder.status.error
    assert not recorder.status.alive


def test_messages_that_nobody_takes_do_not_block(tmp_path: Path, own: Recorder) -> None:
    attributes = dataclasses.replace(ATTRIBUTES, config_json="x" * 50_000)
    os.kill(own.pid, signal.SIGSTOP)
    started = time.monotonic()
    for number in range(20):
        with own.begin(tmp_path / f"{number}.hdf5", attributes) as recording:
            recording.append(STEPS[0])
    assert time.monotonic() - started < 5
    assert "takes no messages" in own.status.error
    os.kill(own.pid, signal.SIGCONT)
    own.wait_finished(10)
    record(own.begin(tmp_path / "after.hdf5", ATTRIBUTES), STEPS[:5])
    assert own.wait_finished(10)
    assert numbers(tmp_path / "after.hdf5") == list(range(5))


# --- disks that refuse


def test_a_full_disk_is_told_in_one_line(tmp_path: Path, own: Recorder) -> None:
    disk = tmp_path / "disk"
    disk.mkdir()
    mounted = subprocess.run(["mount", "-t", "tmpfs", "-o", "size=200k", "tmpfs", str(disk)], capture_output=True)
    if mounted.returncode:
        pytest.skip("mounting a small disk needs root")
    try:
        record_slowly(own, own.begin(disk / "e.hdf5", ATTRIBUTES), STEPS[:300])
        assert not own.wait_finished(10)
        status, kept = own.status, numbers(disk / "e.hdf5.part")
        assert status.error == f"the disk is full (No space left on device); recording stopped at step {len(kept) + 1} of e.hdf5"
        assert status.rows_offered == status.rows_written + status.rows_dropped == 300
        assert kept == list(range(len(kept)))
        assert len(kept) > 20
        record(own.begin(disk / "f.hdf5", ATTRIBUTES), STEPS[:5])  # still full
        assert not own.wait_finished(10)
        assert "recording stopped at step 0 of f.hdf5" in own.status.error
        assert [path.name for path in disk.iterdir()] == ["e.hdf5.part"]
        (disk / "e.hdf5.part").unlink()
        record(own.begin(disk / "g.hdf5", ATTRIBUTES), STEPS[:5])
        assert own.wait_finished(10), own.status
        assert own.status.error == ""
        assert numbers(disk / "g.hdf5") == list(range(5))
    finally:
        subprocess.run(["umount", "--lazy", str(disk)], check=True)


def record_slowly(recorder: Recorder, recording: Recording, steps: list[EpisodeStep]) -> None:
    """No faster than a ring of 64 rows is emptied, so that the disk is what fails."""
    for step in steps:
        recording.append(step)
        time.sleep(0.002)
    recording.close("time_limit", FINAL)


@pytest.mark.parametrize("steps", [30, 200])
def test_a_file_that_may_not_grow(tmp_path: Path, own: Recorder, steps: int) -> None:
    """30 rows fit into the `.part` and its log is too large; 200 do not fit."""
    limit = 100_000 if steps == 200 else 60_000
    recording = own.begin(tmp_path / "e.hdf5", ATTRIBUTES)
    for step in STEPS[:30]:
        recording.append(step)
    until(lambda: own.status.rows_written == 30)
    resource.prlimit(own.pid, resource.RLIMIT_FSIZE, (limit, resource.RLIM_INFINITY))
    record_slowly(own, recording, STEPS[30:steps])
    assert not own.wait_finished(10)
    assert own.status.error.startswith("the disk refuses (File too large")
    assert not own.status.alive
    if steps == 30:
        assert own.status.error.endswith("e.hdf5 was not finished, its first 30 steps are in e.hdf5.part")
    kept = numbers(tmp_path / "e.hdf5.part")
    assert kept == list(range(len(kept)))
    assert len(kept) >= 29
    assert [path.name for path in tmp_path.iterdir()] == ["e.hdf5.part"]


def test_a_directory_that_cannot_be_made(tmp_path: Path, own: Recorder) -> None:
    (tmp_path / "file").touch()
    record(own.begin(tmp_path / "file" / "e.hdf5", ATTRIBUTES), STEPS[:20])
    assert not own.wait_finished(10)
    assert own.status.error == f"the disk refuses (File exists: {tmp_path / 'file'}); recording stopped at step 0 of e.hdf5"
    assert own.status.rows_dropped == 20
    record(own.begin(tmp_path / "e.hdf5", ATTRIBUTES), STEPS[:5])
    assert own.wait_finished(10)


# --- deaths


def test_kill_9_of_the_process(tmp_path: Path, own: Recorder) -> None:
    recording = own.begin(tmp_path / "e.hdf5", ATTRIBUTES)
    for step in STEPS[:21]:
        recording.append(step)
    until(lambda: own.status.rows_written == 21)
    os.kill(own.pid, signal.SIGKILL)
    until(lambda: not own.status.alive)
    expected = "the recorder's process was killed (SIGKILL); recording stopped at step 21 of e.hdf5"
    assert own.status.error == expected  # although nothing was appended since
    record(recording, STEPS[21:300], "fall")
    assert not own.wait_finished(10)
    assert own.status.error == expected
    assert numbers(tmp_path / "e.hdf5.part") == list(range(20))
    record(own.begin(tmp_path / "f.hdf5", ATTRIBUTES), STEPS[:50])
    assert own.wait_finished(10)
    status = own.status
    assert numbers(tmp_path / "f.hdf5") == list(range(50))
    assert (status.error, status.alive) == ("", True)
    assert status.rows_offered == status.rows_written + status.rows_dropped == 350


def test_kill_9_of_a_process_that_had_not_finished(tmp_path: Path, own: Recorder) -> None:
    os.kill(own.pid, signal.SIGSTOP)
    record(own.begin(tmp_path / "e.hdf5", ATTRIBUTES), STEPS[:10])
    os.kill(own.pid, signal.SIGKILL)
    assert not own.wait_finished(10)
    assert own.status.error == "the recorder's process was killed (SIGKILL); recording stopped at step 0 of e.hdf5"
    assert own.status.rows_dropped == 10


def test_a_signal_without_a_name_is_told_by_its_number(tmp_path: Path, own: Recorder) -> None:
    recording = own.begin(tmp_path / "e.hdf5", ATTRIBUTES)
    os.kill(own.pid, signal.SIGRTMIN + 1)
    until(lambda: not own.status.alive)
    recording.append(STEPS[0])
    number = signal.SIGRTMIN + 1
    assert own.status.error == f"the recorder's process was killed (signal {number}); recording stopped at step 0 of e.hdf5"


@pytest.fixture
def many_files(room_for_files: None) -> Iterator[None]:
    taken = [os.open(os.devnull, os.O_RDONLY)]
    while taken[-1] < 1024:
        taken.append(os.dup(taken[0]))
    yield
    for descriptor in taken:
        os.close(descriptor)


@pytest.mark.usefixtures("many_files")
def test_a_control_process_with_many_open_files_is_recorded(tmp_path: Path) -> None:
    with Recorder(capacity_rows=64) as recorder:
        record(recorder.begin(tmp_path / "e.hdf5", ATTRIBUTES), STEPS[:20])
        assert recorder.wait_finished(10), recorder.status
        time.sleep(0.2)  # it waits for more
        assert recorder.status.alive
    assert numbers(tmp_path / "e.hdf5") == list(range(20))


def test_sigterm_finishes_what_is_in_the_ring(tmp_path: Path, own: Recorder) -> None:
    recording = own.begin(tmp_path / "e.hdf5", ATTRIBUTES)
    os.kill(own.pid, signal.SIGSTOP)
    for step in STEPS[:40]:
        recording.append(step)
    os.kill(own.pid, signal.SIGTERM)
    os.kill(own.pid, signal.SIGCONT)
    until(lambda: not own.status.alive)
    assert own.status.rows_written == 40
    recording.append(STEPS[40])
    assert own.status.error == "the recorder's process ended (exit status 0); recording stopped at step 40 of e.hdf5"
    assert numbers(tmp_path / "e.hdf5.part") == list(range(39))


CHILD = """
import os, sys, time
from pathlib import Path
from tests.robot.log.test_recorder import ATTRIBUTES, FINAL, STEPS, Recorder
with Recorder() as recorder, recorder.begin(Path(sys.argv[1]), ATTRIBUTES) as recording:
    print(recorder.pid, flush=True)
    if "fork" in sys.argv and os.fork() == 0:
        os.closerange(1, 3)
        time.sleep(3)
        os._exit(0)
    try:
        for number, step in enumerate(STEPS):
            recording.append(step)
            print(number + 1, flush=True)
            time.sleep(float(sys.argv[2]))
    except KeyboardInterrupt:
        recording.close("operator", FINAL)
"""


@pytest.mark.parametrize("killed", ["control", "control that has forked", "everything"])
@pytest.mark.parametrize(("kill_after_rows", "period_s"), [(3, 0.02), (250, 0.001)])
def test_kill_9_of_control(tmp_path: Path, killed: str, kill_after_rows: int, period_s: float) -> None:
    """Alone, it loses nothing that it has put; with the recorder's process, at most 100 ms."""
    command = [sys.executable, "-c", CHILD, str(tmp_path / "e.hdf5"), str(period_s), "fork" if "forked" in killed else ""]
    with subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, text=True, start_new_session=True) as child:
        assert child.stdout is not None
        recorder_pid = int(child.stdout.readline())
        while int(child.stdout.readline()) < kill_after_rows:
            pass
        (os.killpg if killed == "everything" else os.kill)(child.pid, signal.SIGKILL)
        put = max([kill_after_rows, *map(int, child.stdout.read().split())])
    until(lambda: has_ended(recorder_pid), 2.0)
    lost = int(0.1 / period_s) if killed == "everything" else 1  # the last row has no successor
    kept = numbers(tmp_path / "e.hdf5.part")
    assert kept == list(range(len(kept)))
    assert put - lost <= len(kept) <= put


def has_ended(process: int) -> bool:
    """Gone, or a zombie that its new parent has not fetched yet."""
    try:
        return Path(f"/proc/{process}/stat").read_text().rsplit(")", 1)[1].split()[0] == "Z"
    except (FileNotFoundError, ProcessLookupError):
        return True


@pytest.mark.parametrize("rows", [1, 30])
def test_ctrl_c_reaches_the_control_process_alone(tmp_path: Path, rows: int) -> None:
    command = [sys.executable, "-c", CHILD, str(tmp_path / "e.hdf5"), "0.02"]
    with subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, text=True, start_new_session=True) as child:
        assert child.stdout is not None
        child.stdout.readline()
        while int(child.stdout.readline()) < rows:
            pass
        os.killpg(child.pid, signal.SIGINT)
        put = max([rows, *map(int, child.stdout.read().split())])
    assert child.returncode == 0
    episode = read_episode(tmp_path / "e.hdf5")
    assert episode.attributes.ended == "operator"
    assert put <= len(episode) <= put + 1


# --- many episodes


def test_a_hundred_episodes_leak_nothing(tmp_path: Path, own: Recorder) -> None:
    files: list[tuple[int, int]] = []
    for number in range(100):
        record(own.begin(tmp_path / f"{number}.hdf5", ATTRIBUTES), STEPS[number : number + 6])
        if number % 10 == 9:  # more rows than 60 the ring does not hold
            assert own.wait_finished(30)
            files.append((open_files("self"), open_files(own.pid)))
    assert len(set(files)) == 1
    assert len(list_episodes(tmp_path)) == 100
    assert list_unfinished(tmp_path) == []
    for number in range(0, 100, 11):
        assert numbers(tmp_path / f"{number}.hdf5") == list(range(number, number + 6))
    assert own.status.rows_written == 600


def test_recorders_leave_neither_files_nor_processes(tmp_path: Path) -> None:
    gc.collect()
    before = open_files("self")
    for number in range(3):
        with Recorder(capacity_rows=16) as recorder:
            record(recorder.begin(tmp_path / f"{number}.hdf5", ATTRIBUTES), STEPS[:4])
            recorder.wait_finished(10)
            os.kill(recorder.pid, signal.SIGKILL)
            until(lambda recorder=recorder: not recorder.status.alive)  # type: ignore[misc]
            record(recorder.begin(tmp_path / f"{number}_again.hdf5", ATTRIBUTES), STEPS[:4])
        assert recorder.status.error == ""
        assert not recorder.status.alive
        process = recorder.pid
        del recorder
        assert not Path(f"/proc/{process}").exists()
    assert open_files("self") == before


# --- the ring


def make_ring(capacity: int) -> tuple[RowRing, RowRing]:
    block = SharedBlock(RowRing.size(capacity))
    rings = RowRing(block, capacity), RowRing(block, capacity)
    block.close()
    return rings


def test_the_ring_keeps_order_over_many_rounds() -> None:
    putting, taking = make_ring(3)
    for number in range(20):
        assert putting.put(STEPS[number])
        row = taking.peek()
        assert row is not None
        assert row.safety_events == number
        np.testing.assert_array_equal(row.observations, STEPS[number].observations)
        taking.advance()
        assert taking.peek() is None
    assert [putting.put(STEPS[number]) for number in range(4)] == [True, True, True, False]


def test_a_row_that_is_not_whole_is_not_taken() -> None:
    putting, taking = make_ring(3)
    putting.put(STEPS[0])
    putting._bytes[0, 100] ^= 1
    assert taking.peek() is None
    putting._bytes[0, 100] ^= 1
    assert taking.peek() is not None


def test_a_refused_row_leaves_the_ring_as_it_was() -> None:
    putting, taking = make_ring(2)
    putting.put(STEPS[0])
    with pytest.raises(EpisodeLogError, match="joint_pos has shape"):
        putting.put(make_step(1, joint_pos=np.zeros(3)))
    putting.put(STEPS[2])
    for number in (0, 2):
        row = taking.peek()
        assert row is not None
        assert row.safety_events == number
        taking.advance()
