"""The episode log: what is written is read back, kill -9 loses next to nothing, damaged or foreign files are refused in one line."""

from __future__ import annotations

import dataclasses
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest

from common.files import FileExistsAlreadyError
from robot.log.episode import Episode, EpisodeAttributes
from robot.log.episode_fields import ROW
from robot.log.episode_log import (
    EpisodeLogError,
    EpisodeStep,
    EpisodeWriter,
    list_episodes,
    list_unfinished,
    read_episode,
    write_episode,
)
from robot.log.hdf5_image import lookup3
from robot.observation import GO1_LAYOUT, SLOT_17_TIMING, ObservationLayout, go1_layout
from robot.policy.metadata import layout_json

ATTRIBUTES = EpisodeAttributes("unitree_go1", "ab" * 32, 0.02, layout_json(GO1_LAYOUT), "{}", "2024-05-01", "twin:mattress")
OTHER_SCALE = layout_json(GO1_LAYOUT).replace('"joint_vel", "size": 12, "scale": 0.05', '"joint_vel", "size": 12, "scale": 1.0')
SHAPES = {
    "observations": (5, 58), "actions": (12,), "action_mean": (12,), "log_prob": (), "rewards": (), "reward_terms": (7,),
    "joint_pos": (12,), "joint_vel": (12,), "joint_torque": (12,), "quaternion_wxyz": (4,), "gyro_b": (3,), "accelerometer_b": (3,),
    "foot_force": (4,), "base_lin_vel_b": (3,), "base_ang_vel_b": (3,), "velocity_age_s": (), "command": (15,),
    "joint_pos_target": (12,), "loop_latency_s": (),
}  # fmt: skip
FINAL = np.full((5, 58), 0.5, dtype=np.float32)


def make_step(number: int, **changes: Any) -> EpisodeStep:
    """Step `number` of a made-up episode; its values are drawn from the number."""
    random = np.random.default_rng(number)
    values: dict[str, Any] = {name: random.normal(size=shape).astype(np.float32) for name, shape in SHAPES.items()}
    flags = {"terminated": False, "truncated": False, "velocity_valid": number % 2 == 0, "overrun": number % 3 == 0}
    values["rewards"] = random.uniform(0, 0.03, size=()).astype(np.float32)
    return EpisodeStep(**(values | flags | {"stamp_s": 100.0 + 0.02 * number, "safety_events": number} | changes))


def make_episode(steps: int = 6, ended: str = "time_limit", **changes: Any) -> Episode:
    """The episode of steps 0, 1, ... with the flags that `ended` asks for."""
    rows = [make_step(number) for number in range(steps)]
    columns: dict[str, Any] = {name: np.array([getattr(row, name) for row in rows]) for name in vars(rows[0])}
    columns["safety_events"] = columns["safety_events"].astype(np.uint32)
    columns["terminated" if ended == "fall" else "truncated"][-1] = True
    whole = {"attributes": dataclasses.replace(ATTRIBUTES, ended=ended), "final_observation": FINAL}
    return Episode(**(whole | columns | changes))


def record(path: Path, steps: int, **options: Any) -> EpisodeWriter:
    writer = EpisodeWriter(path, ATTRIBUTES, **options)
    for number in range(steps):
        writer.append(make_step(number))
    return writer


def assert_same(one: Episode, other: Episode) -> None:
    for field in dataclasses.fields(Episode):
        expected, found = getattr(one, field.name), getattr(other, field.name)
        if isinstance(expected, np.ndarray):
            assert found.dtype == expected.dtype, field.name
            np.testing.assert_array_equal(found, expected, err_msg=field.name)
        else:
            assert found == expected


def refusal(path: Path) -> str:
    """The one line that refuses `path`, without the path that it must begin with."""
    with pytest.raises(EpisodeLogError) as caught:
        read_episode(path)
    message = str(caught.value)
    assert message.startswith(f"{path}: ")
    assert "\n" not in message
    return message.removeprefix(f"{path}: ")


# --- what is written is read back


def test_a_step_has_the_fields_of_an_episode() -> None:
    whole_episode = {"attributes", "final_observation", "missing"}
    assert [f.name for f in dataclasses.fields(EpisodeStep)] == [f.name for f in dataclasses.fields(Episode) if f.name not in whole_episode]


@pytest.mark.parametrize("ended", ["fall", "safety", "time_limit", "operator", "unknown"])
def test_written_row_by_row_and_at_once_are_the_same(tmp_path: Path, ended: str) -> None:
    path = record(tmp_path / "live.hdf5", 6).close(ended, FINAL)
    write_episode(tmp_path / "bulk.hdf5", make_episode(6, ended))
    assert path == tmp_path / "live.hdf5"
    assert_same(read_episode(path), make_episode(6, ended))
    assert_same(read_episode(tmp_path / "bulk.hdf5"), make_episode(6, ended))


def test_a_safety_stop_that_an_earlier_revision_let_terminate_is_still_read(tmp_path: Path) -> None:
    ends = {"terminated": np.arange(6) == 5, "truncated": np.zeros(6, bool)}
    write_episode(tmp_path / "old.hdf5", make_episode(6, "safety", **ends))
    assert read_episode(tmp_path / "old.hdf5").terminated[-1]


@pytest.mark.parametrize("steps", [1, 2, 3, 15, 16, 17, 300])
def test_any_number_of_rows(tmp_path: Path, steps: int) -> None:
    episode = read_episode(record(tmp_path / "e.hdf5", steps).close("operator", FINAL))
    assert episode.safety_events.tolist() == list(range(steps))


def test_close_sets_the_flags_of_the_last_row(tmp_path: Path) -> None:
    fall = read_episode(record(tmp_path / "fall.hdf5", 3).close("fall", FINAL))
    assert fall.terminated.tolist() == [False, False, True]
    assert fall.truncated.tolist() == [False, False, False]
    limit = read_episode(record(tmp_path / "limit.hdf5", 3).close("time_limit", FINAL))
    assert limit.terminated.tolist() == [False, False, False]
    assert limit.truncated.tolist() == [False, False, True]


def test_only_the_finished_log_is_left(tmp_path: Path) -> None:
    writer = record(tmp_path / "sub" / "e.hdf5", 3)
    assert [path.name for path in (tmp_path / "sub").iterdir()] == ["e.hdf5.part"]
    writer.close("fall", FINAL)
    assert [path.name for path in (tmp_path / "sub").iterdir()] == ["e.hdf5"]


def test_a_person_can_open_it(tmp_path: Path) -> None:
    with h5py.File(record(tmp_path / "e.hdf5", 4).close("fall", FINAL)) as file:
        assert file["actions"].shape == (4, 12)
        assert file["final_observation"].shape == (5, 58)
        assert file["terminated"][()].tolist() == [False, False, False, True]
        assert file.attrs["ended"] == b"fall"
        assert file.attrs["schema_version"] == 1


def test_texts_of_any_alphabet_and_length(tmp_path: Path) -> None:
    attributes = dataclasses.replace(ATTRIBUTES, config_json="ü€" * 40_000, session="", ended="time_limit")
    write_episode(tmp_path / "e.hdf5", make_episode(attributes=attributes))
    assert read_episode(tmp_path / "e.hdf5").attributes == attributes


def test_what_was_not_recorded_is_nan_and_named(tmp_path: Path) -> None:
    nothing = np.full(6, np.nan, dtype=np.float32)
    episode = make_episode(log_prob=nothing, rewards=nothing, missing=("log_prob", "rewards"))
    write_episode(tmp_path / "e.hdf5", episode)
    assert read_episode(tmp_path / "e.hdf5").missing == ("log_prob", "rewards")
    assert_same(read_episode(tmp_path / "e.hdf5"), episode)


def test_a_writer_without_a_velocity_source(tmp_path: Path) -> None:
    writer = EpisodeWriter(tmp_path / "e.hdf5", ATTRIBUTES, missing=("rewards",))
    writer.append(make_step(0, rewards=np.nan))
    assert np.isnan(read_episode(writer.close("operator", FINAL)).rewards).all()


def test_list_episodes_finds_finished_ones_below_in_order(tmp_path: Path) -> None:
    for name in ("b/2.hdf5", "a.hdf5", "b/1.hdf5"):
        write_episode(tmp_path / name, make_episode())
    record(tmp_path / "b" / "3.hdf5", 2)
    assert [str(path.relative_to(tmp_path)) for path in list_episodes(tmp_path)] == ["a.hdf5", "b/1.hdf5", "b/2.hdf5"]
    with pytest.raises(EpisodeLogError, match="no such directory"):
        list_episodes(tmp_path / "none")


def test_unfinished_logs_are_listed_when_asked_for(tmp_path: Path) -> None:
    for name in ("a", "c"):
        write_episode(tmp_path / f"{name}.hdf5", make_episode())
    for name, steps in (("b", 4), ("d", 1)):  # of d nothing can be read: the only row has no successor
        with record(tmp_path / "sub" / f"{name}.hdf5", steps):
            pass
    (tmp_path / "c.hdf5.part").write_bytes(b"its writer died after the log was whole")
    (tmp_path / "f.hdf5.part").write_bytes((tmp_path / "a.hdf5").read_bytes()[:48])  # and this one's before more was on the disk
    os.utime(tmp_path / "f.hdf5.part", (0, 0))
    assert [path.name for path in list_unfinished(tmp_path)] == ["f.hdf5.part", "b.hdf5.part", "d.hdf5.part"]
    assert [path.name for path in list_episodes(tmp_path, unfinished=True)] == ["a.hdf5", "c.hdf5", "b.hdf5.part"]
    with pytest.raises(EpisodeLogError, match="no such directory"):
        list_unfinished(tmp_path / "none")


def test_an_unfinished_log_that_is_damaged_is_named_unless_somebody_writes_to_it(tmp_path: Path) -> None:
    with record(tmp_path / "e.hdf5", 4) as writer:
        pass
    writer.part.write_bytes(writer.part.read_bytes()[:3000])
    assert list_episodes(tmp_path, unfinished=True) == []
    os.utime(writer.part, (0, 0))
    with pytest.raises(EpisodeLogError, match=rf"^{writer.part}: .*(leave the log out|move it out of the folder)$"):
        list_episodes(tmp_path, unfinished=True)


def test_logs_can_be_listed_while_others_are_written(tmp_path: Path) -> None:
    stop = threading.Event()

    def write() -> None:
        while not stop.is_set():
            with record(tmp_path / "e.hdf5", 3) as writer:
                writer.close("time_limit", np.zeros((5, 58), dtype=np.float32))
            (tmp_path / "e.hdf5").unlink()

    thread = threading.Thread(target=write)
    thread.start()
    try:
        for _ in range(200):
            list_episodes(tmp_path, unfinished=True)
    finally:
        stop.set()
        thread.join()


def test_a_log_without_a_row_leaves_nothing(tmp_path: Path) -> None:
    with record(tmp_path / "e.hdf5", 0):
        assert (tmp_path / "e.hdf5.part").exists()
    assert list(tmp_path.iterdir()) == []


# --- refusals while writing


def test_nothing_is_overwritten_unless_forced(tmp_path: Path) -> None:
    path = write_episode(tmp_path / "e.hdf5", make_episode(3))
    before = path.read_bytes()
    with pytest.raises(FileExistsAlreadyError):
        EpisodeWriter(path, ATTRIBUTES)
    with pytest.raises(FileExistsAlreadyError):
        write_episode(path, make_episode(4))
    writer = record(path, 5, force=True)
    assert path.read_bytes() == before  # kept until the new one is whole
    assert len(read_episode(writer.close("fall", FINAL))) == 5


def test_an_unfinished_log_is_not_overwritten(tmp_path: Path) -> None:
    with record(tmp_path / "e.hdf5", 4):
        pass
    with pytest.raises(FileExistsAlreadyError, match=r"hdf5\.part"):
        EpisodeWriter(tmp_path / "e.hdf5", ATTRIBUTES)
    EpisodeWriter(tmp_path / "e.hdf5", ATTRIBUTES, force=True)


def test_the_name_ends_with_hdf5(tmp_path: Path) -> None:
    with pytest.raises(EpisodeLogError, match=r"ends with \.hdf5"):
        EpisodeWriter(tmp_path / "e.h5", ATTRIBUTES)


@pytest.mark.parametrize(
    ("changes", "named"),
    [
        ({"actions": np.zeros(11)}, r"actions has shape \(11,\), not \(12,\)"),
        ({"observations": np.zeros(290)}, r"observations has shape \(290,\), not \(5, 58\)"),
        ({"rewards": np.zeros(1)}, r"rewards has shape \(1,\)"),
        ({"joint_pos": 0.0}, r"joint_pos has shape \(\)"),
        ({"rewards": float("nan")}, "rewards of step 2 holds NaN or infinity"),
        ({"actions": np.full(12, 1e39)}, "actions of step 2 holds NaN or infinity"),
        ({"actions": np.full(12, -10.1)}, "actions of step 2 is not within -10 to 10"),
        ({"observations": np.full((5, 58), np.inf)}, "observations of step 2 holds NaN or infinity"),
    ],
)
def test_a_bad_row_is_refused_and_the_good_ones_stay(tmp_path: Path, changes: dict[str, Any], named: str) -> None:
    writer = record(tmp_path / "e.hdf5", 2)
    with pytest.raises(EpisodeLogError, match=named):
        writer.append(make_step(2, **changes))
    writer.append(make_step(7))
    assert read_episode(writer.close("operator", FINAL)).safety_events.tolist() == [0, 1, 7]


def test_an_unknown_end_leaves_the_log_open(tmp_path: Path) -> None:
    writer = record(tmp_path / "e.hdf5", 2)
    with pytest.raises(EpisodeLogError, match="not 'bored'"):
        writer.close("bored", FINAL)
    assert len(read_episode(writer.close("operator", FINAL))) == 2


def test_an_empty_episode_is_not_kept(tmp_path: Path) -> None:
    with pytest.raises(EpisodeLogError, match="no step was recorded"):
        record(tmp_path / "e.hdf5", 0).close("operator", FINAL)
    assert list_episodes(tmp_path) == []


@pytest.mark.parametrize(
    ("changes", "named"),
    [
        ({"actions": np.zeros((5, 12), np.float32)}, "observations is float32 (6, 5, 58), not float32 (5, 5, 58)"),
        ({"rewards": np.zeros(6)}, "rewards is float64 (6,), not float32 (6,)"),
        ({"final_observation": np.zeros(290, np.float32)}, "final_observation is float32 (290,)"),
        ({"final_observation": np.full((5, 58), np.nan, np.float32)}, "final_observation holds NaN"),
        ({"rewards": np.full(6, np.nan, np.float32)}, "rewards holds NaN or infinity and is not named as missing"),
        ({"missing": ("overrun",)}, "'overrun' cannot be missing"),
        ({"truncated": np.ones(6, bool)}, "before the last step"),
        ({"truncated": np.zeros(6, bool)}, "neither terminated nor truncated"),
        ({"attributes": dataclasses.replace(ATTRIBUTES, ended="fall")}, "terminated is False although the episode ended by 'fall'"),
        ({"attributes": dataclasses.replace(ATTRIBUTES, ended="tired")}, "not 'tired'"),
        ({"attributes": dataclasses.replace(ATTRIBUTES, schema_version=2)}, "schema version 2"),
        ({"attributes": dataclasses.replace(ATTRIBUTES, control_dt_s=float("nan"))}, "control_dt_s is nan instead of 0.02"),
        ({"attributes": dataclasses.replace(ATTRIBUTES, control_dt_s=0.020000002)}, "control_dt_s is 0.020000002 instead of 0.02"),
        ({"attributes": dataclasses.replace(ATTRIBUTES, robot="unitree_a1")}, "robot is 'unitree_a1' instead of 'unitree_go1'"),
        ({"attributes": dataclasses.replace(ATTRIBUTES, layout_json="{}")}, "layout_json: the metadata lack 'terms'"),
        ({"attributes": dataclasses.replace(ATTRIBUTES, layout_json="58 x 5")}, "layout_json: the metadata are not valid JSON"),
        ({"attributes": dataclasses.replace(ATTRIBUTES, layout_json=OTHER_SCALE)}, "neither of the Go1's two 58 x 5 layouts"),
    ],
)
def test_an_episode_that_breaks_its_contract_is_not_written(tmp_path: Path, changes: dict[str, Any], named: str) -> None:
    with pytest.raises(EpisodeLogError) as caught:
        write_episode(tmp_path / "e.hdf5", make_episode(**changes))
    assert named in str(caught.value)
    assert list(tmp_path.iterdir()) == []


def test_a_log_of_another_robot_is_refused_before_its_first_row(tmp_path: Path) -> None:
    with pytest.raises(EpisodeLogError, match=r"e\.hdf5\.part: robot is 'spot'"):
        EpisodeWriter(tmp_path / "e.hdf5", dataclasses.replace(ATTRIBUTES, robot="spot"))
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("layout", [GO1_LAYOUT, go1_layout(SLOT_17_TIMING)])
def test_both_layouts_are_read_however_they_are_spaced(tmp_path: Path, layout: ObservationLayout) -> None:
    text = layout_json(layout).replace(" ", "\n")
    write_episode(tmp_path / "e.hdf5", make_episode(attributes=dataclasses.replace(ATTRIBUTES, ended="time_limit", layout_json=text)))
    assert read_episode(tmp_path / "e.hdf5").attributes.layout_json == text


# --- unfinished logs


def test_an_exception_leaves_every_row_in_the_part(tmp_path: Path) -> None:
    with pytest.raises(RuntimeError, match="stumbled"), record(tmp_path / "e.hdf5", 0) as writer:
        for number in range(5):
            writer.append(make_step(number))
        raise RuntimeError("stumbled")
    episode = read_episode(tmp_path / "e.hdf5.part")
    # Step 4 has no observation after it: it gives the final observation and is no transition itself.
    assert episode.safety_events.tolist() == [0, 1, 2, 3]
    np.testing.assert_array_equal(episode.final_observation, make_step(4).observations)
    assert episode.truncated.tolist() == [False, False, False, True]
    assert not episode.terminated.any()
    assert episode.attributes == ATTRIBUTES
    assert episode.attributes.ended == "unknown"
    assert not (tmp_path / "e.hdf5").exists()


def test_a_terminated_last_row_stays(tmp_path: Path) -> None:
    with record(tmp_path / "e.hdf5", 2) as writer:
        writer.append(make_step(2, terminated=True))
    episode = read_episode(tmp_path / "e.hdf5.part")
    assert episode.terminated.tolist() == [False, False, True]
    assert not episode.truncated.any()


def test_a_log_can_be_read_while_it_is_written(tmp_path: Path) -> None:
    writer = record(tmp_path / "e.hdf5", 9)
    assert read_episode(writer.part).safety_events.tolist() == list(range(7))  # 8 are flushed, the last lacks its successor
    writer.append(make_step(9))
    assert len(read_episode(writer.part)) == 9


@pytest.mark.parametrize("steps", [0, 1, 2])
def test_an_unfinished_log_of_no_transition(tmp_path: Path, steps: int) -> None:
    writer = record(tmp_path / "e.hdf5", steps)
    if steps < 2:
        assert refusal(writer.part)
    else:
        assert len(read_episode(writer.part)) == 1


CHILD = """
import sys, time
from pathlib import Path
from tests.robot.log.test_episode_log import ATTRIBUTES, make_step
from robot.log.episode_log import EpisodeWriter
writer = EpisodeWriter(Path(sys.argv[1]), ATTRIBUTES)
steps = [make_step(number) for number in range(400)]
for number, step in enumerate(steps):
    writer.append(step)
    print(number + 1, flush=True)
    time.sleep(float(sys.argv[2]))
"""


@pytest.mark.parametrize(("kill_after_rows", "period_s"), [(3, 0.02), (16, 0.01), (33, 0.005), (118, 0.001), (250, 0.0)])
def test_kill_9_loses_at_most_100_ms_and_nothing_that_was_finished(tmp_path: Path, kill_after_rows: int, period_s: float) -> None:
    earlier = write_episode(tmp_path / "earlier.hdf5", make_episode())
    before = earlier.read_bytes()
    root = Path(__file__).parents[3]
    command = [sys.executable, "-c", CHILD, str(tmp_path / "e.hdf5"), str(period_s)]
    with subprocess.Popen(command, cwd=root, stdout=subprocess.PIPE, text=True) as child:
        assert child.stdout is not None
        while int(child.stdout.readline()) < kill_after_rows:
            pass
        os.kill(child.pid, signal.SIGKILL)
        appended = max([kill_after_rows, *map(int, child.stdout.read().split())])
    episode = read_episode(tmp_path / "e.hdf5.part")
    assert appended - 5 <= len(episode) <= appended
    for number in range(len(episode)):
        np.testing.assert_array_equal(episode.observations[number], make_step(number).observations)
        assert episode.safety_events[number] == number
    assert earlier.read_bytes() == before
    assert list_episodes(tmp_path) == [earlier]


# --- damaged, foreign and hostile files


@pytest.mark.parametrize("unfinished", [False, True])
def test_flipped_and_cut_files_are_read_or_refused_in_one_line(tmp_path: Path, unfinished: bool) -> None:
    writer = record(tmp_path / "e.hdf5", 20)
    content = writer.part.read_bytes() if unfinished else writer.close("fall", FINAL).read_bytes()
    damaged, random = tmp_path / "damaged.hdf5", np.random.default_rng(0)
    started = time.monotonic()
    for trial in range(120):
        changed = bytearray(content)
        if trial % 3 == 0:
            del changed[random.integers(len(content)) :]
        else:  # half of the flips go where the structure is
            changed[random.integers(len(content) if trial % 3 == 1 else 6000)] ^= int(random.integers(1, 256))
        damaged.write_bytes(changed)
        try:
            read_episode(damaged)
        except EpisodeLogError as error:
            assert str(error).startswith(f"{damaged}: ")
            assert "\n" not in str(error)
    assert time.monotonic() - started < 60  # HDF5's own SWMR reader sleeps for minutes on some of these


def test_a_flipped_value_in_a_finished_log_is_noticed(tmp_path: Path) -> None:
    path = write_episode(tmp_path / "e.hdf5", make_episode())
    content = bytearray(path.read_bytes())
    content[content.index(make_step(3).actions.tobytes()) + 5] ^= 1
    path.write_bytes(content)
    assert refusal(path)


@pytest.mark.parametrize("content", [b"", b"PK\x03\x04" + bytes(200), bytes(5000)])
def test_files_that_are_no_hdf5(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "e.hdf5").write_bytes(content)
    assert "not an HDF5 file, as logs are, or cut short; leave it out" in refusal(tmp_path / "e.hdf5")


def test_a_file_of_which_only_the_first_bytes_are_there(tmp_path: Path) -> None:
    (tmp_path / "e.hdf5").write_bytes(b"\x89HDF\r\n\x1a\n")
    assert refusal(tmp_path / "e.hdf5").startswith("damaged, or not an episode log (")
    assert refusal(tmp_path / "e.hdf5").endswith("); leave the log out")


def test_no_file_and_a_directory(tmp_path: Path) -> None:
    assert "No such file" in refusal(tmp_path / "none.hdf5")
    assert "directory" in refusal(tmp_path)


def test_somebody_elses_hdf5(tmp_path: Path) -> None:
    with h5py.File(tmp_path / "e.hdf5", "w") as file:
        file["observations"] = np.zeros((10, 39))
    assert refusal(tmp_path / "e.hdf5") == "not an episode log; a log released with Uni-O4 becomes one by quadloop import"


def test_a_file_that_is_too_large(tmp_path: Path) -> None:
    with (tmp_path / "e.hdf5").open("wb") as file:
        file.truncate(512 * 2**20 + 1)
    assert "larger than 512 MB" in refusal(tmp_path / "e.hdf5")


def replace_dataset(name: str, **creation: Any) -> Callable[[h5py.File], None]:
    def change(file: h5py.File) -> None:
        del file[name]
        file.create_dataset(name, **creation)

    return change


def replace_link(name: str, link: Any) -> Callable[[h5py.File], None]:
    def change(file: h5py.File) -> None:
        del file[name]
        file[name] = link

    return change


def virtual(file: h5py.File) -> None:
    del file["rewards"]
    layout = h5py.VirtualLayout((6,), "<f4")
    layout[:] = h5py.VirtualSource("/etc/other.hdf5", "rewards", (6,))
    file.create_virtual_dataset("rewards", layout)


def set_value(name: str, index: Any, value: Any) -> Callable[[h5py.File], None]:
    return lambda file: file[name].__setitem__(index, value)


def set_attribute(name: str, value: Any) -> Callable[[h5py.File], None]:
    return lambda file: file.attrs.__setitem__(name, value)


def boolean_seven(file: h5py.File) -> None:
    values = np.full(6, 7, dtype=np.uint8).view(np.bool_)
    del file["overrun"]
    file["overrun"] = values


@pytest.mark.parametrize(
    ("change", "named"),
    [
        (replace_link("rewards", h5py.SoftLink("/log_prob")), "'rewards' is a link to somewhere else"),
        (replace_link("rewards", h5py.ExternalLink("/etc/other.hdf5", "rewards")), "'rewards' is a link to somewhere else"),
        (lambda file: (file.pop("rewards"), file.create_group("rewards")), "'rewards' is not a dataset"),
        (replace_dataset("rewards", shape=(6,), dtype="<f4", external=[("/etc/hostname", 0, 24)]), "lie outside the file"),
        (virtual, "lie outside the file"),
        (replace_dataset("rewards", data=["a"] * 6, dtype=h5py.string_dtype()), "variable size"),
        (replace_dataset("rewards", shape=(6,), dtype=h5py.vlen_dtype(np.float32)), "variable size"),
        (replace_dataset("rewards", shape=(6,), dtype=h5py.ref_dtype), "variable size or references"),
        (replace_dataset("rewards", data=np.zeros(6)), "rewards is float64 (6,), not float32 (6,)"),
        (replace_dataset("rewards", data=np.zeros(6, ">f4")), "rewards is >f4"),
        (replace_dataset("rewards", data=np.zeros(5, "<f4")), "rewards is float32 (5,), not float32 (6,)"),
        (replace_dataset("rewards", data=np.float32(0)), "rewards is float32 (), not"),
        (replace_dataset("rewards", dtype="<f4"), "rewards"),
        (replace_dataset("actions", data=np.zeros((6, 13), "<f4")), "actions is float32 (6, 13)"),
        (replace_dataset("actions", shape=(0, 12), dtype="<f4"), "1 to 200,000 steps, not 0"),
        (replace_dataset("actions", shape=(10**12, 12), dtype="<f4", chunks=(64, 12)), "not 1,000,000,000,000"),
        (replace_dataset("rewards", shape=(6,), maxshape=(None,), dtype="<f4", chunks=(2**29,)), "absurd size"),
        (replace_dataset("rewards", data=np.zeros(6, "<f4"), compression="gzip"), "compressed"),
        (lambda file: file.pop("rewards"), "exactly the datasets"),
        (lambda file: file.create_dataset("extra", data=1), "exactly the datasets"),
        (boolean_seven, "neither true nor false"),
        (set_value("rewards", 2, np.nan), "rewards holds NaN"),
        (set_value("rewards", 2, 0.031), "rewards is not within 0 to 0.03; leave the log out"),
        (set_value("rewards", 2, -1e-3), "rewards is not within 0 to 0.03"),
        (set_value("actions", (2, 3), 10.01), "actions is not within -10 to 10; leave the log out"),
        (set_value("observations", (0, 0, 0), np.inf), "observations holds NaN or infinity and is not named as missing; leave the log out"),
        (set_value("observations", (0, 0, 0), -101), "observations is not within -100 to 100; leave the log out"),
        (set_value("final_observation", (0, 0), 101), "final_observation is not within -100 to 100; leave the log out"),
        (set_value("terminated", 2, True), "before the last step"),
        (set_attribute("schema_version", 2), "update quadloop"),
        (set_attribute("schema_version", -1), "schema version -1"),
        (set_attribute("schema_version", "1"), "'schema_version' has the wrong type"),
        (set_attribute("control_dt_s", np.nan), "control_dt_s is nan"),
        (set_attribute("control_dt_s", 0.01), "control_dt_s is 0.01 instead of 0.02"),
        (set_attribute("robot", np.bytes_(b"spot")), "robot is 'spot'"),
        (set_attribute("layout_json", np.bytes_(b"[]")), "layout_json: the metadata hold a list where an object belongs"),
        (set_attribute("control_dt_s", [0.02, 0.02]), "'control_dt_s' has the wrong type"),
        (set_attribute("robot", "a text of variable length"), "'robot' has the wrong type"),
        (set_attribute("session", np.bytes_(b"\xff\xfe")), "damaged"),
        (set_attribute("ended", np.bytes_(b"bored")), "not 'bored'"),
        (set_attribute("missing", np.bytes_(b"overrun")), "'overrun' cannot be missing"),
        (lambda file: file.attrs.pop("source"), "the attribute 'source' is missing"),
        (set_attribute("format", np.bytes_(b"another log")), "not an episode log"),
        (set_attribute("session", np.bytes_(b"\x1b]0;owned\x07")), "session is '\\x1b]0;owned\\x07'; it must be printable"),
        (set_attribute("source", np.bytes_(b"a" * 201)), "at most 200 characters"),
        (set_value("command", (0, 3), 3e38), "command is beyond +-10"),
    ],
)
def test_a_changed_file_is_refused_by_what_is_wrong(tmp_path: Path, change: Callable[[h5py.File], Any], named: str) -> None:
    path = write_episode(tmp_path / "e.hdf5", make_episode())
    with h5py.File(path, "r+") as file:
        change(file)
    assert named in refusal(path)


@pytest.mark.parametrize(
    ("change", "named"),
    [
        (replace_dataset("steps", data=np.zeros((4, 12), "<f4")), "does not hold the rows"),
        (replace_dataset("steps", data=[b"a", b"b"], dtype=h5py.string_dtype()), "variable size"),
        (replace_dataset("steps", shape=(10**12,), dtype="<f4", chunks=(64,)), "1 to 200,000 steps"),
        (lambda file: (file.pop("steps"), file.create_group("steps")), "not a dataset"),
        (replace_link("steps", h5py.ExternalLink("/etc/other.hdf5", "steps")), "link to somewhere else"),
        (replace_dataset("steps", shape=(200_000,), dtype=ROW, chunks=(16,)), "'steps' claims more values than the file holds"),
        (replace_dataset("steps", shape=(200_000,), dtype=ROW), "'steps' claims more values than the file holds"),
    ],
)
def test_a_changed_unfinished_log_is_refused(tmp_path: Path, change: Callable[[h5py.File], Any], named: str) -> None:
    with record(tmp_path / "e.hdf5", 4) as writer:
        pass
    with h5py.File(writer.part, "r+", libver="latest") as file:
        change(file)
    assert named in refusal(writer.part)


def test_checksum_of_the_superblock() -> None:
    assert lookup3(b"Four score and seven years ago") == 0x17770551  # Bob Jenkins' own example
