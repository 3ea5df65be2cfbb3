"""Any log that there is, as episodes: ours as they are, a released recording as `quadloop import` would write it."""

from __future__ import annotations

from pathlib import Path

from offline_finetune.released.episodes import episode_of, walking_stretches
from offline_finetune.released.file import ReleasedFileError
from offline_finetune.released.logs import session_of
from offline_finetune.released.recordings import read_recording
from robot.log.episode import Episode
from robot.log.episode_fields import UnreadableFileError
from robot.log.episode_log import EpisodeLogError, list_episodes, list_unfinished, read_episode
from robot.log.episode_reader import is_episode_log


def read_log(path: Path, source: Path | None = None) -> list[Episode]:
    """The episodes in an episode log (one) or a released recording (one for each time the robot walked).

    A recording does not know its session: it is named as an import of `source` would, the log itself or a directory that it lies below.
    EpisodeLogError names the file and why it is neither, or that nobody walks in it.
    """
    if path.is_dir():
        raise EpisodeLogError(f"{path} is a directory; give one log (.hdf5)")
    try:
        return [read_episode(path)]
    except UnreadableFileError:
        raise
    except EpisodeLogError as ours:
        if is_episode_log(path) or path.suffix == ".part":  # which only our own writer makes
            raise
        try:
            recording = read_recording(path)
        except ReleasedFileError as theirs:
            raise EpisodeLogError(f"{theirs}; nor an episode log: {str(ours).removeprefix(f'{path}: ')}") from None
    stretches = walking_stretches(recording.gravity_b)
    if not stretches:
        raise EpisodeLogError(f"{path}: a released recording in which the robot never walks")
    session = session_of(path, path.parent if source in (None, path) else source)
    return [episode_of(recording, stretch, session) for stretch in stretches]


def logs_below(source: Path) -> list[Path]:
    """`source` itself, or every finished (.hdf5) and unfinished (.hdf5.part) log below that directory, sorted."""
    if not source.is_dir():
        return [source]
    paths = sorted([*list_episodes(source), *list_unfinished(source)])
    if not paths:
        raise EpisodeLogError(f"{source}: no log (.hdf5) in this folder or below")
    return paths
