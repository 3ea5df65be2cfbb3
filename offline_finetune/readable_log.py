"""Any log that there is, as episodes: ours as they are, a released recording as `quadloop import` would write it."""

from __future__ import annotations

from pathlib import Path

from offline_finetune.released_episodes import episode_of, walking_stretches
from offline_finetune.released_file import ReleasedFileError
from offline_finetune.released_recordings import read_recording
from robot.episode import Episode
from robot.episode_log import EpisodeLogError, read_episode


def read_log(path: Path) -> list[Episode]:
    """The episodes in an episode log (one) or a released recording (one for each time the robot walked).

    EpisodeLogError names the file and why it is neither.
    """
    try:
        return [read_episode(path)]
    except EpisodeLogError as ours:
        try:
            recording = read_recording(path)
        except ReleasedFileError:
            raise ours from None
    return [episode_of(recording, stretch, path.parent.name) for stretch in walking_stretches(recording.gravity_b)]


def logs_below(source: Path) -> list[Path]:
    """`source` itself, or every finished (.hdf5) and unfinished (.hdf5.part) log below that directory, sorted."""
    if not source.is_dir():
        return [source]
    paths = sorted(path for pattern in ("*.hdf5", "*.hdf5.part") for path in source.rglob(pattern) if path.is_file())
    if not paths:
        raise EpisodeLogError(f"{source}: no log (.hdf5) in this folder or below")
    return paths
