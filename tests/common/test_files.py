"""Files and directories that are to be filled."""

from __future__ import annotations

from pathlib import Path

import pytest

from common.files import FileExistsAlreadyError, refuse_to_fill


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
