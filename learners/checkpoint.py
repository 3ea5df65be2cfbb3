"""Checkpoints: tensors and plain numbers only, loaded with weights_only, written whole or not at all."""

from __future__ import annotations

import io
import zipfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from torch import nn

from common.errors import QuadloopError
from common.files import write_bytes

_MAX_BYTES = 2**31


class CheckpointError(QuadloopError):
    """A checkpoint that cannot be read or does not fit what it is loaded into."""


def save_checkpoint(path: Path, content: dict[str, Any]) -> None:
    """Write tensors, state dicts and plain numbers to `path`: equal content gives equal bytes. OSError names `path`."""
    archive = io.BytesIO()  # in a file torch would name the archive after it, and hide why it could not be written
    torch.save(content, archive)
    write_bytes(path, archive.getvalue())


def load_checkpoint(path: Path) -> dict[str, Any]:
    """Read a checkpoint; CheckpointError if it is missing, too large or holds anything but tensors and plain values."""
    content = _load(path)
    if not isinstance(content, dict):
        raise CheckpointError(f"{path} is not a checkpoint of quadloop: it holds no dictionary")
    return content


@contextmanager
def blaming(path: Path) -> Iterator[None]:
    """Around whatever takes over the content of `path`, which came from outside: any failure is a CheckpointError that names the file."""
    try:
        yield
    except CheckpointError as error:  # says which file and what is wrong
        raise CheckpointError(f"{error}; delete it to begin anew") from error
    except Exception as error:  # a foreign state dict can fail in as many ways as there are modules
        reason = next(iter(str(error).splitlines()), type(error).__name__)
        raise CheckpointError(f"{path} does not fit this run: {reason}; delete it to begin anew") from error


def refuse_infinite(*networks: nn.Module) -> None:
    """ValueError if a weight is no number, as a file can say and training goes on with."""
    if not all(values.isfinite().all() for network in networks for values in network.state_dict().values()):
        raise ValueError("it holds weights that are not finite")


def _load(path: Path) -> Any:
    try:
        if _unpacked_bytes(path) <= _MAX_BYTES:
            return torch.load(path, map_location="cpu", weights_only=True)
    except OSError as error:
        raise CheckpointError(f"{path} cannot be read ({error.strerror})") from error
    except Exception as error:  # torch raises many kinds for foreign or damaged files, and advises to read them as code
        raise CheckpointError(f"{path} is not a checkpoint: it holds more than tensors and plain values, or is damaged") from error
    raise CheckpointError(f"{path} is larger than {_MAX_BYTES} bytes; no checkpoint of quadloop is")


def _unpacked_bytes(path: Path) -> int:
    """What a checkpoint takes in memory: it is an archive, which a thousandth of that on the disk can fill."""
    if not zipfile.is_zipfile(path):
        return path.stat().st_size
    with zipfile.ZipFile(path) as archive:
        return sum(member.file_size for member in archive.infolist())
