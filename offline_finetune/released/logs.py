"""The released logs of a real Go1 (`<session>/<start>.hdf5`) as episode logs with rewards and with the falls marked."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from pathlib import Path

from common.files import files_below, refuse_to_overwrite
from offline_finetune.released.episodes import Stretch, dropped_rows, episode_of, walking_stretches
from offline_finetune.released.file import ReleasedFileError
from offline_finetune.released.recordings import Recording, read_recording
from robot.log.directory import PLAIN_NAME
from robot.log.episode_log import write_episode
from robot.log.episode_reader import is_episode_log


@dataclass(frozen=True)
class ImportReport:
    """What became of the released rows: `steps` counts every row read, `dropped` those of them that are in no episode, by reason."""

    episodes: int
    steps: int
    falls: int
    dropped: dict[str, int]
    velocity_glitches: int  # steps of the episodes whose reward lacks a measured velocity; a data set leaves them out


@dataclass(frozen=True)
class _Log:
    """One released file and where its episodes go."""

    source: Path
    session: str
    recording: Recording
    stretches: list[Stretch]
    targets: list[Path]  # one a stretch


def import_logs(source: Path, out_dir: Path, force: bool = False) -> ImportReport:
    """Write the released file `source`, or every one below that directory, as episode logs `<out_dir>/<session>/<start>[-k].hdf5`.

    The session is the file's directory below `source`, its parts joined by "-", or the name of `source` for files right in it.
    Everything is read and checked before the first log is written: ReleasedFileError names the file that is wrong, one that a log would
    take the place of, or two that would become the same log, and `source` if the robot walks in none. FileExistsAlreadyError if an
    episode log exists and `force` is not set.
    """
    logs = [_read(path, directory, out_dir) for directory, path in _released_files(source)]
    if not any(log.stretches for log in logs):
        raise ReleasedFileError(f"{source}: no released recording in which the robot walks; there is nothing to import")
    _check_targets(logs, force)
    dropped: Counter[str] = Counter()
    falls = glitches = 0
    for log in logs:
        for stretch, target in zip(log.stretches, log.targets, strict=True):
            episode = episode_of(log.recording, stretch, log.session)
            write_episode(target, episode, force=force)
            glitches += int((~episode.reward_measured).sum())
            falls += stretch.fell
        dropped += dropped_rows(log.stretches, len(log.recording))
    return ImportReport(sum(len(log.targets) for log in logs), sum(len(log.recording) for log in logs), falls, dict(dropped), glitches)


def session_of(path: Path, directory: Path) -> str:
    """What a recording's session is called: its directory below `directory`, the parts joined by "-", or the name of `directory` itself."""
    return "-".join(path.parent.relative_to(directory).parts) or directory.resolve().name  # "." has no name


def _released_files(source: Path) -> list[tuple[Path, Path]]:
    """The directory that sessions are named in, and a file, for each file of `source`."""
    if not source.is_dir():
        return [(source.parent, source)]
    paths = files_below(source, ".hdf5")
    if not paths:
        raise ReleasedFileError(f"{source}: no .hdf5 file in this folder or below")
    return [(source, path) for path in paths]


def _read(path: Path, directory: Path, out_dir: Path) -> _Log:
    session = session_of(path, directory)
    if not PLAIN_NAME.holds(session):
        raise ReleasedFileError(f"{path}: its folders make the session's name {session[:40]!r}; it must be {PLAIN_NAME.words}")
    try:
        recording = read_recording(path)
    except ReleasedFileError:
        if is_episode_log(path):
            raise ReleasedFileError(f"{path} is an episode log already; it needs no import") from None
        raise
    stretches = walking_stretches(recording.gravity_b)
    names = [f"{path.stem}-{number}.hdf5" if number else f"{path.stem}.hdf5" for number in range(len(stretches))]
    return _Log(path, session, recording, stretches, [out_dir / session / name for name in names])


def _check_targets(logs: list[_Log], force: bool) -> None:
    """Refuse a target that is a recording itself, that two files claim or, unless `force`, that exists."""
    recordings = {log.source.resolve() for log in logs}
    sources: dict[Path, Path] = {}
    for log in logs:
        for target in log.targets:
            if target.resolve() in recordings:
                raise ReleasedFileError(f"{target} is one of the recordings, and its log would take its place; choose another --out")
            if target in sources:
                raise ReleasedFileError(f"{log.source} and {sources[target]} would both become {target}; rename one of them")
            sources[target] = log.source
            refuse_to_overwrite(target, force)
