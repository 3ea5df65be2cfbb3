"""The released logs of a real Go1 (`<session>/<start>.hdf5`) as episode logs with rewards and with the falls marked."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from pathlib import Path

from offline_finetune.released_episodes import dropped_rows, episode_of, walking_stretches
from offline_finetune.released_file import ReleasedFileError
from offline_finetune.released_recordings import read_recording
from robot.episode_log import write_episode


@dataclass(frozen=True)
class ImportReport:
    """What became of the released rows: `steps` counts every row read, `dropped` those of them that are in no episode, by reason."""

    episodes: int
    steps: int
    falls: int
    dropped: dict[str, int]


def import_logs(log_dir: Path, out_dir: Path, force: bool = False) -> ImportReport:
    """Write every released file under `log_dir` as episode logs `<out_dir>/<session>/<start>[-k].hdf5`.

    All files are read and checked before the first is written: ReleasedFileError names the one that is wrong.
    FileExistsAlreadyError if an episode log exists and `force` is not set.
    """
    paths = sorted(log_dir.rglob("*.hdf5"))
    if not paths:
        raise ReleasedFileError(f"{log_dir}: no .hdf5 file in this folder or below")
    recordings = [read_recording(path) for path in paths]
    episodes = falls = 0
    dropped: Counter[str] = Counter()
    for path, recording in zip(paths, recordings, strict=True):
        session = path.parent.name
        stretches = walking_stretches(recording.gravity_b)
        for number, stretch in enumerate(stretches):
            name = f"{path.stem}-{number}.hdf5" if number else f"{path.stem}.hdf5"
            write_episode(out_dir / session / name, episode_of(recording, stretch, session), force=force)
        episodes += len(stretches)
        falls += sum(stretch.fell for stretch in stretches)
        dropped += dropped_rows(stretches, len(recording))
    return ImportReport(episodes, sum(map(len, recordings)), falls, dict(dropped))
