"""Files and directories that are to be filled, or read."""

from __future__ import annotations

import errno
import math
import os
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from common import files
from common.errors import QuadloopError
from common.files import FileExistsAlreadyError, files_below, refuse_to_fill, whole_or_absent, write_bytes, write_json

NOBODY = 65534


@contextmanager
def without_rights(closed: Path) -> Iterator[None]:
    """Inside, this process may not look into `closed`, not even as root."""
    closed.chmod(0)
    root = os.geteuid()
    if root == 0:
        os.seteuid(NOBODY)
    try:
        yield
    finally:
        if root == 0:
            os.seteuid(root)
        closed.chmod(0o755)


@pytest.fixture
def everybodys() -> Iterator[Path]:
    """A directory that anybody may enter, unlike pytest's own."""
    with tempfile.TemporaryDirectory() as name:
        Path(name).chmod(0o755)
        yield Path(name)


def test_a_directory_that_is_new_or_holds_other_files_can_be_filled(tmp_path: Path) -> None:
    (tmp_path / "thesis.txt").write_text("")
    refuse_to_fill(tmp_path, ["index.html"], force=False)
    refuse_to_fill(tmp_path / "a" / "b", ["index.html"], force=False)


def test_what_is_there_is_overwritten_only_if_that_is_asked_for(tmp_path: Path) -> None:
    (tmp_path / "index.html").write_text("")
    refuse_to_fill(tmp_path, ["index.html"], force=True)
    with pytest.raises(FileExistsAlreadyError, match=r"index\.html exists; choose another --out or add --force"):
        refuse_to_fill(tmp_path, ["result.json", "index.html"], force=False)


@pytest.mark.parametrize("below", [".", "a", "a/b"])
@pytest.mark.parametrize("force", [False, True])
def test_a_file_is_no_directory_and_nothing_fits_below_it(tmp_path: Path, below: str, force: bool) -> None:
    (tmp_path / "out").write_text("years of work")
    with pytest.raises(FileExistsAlreadyError, match=f"{tmp_path / 'out'} is a file"):
        refuse_to_fill(tmp_path / "out" / below, ["index.html"], force)


def test_linked_folders_are_gone_into_once(tmp_path: Path) -> None:
    for name in ("all/b/2.hdf5", "all/b/1.hdf5", "elsewhere/3.hdf5", "all/notes.txt"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).touch()
    (tmp_path / "all" / "a").symlink_to(tmp_path / "elsewhere")
    (tmp_path / "all" / "c").symlink_to(tmp_path / "elsewhere")
    (tmp_path / "all" / "b" / "up").symlink_to(tmp_path / "all")
    (tmp_path / "all" / "gone").symlink_to(tmp_path / "nowhere")
    found = [path.relative_to(tmp_path / "all").as_posix() for path in files_below(tmp_path / "all", ".hdf5")]
    assert found == ["a/3.hdf5", "b/1.hdf5", "b/2.hdf5"]


def test_a_folder_that_may_not_be_entered_is_named_and_not_passed_over(everybodys: Path) -> None:
    for name in ("a", "b"):
        (everybodys / name).mkdir()
        (everybodys / name / "1.hdf5").touch()
    with without_rights(everybodys / "b"), pytest.raises(PermissionError) as error:
        files_below(everybodys, ".hdf5")
    assert error.value.filename == str(everybodys / "b")
    assert len(files_below(everybodys, ".hdf5")) == 2


def test_a_link_to_a_file_that_is_not_there_is_named_and_not_passed_over(tmp_path: Path) -> None:
    (tmp_path / "1.hdf5").touch()
    (tmp_path / "2.hdf5").symlink_to(tmp_path / "an unmounted disk" / "2.hdf5")
    with pytest.raises(FileNotFoundError, match="is a link to a file that is not there; mend or remove it") as error:
        files_below(tmp_path, ".hdf5")
    assert error.value.filename == str(tmp_path / "2.hdf5")


def test_a_directory_that_may_not_be_written_to_is_refused_before_the_work(everybodys: Path) -> None:
    (everybodys / "out").mkdir()
    with without_rights(everybodys / "out"), pytest.raises(QuadloopError, match="out may not be written to; choose another --out"):
        refuse_to_fill(everybodys / "out", ["index.html"], force=False)


def test_a_file_is_on_the_disk_before_it_has_its_name_and_so_is_the_name_in_the_end(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    done: list[tuple[str, str]] = []
    replace = os.replace

    def renamed(old: Path, new: Path) -> None:
        done.append(("named", new.name))
        replace(old, new)

    monkeypatch.setattr(files, "sync", lambda path: done.append(("synced", path.name)))
    monkeypatch.setattr(os, "replace", renamed)
    write_bytes(tmp_path / "log.hdf5", b"rows")
    assert done == [("synced", f".log.hdf5.{os.getpid()}.tmp"), ("named", "log.hdf5"), ("synced", tmp_path.name)]


@pytest.mark.parametrize("value", [math.nan, math.inf])
def test_what_json_does_not_know_is_refused_and_leaves_no_file(tmp_path: Path, value: float) -> None:
    with pytest.raises(ValueError, match="not JSON compliant"):
        write_json(tmp_path / "result.json", {"mean": [1.0, value]})
    assert list(tmp_path.iterdir()) == []


def test_an_error_of_the_system_names_the_file_that_was_wanted(tmp_path: Path) -> None:
    with pytest.raises(OSError, match="No space left on device") as error, whole_or_absent(tmp_path / "log.hdf5") as temporary:
        temporary.touch()
        raise OSError(errno.ENOSPC, "a library's own words, over several lines")
    assert error.value.filename == str(tmp_path / "log.hdf5") and error.value.strerror == os.strerror(errno.ENOSPC)
    with pytest.raises(FileNotFoundError) as missing, whole_or_absent(tmp_path / "log.hdf5"):
        (tmp_path / "other").read_bytes()
    assert missing.value.filename == str(tmp_path / "other")
    assert list(tmp_path.iterdir()) == []
