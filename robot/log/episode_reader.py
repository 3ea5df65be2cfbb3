"""Reading an episode log that may be damaged, unfinished or hostile: everything is checked before it is read."""

from __future__ import annotations

import math
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import h5py
import numpy as np
from numpy.typing import NDArray

from common.errors import QuadloopError
from common.hdf5_arrays import check_chunks, stored_here
from robot.log.episode import END_UNKNOWN, SCHEMA_VERSION, Episode, EpisodeAttributes
from robot.log.episode_fields import (
    FIELDS,
    FINAL_OBSERVATION,
    ROW,
    EpisodeField,
    EpisodeLogError,
    NoWholeStepError,
    UnreadableFileError,
    check_episode,
    check_length,
)
from robot.log.hdf5_image import open_image

FORMAT = "quadloop episode log"  # attribute `format`
STEPS = "steps"  # the one dataset of an unfinished log: rows of all fields
MAX_BYTES = 512 * 2**20  # MAX_STEPS rows and some
_MAX_TEXT_BYTES = 2**20
_NO_WHOLE_STEP = "the unfinished log holds no whole step; leave it out"
_MAX_CHUNK_BYTES = 2**22
_CHECKSUM = h5py.h5z.FILTER_FLETCHER32


def read_episode(path: Path) -> Episode:
    """Read a finished `.hdf5` log or what there is of a `.hdf5.part`; EpisodeLogError names the file and what is wrong.

    Of an unfinished log the last row lacks the observation that followed it, so it gives its own observation as
    `final_observation` and is dropped: every row returned is a whole transition. The last one left is `truncated` and the episode
    `ended` "unknown". A last row that is `terminated` needs no successor and stays.
    """
    with damage_named(path), open_image(path, MAX_BYTES) as file:
        return _unfinished(file) if STEPS in file else _finished(file)


def is_episode_log(path: Path) -> bool:
    """Whether the file says that it is one of ours, be it damaged or not."""
    try:
        with open_image(path, MAX_BYTES) as file:
            return "format" in file.attrs and _text(file, "format") == FORMAT
    except Exception:  # of another kind, or damaged in one of many ways
        return False


@contextmanager
def damage_named(path: Path) -> Iterator[None]:
    """Turn whatever goes wrong inside into one EpisodeLogError line that names `path`."""
    try:
        yield
    except QuadloopError as error:
        kind = type(error) if isinstance(error, EpisodeLogError) else EpisodeLogError
        raise kind(f"{path}: {error}") from error
    except OSError as error:
        if "truncated file" in str(error):  # the HDF5 library's words
            raise UnreadableFileError(f"{path}: cut short; copy it again, or move it out of the folder") from error
        if error.strerror:
            raise UnreadableFileError(f"{path}: cannot be read or written ({error.strerror})") from error
        raise EpisodeLogError(_damaged(path, error)) from error
    except Exception as error:  # the HDF5 library answers damage with errors of almost any type
        raise EpisodeLogError(_damaged(path, error)) from error


def _damaged(path: Path, error: Exception) -> str:
    first_line = (str(error).splitlines() or [type(error).__name__])[0][:200]
    return f"{path}: damaged, or not an episode log ({first_line}); leave the log out"


def _finished(file: h5py.File) -> Episode:
    attributes, missing = _attributes(file)
    expected = {field.name for field in FIELDS} | {FINAL_OBSERVATION.name}
    if len(file) != len(expected) or set(file) != expected:
        raise EpisodeLogError("the file does not hold exactly the datasets of an episode")
    steps = _steps(_dataset(file, "actions"))
    columns = {field.name: _column(file, field, (steps, *field.shape)) for field in FIELDS}
    final_observation = _column(file, FINAL_OBSERVATION, FINAL_OBSERVATION.shape)
    episode = Episode(attributes, final_observation=final_observation, missing=missing, **columns)
    check_episode(episode)
    return episode


def _unfinished(file: h5py.File) -> Episode:
    attributes, missing = _attributes(file)
    dataset = _dataset(file, STEPS)
    if dataset.shape == (0,):
        raise NoWholeStepError(_NO_WHOLE_STEP)
    _steps(dataset)
    if dataset.dtype != ROW or len(dataset.shape) != 1:
        raise EpisodeLogError(f"the dataset '{STEPS}' does not hold the rows of an episode; leave the log out")
    rows = _values(dataset)
    final_observation = rows["observations"][-1].copy()
    if not rows["terminated"][-1]:
        rows = rows[:-1]
    if not len(rows):
        raise NoWholeStepError(_NO_WHOLE_STEP)
    rows["truncated"][-1] = not rows["terminated"][-1]
    episode = episode_of_rows(replace(attributes, ended=END_UNKNOWN), rows, final_observation, missing)
    check_episode(episode)
    return episode


def episode_of_rows(attributes: EpisodeAttributes, rows: NDArray[np.void], final_observation: Any, missing: tuple[str, ...]) -> Episode:
    """The episode of rows (T,) of dtype ROW."""
    columns: dict[str, Any] = {field.name: np.ascontiguousarray(rows[field.name]) for field in FIELDS}
    return Episode(attributes, final_observation=np.asarray(final_observation, dtype=np.float32), missing=missing, **columns)


def _attributes(file: h5py.File) -> tuple[EpisodeAttributes, tuple[str, ...]]:
    if "format" not in file.attrs or _text(file, "format") != FORMAT:
        raise EpisodeLogError("not an episode log; a log released with Uni-O4 becomes one by quadloop import")
    version = int(_scalar(file, "schema_version", "iu"))
    if version > SCHEMA_VERSION:
        raise EpisodeLogError(f"schema version {version} is newer than the {SCHEMA_VERSION} that this quadloop reads; update quadloop")
    attributes = EpisodeAttributes(
        robot=_text(file, "robot"),
        policy_sha256=_text(file, "policy_sha256"),
        control_dt_s=float(_scalar(file, "control_dt_s", "f")),
        layout_json=_text(file, "layout_json"),
        config_json=_text(file, "config_json"),
        session=_text(file, "session"),
        source=_text(file, "source"),
        ended=_text(file, "ended"),
        velocity_source=_text(file, "velocity_source"),
        schema_version=version,
    )
    return attributes, tuple(_text(file, "missing").split())


def _scalar(file: h5py.File, name: str, kinds: str) -> Any:
    """A scalar attribute of one of numpy's dtype `kinds`, looked at before it is read."""
    if name not in file.attrs:
        raise EpisodeLogError(f"the attribute '{name}' is missing")
    attribute = file.attrs.get_id(name)
    if attribute.shape != () or attribute.dtype.kind not in kinds or attribute.dtype.itemsize > _MAX_TEXT_BYTES:
        raise EpisodeLogError(f"the attribute '{name}' has the wrong type")
    return file.attrs[name]


def _text(file: h5py.File, name: str) -> str:
    return bytes(_scalar(file, name, "S")).decode()


def _dataset(file: h5py.File, name: str) -> h5py.Dataset:
    """The dataset `name`, if its values lie in this file and are of a size that may be read."""
    dataset = stored_here(file, name, EpisodeLogError)
    if not isinstance(dataset, h5py.Dataset):
        raise EpisodeLogError(f"'{name}' is not a dataset")
    if dataset.dtype.hasobject:
        raise EpisodeLogError(f"'{name}' holds values of variable size or references")
    creation = dataset.id.get_create_plist()
    if any(creation.get_filter(index)[0] != _CHECKSUM for index in range(creation.get_nfilters())):
        raise EpisodeLogError(f"'{name}' is compressed; episode logs are not")
    check_chunks(dataset, name, _MAX_CHUNK_BYTES, EpisodeLogError)
    return dataset


def _steps(dataset: h5py.Dataset) -> int:
    steps = dataset.shape[0] if dataset.shape else 0
    check_length(steps)
    return int(steps)


def _column(file: h5py.File, field: EpisodeField, shape: tuple[int, ...]) -> Any:
    dataset = _dataset(file, field.name)
    if dataset.shape != shape or dataset.dtype != field.dtype:
        raise EpisodeLogError(f"{field.name} is {dataset.dtype} {dataset.shape}, not {field.dtype} {shape}")
    return _values(dataset)


def _values(dataset: h5py.Dataset) -> Any:
    """All values, of which no more than a chunk may never have been written: a small file could claim any number of them.

    A boolean stored as anything but 0 or 1 would be undefined in numpy.
    """
    chunk = math.prod(dataset.chunks or ())
    if dataset.id.get_storage_size() < (dataset.size - chunk) * dataset.dtype.itemsize:
        raise EpisodeLogError(f"'{dataset.name.strip('/')}' claims more values than the file holds")
    values = dataset[()]
    names = values.dtype.names or (None,)
    for name in names:
        column = values if name is None else values[name]
        if column.dtype == np.bool_ and (np.ascontiguousarray(column).view(np.uint8) > 1).any():
            raise EpisodeLogError(f"'{name or dataset.name}' holds booleans that are neither true nor false")
    return values
