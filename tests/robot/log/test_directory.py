"""Where logs go, tried before a robot moves."""

import resource

import pytest

from common.files import FileExistsAlreadyError
from robot.log.directory import PLAIN_NAME, new_log_directory, try_to_record
from robot.log.episode_fields import EpisodeLogError


def test_it_stays_if_something_was_logged_and_goes_if_nothing_was(tmp_path):
    for name, logged in (("empty", False), ("filled", True)):
        with new_log_directory(tmp_path / "logs" / name, "--session") as directory:
            assert list(directory.iterdir()) == []
            if logged:
                (directory / "episode_0000.hdf5").touch()
        assert (tmp_path / "logs").exists() is logged  # made for it, and gone with it
    assert [path.name for path in (tmp_path / "logs").iterdir()] == ["filled"]


def test_one_that_exists_is_left_alone(tmp_path):
    with pytest.raises(FileExistsAlreadyError, match=r" exists; choose another --session$"), new_log_directory(tmp_path, "--session"):
        pass
    assert tmp_path.is_dir()


@pytest.mark.parametrize(("name", "why"), [("text.txt/logs", "Not a directory"), ("x" * 300, "File name too long")])
def test_what_cannot_be_made_is_refused(tmp_path, name, why):
    (tmp_path / "text.txt").touch()
    with pytest.raises(EpisodeLogError, match=rf" cannot hold logs \({why}\); choose another --out$"):
        new_log_directory(tmp_path / name, "--out").__enter__()


def test_a_disk_that_takes_a_directory_and_no_file_is_refused(tmp_path):
    """A limit on the size of files needs no privileges, unlike a full disk."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (0, hard))
    try:
        with pytest.raises(EpisodeLogError, match=r" cannot hold logs \(File too large\)"):
            new_log_directory(tmp_path / "logs", "--out").__enter__()
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert list(tmp_path.iterdir()) == []


def test_a_directory_for_many_sittings_is_made_once_and_tried_each_time(tmp_path):
    for _ in range(2):
        try_to_record(tmp_path / "all" / "logs", "record_dir")
        assert list((tmp_path / "all" / "logs").iterdir()) == []
    (tmp_path / "text.txt").touch()
    with pytest.raises(EpisodeLogError, match=r"text\.txt cannot hold logs \(.*\); choose another record_dir$"):
        try_to_record(tmp_path / "text.txt", "record_dir")


@pytest.mark.parametrize(("name", "plain"), [("", True), ("wet grass 2", True), ("..2", True), (".", False), ("..", False), ("../x", False),
                                             ("/x", False), ("x/", False), ("a\0b", False), ("a\nb", False)])  # fmt: skip
def test_a_plain_name(name, plain):
    assert PLAIN_NAME.holds(name) is plain
