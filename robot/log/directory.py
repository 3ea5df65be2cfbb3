"""Where the logs of a sitting go: made and tried before a robot moves."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from common.checks import Rule
from common.files import FileExistsAlreadyError
from robot.log.episode_fields import MAX_NAME, EpisodeLogError

PLAIN_NAME = Rule(
    f"a plain name of at most {MAX_NAME} characters, without / and neither . nor ..",
    lambda name: name.isprintable() and len(name) <= MAX_NAME and "/" not in name and name not in (".", ".."),
)
"""What a session may be called: its logs are a folder of that name. It may be empty, which stands for date and time."""

NOTES = Rule("at most 4,000 characters long", lambda notes: len(notes) <= 4000)
"""What a log keeps of the operator's: at most 48 kB as JSON, of the 64 kB that the attributes of a log may take."""


@contextmanager
def new_log_directory(directory: Path, flag: str) -> Iterator[Path]:
    """Make `directory`, in which files can be written. If it is still empty at the end it is removed, with the parents made for it.

    FileExistsAlreadyError, which asks for another `flag`, if it exists; EpisodeLogError, for another --out, if it cannot hold logs.
    """
    try:
        if directory.exists():
            raise FileExistsAlreadyError(f"{directory} exists; choose another {flag}")
        made = [directory, *(parent for parent in directory.parents if not parent.exists())]
        directory.mkdir(parents=True)
    except OSError as error:
        raise _cannot_hold(directory, "--out", error) from error
    try:
        try_to_record(directory, "--out")
        yield directory
    finally:
        with suppress(OSError):  # it is not empty
            for each in made:
                each.rmdir()


def try_to_record(directory: Path, flag: str) -> None:
    """Make `directory` where there is none, and write in it; EpisodeLogError, which asks for another `flag`, where it cannot hold logs.

    A disk may be full, or a quota used up, although it takes another directory.
    """
    try:
        directory.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=directory) as file:
            file.write(bytes(1))
    except OSError as error:
        raise _cannot_hold(directory, flag, error) from error


def _cannot_hold(directory: Path, flag: str, error: OSError) -> EpisodeLogError:
    return EpisodeLogError(f"{directory} cannot hold logs ({error.strerror}); choose another {flag}")
