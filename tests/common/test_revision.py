"""Which code made a file."""

import subprocess
from pathlib import Path

from common.revision import git_revision, revision_of


def git(folder: Path, *arguments: str) -> str:
    identity = ["-c", "user.name=t", "-c", "user.email=t@example.org"]
    return subprocess.run(["git", "-C", folder, *identity, *arguments], capture_output=True, text=True, check=True).stdout.strip()


def test_revision_and_changes(tmp_path: Path) -> None:
    file = tmp_path / "code.py"
    file.write_text("1")
    assert revision_of(file) == "unknown"
    git(tmp_path, "init")
    assert revision_of(file) == "unknown"
    git(tmp_path, "add", "code.py")
    git(tmp_path, "commit", "-m", "first")
    first = git(tmp_path, "rev-parse", "HEAD")
    assert len(first) == 40
    assert revision_of(file) == first
    file.write_text("2")
    assert revision_of(file) == f"{first}-dirty"


def test_a_copy_inside_another_repository_has_no_revision(tmp_path: Path) -> None:
    git(tmp_path, "init")
    (tmp_path / "other").write_text("")
    git(tmp_path, "add", "other")
    git(tmp_path, "commit", "-m", "not ours")
    copy = tmp_path / "site-packages" / "code.py"
    copy.parent.mkdir()
    copy.write_text("")
    assert revision_of(copy) == "unknown"


def test_our_own_is_one_word() -> None:
    assert len(git_revision().split()) == 1
