"""Files and directories that are to be filled, or read."""

from __future__ import annotations

from pathlib import Path

import pytest

from common.files import FileExistsAlreadyError, files_below, refuse_to_fill


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
