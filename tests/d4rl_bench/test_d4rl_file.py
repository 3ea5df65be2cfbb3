"""D4RL's files: where episodes end, what is dropped, what is refused in one line, and what is written and read again."""

from __future__ import annotations

import resource
import subprocess
import sys
from collections.abc import Callable
from dataclasses import fields, replace
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest

from common.files import FileExistsAlreadyError
from d4rl_bench.d4rl_file import MAX_FILE_BYTES, DataError, origin_of, read_d4rl, returns_of_episodes, write_d4rl
from d4rl_bench.task import Task, find_task
from learners.transitions import Transitions
from tests.damage import mutated

HOPPER = find_task("hopper-medium-v2")  # 11 values observed, 3 acted on
MUTANTS = 300
MEMORY_BYTES = 3 * 2**30  # of address space; python, numpy and h5py alone take one
Columns = dict[str, Any]


def flags(rows: int, *true: int) -> np.ndarray:
    made = np.zeros(rows, dtype=bool)
    made[list(true)] = True
    return made


def made_columns(rows: int, **changed: Any) -> Columns:
    """What a file of Hopper holds; None leaves a key out."""
    rng = np.random.default_rng(rows)
    columns = {
        "observations": rng.normal(size=(rows, 11)).astype(np.float32),
        "actions": rng.uniform(-1, 1, size=(rows, 3)).astype(np.float32),
        "rewards": np.arange(rows, dtype=np.float32),
        "terminals": flags(rows),
        "timeouts": np.arange(rows) == rows - 1,
    }
    return {name: values for name, values in (columns | changed).items() if values is not None}


def write(path: Path, columns: Columns) -> Path:
    with h5py.File(path, "w") as file:
        for name, values in columns.items():
            file[name] = values
    return path


@pytest.fixture
def read(tmp_path: Path) -> Callable[..., Transitions]:
    def read_columns(columns: Columns, task: Task = HOPPER) -> Transitions:
        return read_d4rl(write(tmp_path / "made.hdf5", columns), task)

    return read_columns


def made_transitions(lengths: tuple[int, ...] = (3, 4), terminated: tuple[int, ...] = (2,)) -> Transitions:
    rows = sum(lengths)
    columns, ends = made_columns(rows), np.cumsum(lengths) - 1
    return Transitions(
        observations=columns["observations"],
        actions=columns["actions"],
        rewards=columns["rewards"],
        next_observations=columns["observations"] + np.float32(0.5),
        terminated=flags(rows, *terminated),
        truncated=flags(rows, *ends) & ~flags(rows, *terminated),
        episode_starts=np.append(0, ends[:-1] + 1),
    )


def assert_equal(found: Transitions, expected: Transitions) -> None:
    for field in fields(Transitions):
        ours, theirs = getattr(found, field.name), getattr(expected, field.name)
        assert ours.dtype == theirs.dtype, field.name
        np.testing.assert_array_equal(ours, theirs, err_msg=field.name)


def test_without_next_observations_the_row_behind_is_the_successor(read: Callable[..., Transitions]) -> None:
    # episodes: rows 0-2 (time out), 3-4 (terminated), 5-6 (the file ends), which lose rows 2 and 6
    columns = made_columns(7, terminals=flags(7, 4), timeouts=flags(7, 2))
    found = read(columns)
    assert found.rewards.tolist() == [0, 1, 3, 4, 5]
    assert np.array_equal(found.observations, columns["observations"][[0, 1, 3, 4, 5]])
    assert np.array_equal(found.next_observations, columns["observations"][[1, 2, 4, 4, 6]])
    assert found.terminated.tolist() == [False, False, False, True, False]
    assert found.truncated.tolist() == [False, True, False, False, True]
    assert found.episode_starts.tolist() == [0, 2, 4]


def test_an_episode_of_one_row_without_successor_is_dropped(read: Callable[..., Transitions]) -> None:
    # episodes: rows 0-1 (terminated), 2 (time out), 3 (time out), 4-5 (time out)
    found = read(made_columns(6, terminals=flags(6, 1), timeouts=flags(6, 2, 3, 5)))
    assert found.rewards.tolist() == [0, 1, 4]
    assert found.terminated.tolist() == [False, True, False]
    assert found.truncated.tolist() == [False, False, True]
    assert found.episode_starts.tolist() == [0, 2]


def test_with_next_observations_nothing_is_dropped(read: Callable[..., Transitions]) -> None:
    columns = made_columns(6, terminals=flags(6, 1), timeouts=flags(6, 3), next_observations=np.full((6, 11), 0.25))
    found = read(columns)
    assert len(found) == 6
    assert (found.next_observations == 0.25).all()
    assert np.flatnonzero(found.terminated).tolist() == [1]
    assert np.flatnonzero(found.truncated).tolist() == [3, 5]
    assert found.episode_starts.tolist() == [0, 2, 4]


def test_without_timeouts_episodes_end_after_the_task_s_steps(read: Callable[..., Transitions]) -> None:
    # counted anew after each end: rows 0-1 (terminated), 2-4, 5-7 (three steps each), 8 (the file ends)
    columns = made_columns(9, terminals=flags(9, 1), timeouts=None, next_observations=np.zeros((9, 11)))
    found = read(columns, replace(HOPPER, episode_steps=3))
    assert found.episode_starts.tolist() == [0, 2, 5, 8]
    assert np.flatnonzero(found.truncated).tolist() == [4, 7, 8]


def test_a_terminal_at_the_task_s_last_step_is_a_terminal(read: Callable[..., Transitions]) -> None:
    found = read(made_columns(6, terminals=flags(6, 2), timeouts=None), replace(HOPPER, episode_steps=3))
    assert found.rewards.tolist() == [0, 1, 2, 3, 4]
    assert (np.flatnonzero(found.terminated).tolist(), np.flatnonzero(found.truncated).tolist()) == ([2], [4])


def test_with_timeouts_the_length_of_an_episode_does_not_matter(read: Callable[..., Transitions]) -> None:
    found = read(made_columns(9), replace(HOPPER, episode_steps=3))
    assert (len(found), found.episode_starts.tolist()) == (8, [0])


def test_terminated_wins_over_a_timeout_in_the_same_row(read: Callable[..., Transitions]) -> None:
    found = read(made_columns(4, terminals=flags(4, 1, 3), timeouts=flags(4, 1)))
    assert len(found) == 4
    assert np.flatnonzero(found.terminated).tolist() == [1, 3]
    assert not found.truncated.any()


def test_actions_are_clipped_as_the_environments_do(read: Callable[..., Transitions]) -> None:
    found = read(made_columns(3, actions=np.array([[1.37, -2, 0.5]] * 3)))
    assert found.actions.tolist() == [[1, -1, 0.5]] * 2


@pytest.mark.parametrize("flag", [np.uint8, np.int64, np.float32, np.bool_])
def test_other_numbers_and_columns_of_width_one_are_taken(read: Callable[..., Transitions], flag: type) -> None:
    columns = made_columns(5, observations=np.ones((5, 11), dtype=np.int64), actions=np.zeros((5, 3), dtype=np.float64))
    columns |= {"rewards": np.arange(5.0)[:, None], "terminals": flags(5, 1).astype(flag)[:, None]}
    found = read(columns)
    assert np.flatnonzero(found.terminated).tolist() == [1]
    assert found.rewards.tolist() == [0, 1, 2, 3]
    types = {field.name: getattr(found, field.name).dtype for field in fields(Transitions)}
    assert types["terminated"] == types["truncated"] == np.bool_
    assert types["episode_starts"] == np.int64
    assert all(types[name] == np.float32 for name in ("observations", "actions", "rewards", "next_observations"))


def test_compressed_and_chunked_files_are_read(tmp_path: Path) -> None:
    columns = made_columns(500)
    with h5py.File(tmp_path / "d4rl.hdf5", "w") as file:
        for name, values in columns.items():
            file.create_dataset(name, data=values, compression="gzip", chunks=(7, *values.shape[1:]), maxshape=(None, *values.shape[1:]))
    assert np.array_equal(read_d4rl(tmp_path / "d4rl.hdf5", HOPPER).observations, columns["observations"][:-1])


def test_the_human_door_demonstrations(real_data: Path) -> None:
    task = find_task("door-human-v1")
    found = read_d4rl(real_data / "adroit_door_human.hdf5", task)
    assert (len(found), len(found.episode_starts)) == (6704, 25)
    assert not found.terminated.any()
    assert np.array_equal(np.flatnonzero(found.truncated), np.append(found.episode_starts[1:], 6704) - 1)
    assert np.abs(found.actions).max() == 1
    inside = ~found.truncated[:-1]
    assert np.array_equal(found.next_observations[:-1][inside], found.observations[1:][inside])
    with h5py.File(real_data / "adroit_door_human.hdf5") as file:
        recorded, timeouts = file["rewards"][:], file["timeouts"][:]
    assert returns_of_episodes(found).sum() == pytest.approx(recorded[~timeouts].sum(dtype=np.float64), rel=1e-6)


def _replaced(name: str, make: Callable[[h5py.File], None]) -> Callable[[h5py.File], None]:
    def change(file: h5py.File) -> None:
        del file[name]
        make(file)

    return change


def _with(**data: Any) -> Callable[[h5py.File], None]:
    def change(file: h5py.File) -> None:
        for name, values in data.items():
            del file[name]
            if values is not None:
                file[name] = values

    return change


def _virtual(file: h5py.File) -> None:
    layout = h5py.VirtualLayout((6, 3), "f4")
    layout[:] = h5py.VirtualSource("other.hdf5", "actions", (6, 3))
    file.create_virtual_dataset("actions", layout)


def _set(name: str, values: Any) -> Callable[[h5py.File], None]:
    return lambda file: file.__setitem__(name, values)


def _create(name: str, *shape_and_type: Any, **options: Any) -> Callable[[h5py.File], None]:
    return lambda file: file.create_dataset(name, *shape_and_type, **options)


def _invalid_booleans(file: h5py.File) -> None:
    file.create_dataset("terminals", (6,), bool).id.write(h5py.h5s.ALL, h5py.h5s.ALL, np.full(6, 7, dtype=np.uint8).view(bool))


BAD_ROWS = np.where(np.arange(6)[:, None] % 2, np.ones((6, 11)), np.nan)


@pytest.mark.parametrize(
    ("change", "complaint"),
    [
        (_with(rewards=None), "no rewards in it"),
        (_with(rewards=None, terminals=None), "no rewards and no terminals in it"),
        (_replaced("actions", lambda file: file.create_group("actions")), "'actions' is a group"),
        (_replaced("actions", _set("actions", h5py.SoftLink("/observations"))), "'actions' is a link"),
        (_replaced("actions", _set("actions", h5py.SoftLink("/nowhere"))), "'actions' is a link"),
        (_replaced("timeouts", _set("timeouts", h5py.SoftLink("/nowhere"))), "'timeouts' is a link"),
        (_replaced("actions", _set("actions", h5py.ExternalLink("other.hdf5", "/actions"))), "'actions' is a link"),
        (_replaced("actions", _create("actions", (6, 3), "f4", external=[("/etc/hostname", 0, 72)])), "of 'actions' lie outside"),
        (_replaced("actions", _virtual), "of 'actions' lie outside"),
        (_with(actions=np.full((6, 3), b"x")), "'actions' holds values of type |S1, not numbers"),
        (_replaced("actions", _create("actions", (6, 3), dtype=h5py.vlen_dtype(np.float32))), "'actions' holds values of type object"),
        (_replaced("actions", _create("actions", (6, 3), dtype=h5py.string_dtype())), "'actions' holds values of type object"),
        (_with(actions=np.zeros((6, 3), dtype=complex)), "'actions' holds values of type complex128"),
        (_with(actions=np.zeros((6, 3), dtype=[("a", "f4")])), "'actions' holds values of type"),
        (_with(terminals=np.full(6, b"x")), "'terminals' holds values of type |S1, not flags"),
        (_with(rewards=np.zeros((6, 2))), "'rewards' has shape (6, 2); it must be (rows,)"),
        (_with(rewards=np.float32(1)), "'rewards' has shape ()"),
        (_with(rewards=h5py.Empty("f4")), "'rewards' has shape ()"),
        (_with(observations=np.zeros(66)), "'observations' has shape (66,); it must be (rows, values)"),
        (_with(observations=np.zeros((6, 11, 1))), "'observations' has shape (6, 11, 1)"),
        (_with(rewards=np.zeros(5)), "not the same number of rows under each key: observations 6, actions 6, rewards 5"),
        (_set("next_observations", np.zeros((6, 12))), "next_observations of 12 values, observations of 11"),
        (_with(observations=BAD_ROWS), "'observations' is NaN or infinite in 3 rows, the first of them row 0"),
        (_with(rewards=np.array([0, 0, np.inf, 0, -np.inf, 0])), "'rewards' is NaN or infinite in 2 rows, the first of them row 2"),
        (_with(rewards=np.array([0, 0, 0, 0, 3e38, 0])), "'rewards' is beyond +-1e+09 in 1 rows, the first of them row 4"),
        (_with(rewards=np.array([0, 0, 0, 0, 1e300, 0])), "'rewards' is NaN or infinite in 1 rows, the first of them row 4"),
        (_with(terminals=np.array([0, 0, 2, 0, 0, 0])), "'terminals' holds values that are neither 0 nor 1"),
        (_with(timeouts=np.array([0, 0, 0.5, 0, 0, 0])), "'timeouts' holds values that are neither 0 nor 1"),
        (_with(timeouts=np.array([0, 0, np.nan, 0, 0, 0])), "'timeouts' holds values that are neither 0 nor 1"),
        (_replaced("terminals", _invalid_booleans), "'terminals' holds values that are neither 0 nor 1"),
        (_replaced("observations", _create("observations", (10**12, 11), "f4", chunks=(100, 11))), "its arrays take 44,000,000,000,"),
        (_replaced("observations", _create("observations", (25 * 10**6, 11), "i1", chunks=(100, 11))), "its arrays take 1,100,000,"),
        (_replaced("actions", _create("actions", (6, 3), "f4", chunks=(10**7, 3), maxshape=(None, 3))), "chunks of an absurd size"),
    ],
)
def test_hostile_files_are_refused_in_one_line(tmp_path: Path, change: Callable[[h5py.File], Any], complaint: str) -> None:
    path = write(tmp_path / "hostile.hdf5", made_columns(6))
    with h5py.File(path, "r+") as file:
        change(file)
    with pytest.raises(DataError) as caught:
        read_d4rl(path, HOPPER)
    message = str(caught.value)
    assert message.startswith(f"{path}: ")
    assert complaint in message
    assert "\n" not in message


@pytest.mark.parametrize("rows", [0, 1, 2])
def test_too_few_rows_are_refused(read: Callable[..., Transitions], rows: int) -> None:
    with pytest.raises(DataError, match=f"made.hdf5: holds {max(rows - 1, 0)} usable rows; at least 2"):
        read(made_columns(rows, timeouts=flags(rows)))


def test_another_task_s_data_name_the_tasks_that_fit(read: Callable[..., Transitions]) -> None:
    with pytest.raises(DataError, match="observations of 11 values and actions of 3, but walker2d-medium-v2 has 17 and 6") as caught:
        read(made_columns(6), find_task("walker2d-medium-v2"))
    assert str(caught.value).endswith("they fit hopper-medium-v2, hopper-medium-replay-v2, hopper-medium-expert-v2")
    with pytest.raises(DataError, match="no task has such"):
        read(made_columns(6, actions=np.zeros((6, 4))))


@pytest.mark.parametrize("content", [b"", b"not HDF5", b"<html>", b"\x89HDF\r\n\x1a\n" + bytes(200)])
def test_other_files_are_refused(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "other.hdf5"
    path.write_bytes(content)
    with pytest.raises(DataError, match=r"other.hdf5: (not an HDF5 file|cannot be read)"):
        read_d4rl(path, HOPPER)


def test_what_is_no_file_or_too_large_is_refused(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"nothing.hdf5: no such file"):
        read_d4rl(tmp_path / "nothing.hdf5", HOPPER)
    with pytest.raises(DataError, match="a directory"):
        read_d4rl(tmp_path, HOPPER)
    with pytest.raises(DataError, match="not a regular file"):
        read_d4rl(Path("/dev/null"), HOPPER)
    with (tmp_path / "large.hdf5").open("wb") as file:
        file.truncate(MAX_FILE_BYTES + 1)  # sparse: takes no space
    with pytest.raises(DataError, match=r"large.hdf5: 4,294,967,297 bytes, more than"):
        read_d4rl(tmp_path / "large.hdf5", HOPPER)


@pytest.mark.parametrize("word", ["quadloop", np.bytes_(b"quadloop"), np.array(b"quadloop", dtype="S20")])
def test_what_a_file_says_of_its_origin_may_be_stored_as_either_kind_of_text(tmp_path: Path, word: Any) -> None:
    path = write(tmp_path / "ours.hdf5", made_columns(6))
    assert origin_of(path) == {}
    with h5py.File(path, "r+") as file:
        file.attrs.update({"made_by": word, "seed": 3, "notes": np.zeros(1000)})
    assert origin_of(path) == {"made_by": "quadloop"}


@pytest.mark.parametrize("word", [3, ["hopper-medium-v2"] * 2, h5py.Empty("S5"), np.bytes_(b"x" * 2000), np.bytes_(b"\xff")])
def test_an_origin_that_is_no_short_text_is_refused_in_one_line(tmp_path: Path, word: Any) -> None:
    path = write(tmp_path / "hostile.hdf5", made_columns(6))
    with h5py.File(path, "r+") as file:
        file.attrs["task"] = word
    with pytest.raises(DataError, match=r"^\S+hostile.hdf5: (its attribute 'task' is not a short text|cannot be read .*decode)") as caught:
        origin_of(path)
    assert "\n" not in str(caught.value)


def test_the_other_attributes_of_a_file_are_not_read(tmp_path: Path) -> None:
    """Their storage is damaged: who reads them fails."""
    path = write(tmp_path / "hostile.hdf5", made_columns(6))
    with h5py.File(path, "r+") as file:
        file.attrs.update({"made_by": "quadloop", "notes": "a heap object that is not there"})
    content = path.read_bytes()
    notes = content.index(b"notes\0")
    heap = content.index(b"GCOL").to_bytes(8, "little")
    place = content.index(heap, notes)
    path.write_bytes(content[:place] + (2**40).to_bytes(8, "little") + content[place + 8 :])
    with h5py.File(path) as file, pytest.raises(OSError, match=r"."):
        file.attrs["notes"]
    assert origin_of(path) == {"made_by": "quadloop"}


def test_returns_are_the_sums_of_each_episode_s_rewards() -> None:
    returns = returns_of_episodes(made_transitions((3, 4)))
    assert returns.dtype == np.float64
    assert returns.tolist() == [0 + 1 + 2, 3 + 4 + 5 + 6]


@pytest.mark.parametrize("lengths", [(3, 4), (1, 1), (1000, 1, 2000)])
def test_what_is_written_is_read_again(tmp_path: Path, lengths: tuple[int, ...]) -> None:
    written = made_transitions(lengths, terminated=(lengths[0] - 1,))
    write_d4rl(tmp_path / "ours.hdf5", written, {"environment": "Hopper-v5", "seed": 3, "mean_return": 1.5})
    assert_equal(read_d4rl(tmp_path / "ours.hdf5", HOPPER), written)
    with h5py.File(tmp_path / "ours.hdf5") as file:
        assert set(file) == {"observations", "actions", "rewards", "next_observations", "terminals", "timeouts"}
        assert dict(file.attrs) == {"environment": "Hopper-v5", "seed": 3, "mean_return": 1.5}
        assert all(file[name].compression == "gzip" and file[name].shuffle for name in file)


def test_writing_overwrites_only_by_force_and_leaves_nothing_half_done(tmp_path: Path) -> None:
    path = tmp_path / "ours.hdf5"
    with pytest.raises(TypeError):
        write_d4rl(path, made_transitions(), {"bad": object()})
    assert not list(tmp_path.iterdir())
    write_d4rl(path, made_transitions(), {})
    with pytest.raises(FileExistsAlreadyError):
        write_d4rl(path, made_transitions((2, 2)), {})
    write_d4rl(path, made_transitions((2, 2), terminated=()), {}, force=True)
    assert len(read_d4rl(path, HOPPER)) == 4
    assert list(tmp_path.iterdir()) == [path]


@pytest.mark.parametrize(
    "change",
    [
        {"truncated": flags(7)},
        {"truncated": flags(7, 2, 6)},
        {"truncated": flags(7, 4, 6)},
        {"episode_starts": np.array([0, 4])},
    ],
)
def test_episodes_that_could_not_be_told_apart_again_are_not_written(tmp_path: Path, change: dict[str, Any]) -> None:
    with pytest.raises(DataError, match="the last row of each episode"):
        write_d4rl(tmp_path / "ours.hdf5", replace(made_transitions(), **change), {})
    assert not list(tmp_path.iterdir())


def read_mutated(directory: Path) -> tuple[int, int]:
    """How many damaged files were read and how many refused. Ours are checksummed: what is read of them must be what was written."""
    resource.setrlimit(resource.RLIMIT_AS, (MEMORY_BYTES, MEMORY_BYTES))
    written = made_transitions((100, 1, 200), terminated=(99,))
    write_d4rl(directory / "ours.hdf5", written, {"seed": 1})
    write(directory / "plain.hdf5", made_columns(300, next_observations=np.ones((300, 11))))
    originals = [(directory / name).read_bytes() for name in ("ours.hdf5", "plain.hdf5")]
    rng, path, read, refused = np.random.default_rng(0), directory / "mutated.hdf5", 0, 0
    for number in range(MUTANTS):
        path.write_bytes(mutated(originals[number % 2], rng))
        try:
            found = read_d4rl(path, HOPPER)
        except DataError as error:
            assert "\n" not in str(error), error
            refused += 1
            continue
        read += 1
        if number % 2 == 0:
            assert_equal(found, written)
        assert np.isfinite(found.observations).all()
    return read, refused


def test_damaged_files_are_read_or_refused_in_one_line(tmp_path: Path, root: Path) -> None:
    """In a process of its own, which may not grow and has to live to the end."""
    command = [sys.executable, "-m", "tests.d4rl_bench.test_d4rl_file", str(tmp_path)]
    done = subprocess.run(command, cwd=root, capture_output=True, text=True, timeout=100, check=False)
    assert done.returncode == 0, done.stderr[-2000:]
    read, refused = map(int, done.stdout.split())
    assert read + refused == MUTANTS
    assert refused > MUTANTS / 4


if __name__ == "__main__":
    print(*read_mutated(Path(sys.argv[1])))
