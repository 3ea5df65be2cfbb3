"""The episode log: one HDF5 file an episode, written row by row while the robot runs and readable whatever kills the writer.

While it is written the file is `NAME.hdf5.part` and holds one dataset `steps`, a row a control step with every field by name,
appended under SWMR (single writer, multiple readers) and flushed every second row, or every row; what was flushed survives kill -9. `close`
turns the rows into `NAME.hdf5`, which holds one checksummed dataset a field and the episode's attributes, whole or not at all,
and removes the `.part`.

Why two shapes: appending to 25 datasets and flushing them takes 0.23 ms a row, to one dataset of rows 0.05 ms
(measured: HDF5 2.0, two rows a flush, 2-core machine), and the control loop has 20 ms for everything. Flushing is
not fsync: a power cut can lose more of a `.part` than a killed process; a finished log was synced.
Nothing is compressed: 5 MB a minute, and an untrusted file cannot blow up in memory.
"""

from __future__ import annotations

import time
from pathlib import Path

import h5py
import numpy as np
from numpy.typing import NDArray

from common.files import files_below, refuse_to_overwrite
from robot.log.episode import END_FALL, Episode, EpisodeAttributes
from robot.log.episode_fields import (
    FIELDS,
    FINAL_OBSERVATION,
    FINITE,
    MAX_STEPS,
    ROW,
    EpisodeLogError,
    EpisodeStep,
    NoWholeStepError,
    check_attributes,
    check_ended,
    check_episode,
    check_missing,
    what_is_wrong,
)
from robot.log.episode_reader import FORMAT, STEPS, damage_named, episode_of_rows, read_episode
from robot.log.hdf5_image import SUPERBLOCK_BYTES, new_image

__all__ = ["EpisodeLogError", "EpisodeStep", "EpisodeWriter", "list_episodes", "list_unfinished", "read_episode", "write_episode"]

FLUSH_ROWS = 2  # 40 ms at 50 Hz: at most one row waits in memory
_CHUNK_CACHE_BYTES = 2**18  # only the last chunk is written to; HDF5 2.0 would keep 8 MB of them
_PART_CHUNK_ROWS = 16  # a flush rewrites the last chunk whole, 26 kB
_CHUNK_ROWS = 256
IN_THE_MAKING_S = 2.0  # a writer flushes every 40 ms, and closes a log within a second


class EpisodeWriter:
    """Appends one episode to `path` + ".part" and turns it into `path` on `close`.

    As a context manager it never loses rows: leaving without `close`, by an exception or otherwise, keeps the `.part`, which
    `read_episode` reads, and removes it only if it holds no row. `missing` names the floating-point fields that this robot does
    not record (filled with NaN); a row is on its way to the disk once `flush_rows` of them have come.
    """

    def __init__(
        self, path: Path, attributes: EpisodeAttributes, force: bool = False, missing: tuple[str, ...] = (), flush_rows: int = FLUSH_ROWS
    ) -> None:
        """Create the `.part`; EpisodeLogError if that fails or `attributes` are not this robot's.

        FileExistsAlreadyError if either file exists and `force` is not set.
        """
        if path.suffix != ".hdf5":
            raise EpisodeLogError(f"{path}: an episode log's name ends with .hdf5")
        self.path = path
        self.part = path.with_name(path.name + ".part")
        refuse_to_overwrite(path, force)
        refuse_to_overwrite(self.part, force)
        self._attributes, self._missing = attributes, missing
        self._block = np.zeros(flush_rows, dtype=ROW)
        self._finite = tuple((name, self._block[name]) for name in FINITE if name not in missing)
        self._columns = tuple((field, self._block[field.name]) for field in FIELDS)
        self._written, self._buffered = 0, 0
        with damage_named(self.part):
            check_attributes(attributes)
            check_missing(missing)
            path.parent.mkdir(parents=True, exist_ok=True)
            self._file = h5py.File(self.part, "w" if force else "x", libver="latest", rdcc_nbytes=_CHUNK_CACHE_BYTES)
            _write_attributes(self._file, attributes, missing)
            self._steps = self._file.create_dataset(STEPS, (0,), ROW, maxshape=(None,), chunks=(_PART_CHUNK_ROWS,)).id
            self._row_type = self._steps.get_type()  # asking h5py for it on every write costs 0.3 ms
            self._file.swmr_mode = True

    def append(self, step: EpisodeStep) -> None:
        """Add one row; EpisodeLogError if a field has the wrong shape, is not finite or out of its range, and the row is not added."""
        if self._written + self._buffered == MAX_STEPS:
            raise EpisodeLogError(f"{self.part}: {MAX_STEPS:,} steps are the most that one episode holds; close it and start another")
        with np.errstate(over="ignore"):  # what float32 cannot hold becomes infinity and is refused below
            for field, column in self._columns:
                value = getattr(step, field.name)
                shape = getattr(value, "shape", ())  # numpy's own np.shape costs a copy for plain numbers
                if shape != field.shape:
                    raise EpisodeLogError(f"{self.part}: {field.name} has shape {shape}, not {field.shape}")
                column[self._buffered] = value
        for name, column in self._finite:
            if why := what_is_wrong(name, column[self._buffered]):
                raise EpisodeLogError(f"{self.part}: {name} of step {self._written + self._buffered} {why}")
        self._buffered += 1
        if self._buffered == len(self._block):
            self._flush()

    def close(self, ended: str, final_observation: NDArray[np.floating]) -> Path:
        """Finish the episode: write the log whole, synced, and remove the `.part`. Returns the log's path.

        `ended` is one of robot.log.episode's reasons and sets the last row's flags: a fall terminates, the others truncate.
        `final_observation` (5, 58) is what followed the last action. On EpisodeLogError the `.part` stays.
        """
        with damage_named(self.path):
            check_ended(ended)
            self._flush()
            rows = h5py.Dataset(self._steps)[()]
            if not len(rows):
                raise EpisodeLogError("no step was recorded; there is nothing to keep")
            fell = ended == END_FALL
            rows["terminated"][-1], rows["truncated"][-1] = fell, not fell
            attributes = EpisodeAttributes(**(vars(self._attributes) | {"ended": ended}))
            episode = episode_of_rows(attributes, rows, final_observation, self._missing)
        write_episode(self.path, episode, force=True)  # the constructor asked
        self._file.close()
        self.part.unlink(missing_ok=True)  # somebody may have deleted the directory; the log has brought it back
        return self.path

    def _flush(self) -> None:
        count, start = self._buffered, self._written
        if not count:
            return
        with damage_named(self.part):
            self._steps.set_extent((start + count,))
            target = self._steps.get_space()
            target.select_hyperslab((start,), (count,))
            self._steps.write(h5py.h5s.create_simple((count,)), target, self._block[:count], mtype=self._row_type)
            self._steps.flush()
        self._written, self._buffered = start + count, 0

    def __enter__(self) -> EpisodeWriter:
        return self

    def __exit__(self, *_: object) -> None:
        if self._file:  # still open
            self._flush()
            self._file.close()
            if not self._written:
                self.part.unlink(missing_ok=True)


def write_episode(path: Path, episode: Episode, force: bool = False) -> Path:
    """Write a whole episode to `path`, or nothing; EpisodeLogError if it breaks its contract or the disk refuses.

    Layout: one dataset a field, named as in robot.log.episode.Episode, with a checksum a chunk; the episode's attributes, `missing`
    (names separated by spaces) and `format` as attributes of the root.
    """
    refuse_to_overwrite(path, force)
    with damage_named(path):
        check_episode(episode)
        with new_image(path, libver="latest") as file:
            _write_attributes(file, episode.attributes, episode.missing)
            for field in (*FIELDS, FINAL_OBSERVATION):
                values = getattr(episode, field.name)
                chunks = (min(len(values), _CHUNK_ROWS), *values.shape[1:])
                file.create_dataset(field.name, data=values, dtype=field.dtype, chunks=chunks, fletcher32=True)
    return path


def list_episodes(directory: Path, unfinished: bool = False) -> list[Path]:
    """Finished logs below `directory`, sorted; EpisodeLogError if there is no such directory.

    With `unfinished` also those of `list_unfinished` that hold a whole step; EpisodeLogError for one that is damaged, unless somebody has
    just written to it: a log in the making may look damaged, and is soon gone.
    """
    parts = [path for path in list_unfinished(directory) if _has_a_step(path)] if unfinished else []
    return sorted([*_files_below(directory, ".hdf5"), *parts])


def list_unfinished(directory: Path) -> list[Path]:
    """Logs below `directory` (`.hdf5.part`) that were begun and never finished, sorted; EpisodeLogError if there is no such directory.

    A `.part` beside its finished log is none: its writer died between writing the one and removing the other.
    """
    return sorted(path for path in _files_below(directory, ".hdf5.part") if not path.with_suffix("").exists())


def _files_below(directory: Path, ending: str) -> list[Path]:
    if not directory.is_dir():
        what = "a file; give its directory" if directory.exists() else "no such directory"
        raise EpisodeLogError(f"{directory}: {what}")
    return files_below(directory, ending)


def _has_a_step(path: Path) -> bool:
    try:
        read_episode(path)
    except NoWholeStepError:
        return False
    except EpisodeLogError:
        if _is_begun(path):
            return False
        raise
    return True


def _is_begun(path: Path) -> bool:
    """Whether an unfinished log that cannot be read is in the making, was finished meanwhile, or ends with what every file begins with."""
    try:
        found = path.stat()
    except FileNotFoundError:
        return True
    return found.st_size <= SUPERBLOCK_BYTES or time.time() - found.st_mtime < IN_THE_MAKING_S


def _write_attributes(file: h5py.File, attributes: EpisodeAttributes, missing: tuple[str, ...]) -> None:
    """Texts of fixed length: a reader knows their size before it reads them."""
    for name, value in (vars(attributes) | {"format": FORMAT, "missing": " ".join(missing)}).items():
        if isinstance(value, str):
            encoded = value.encode()
            file.attrs.create(name, encoded, dtype=h5py.string_dtype("utf-8", max(1, len(encoded))))
        else:
            file.attrs[name] = value
