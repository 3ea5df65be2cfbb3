"""Fetching a task's data from where D4RL keeps them: going on where an earlier try ended, checked before the file gets its name.

While it is fetched the file is `NAME.hdf5.part`; `NAME.hdf5.part.json` says which remote file it is the beginning of. The sha256 of a
whole file is kept in `NAME.hdf5.sha256`, as `sha256sum --check` reads it.
"""

from __future__ import annotations

import json
import os
import re
import sys
import urllib.request
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from functools import partial
from http.client import HTTPException, HTTPResponse
from pathlib import Path
from urllib.error import HTTPError
from urllib.parse import urlsplit

from common.files import one_at_a_time, sha256_of_file, sync, write_bytes, write_json
from common.progress import Progress
from d4rl_bench.d4rl_file import MAX_FILE_BYTES, DataError
from d4rl_bench.task import Task, find_task, other_data

TIMEOUT_S = 30.0
"""For a connection, and for each answer on it"""
_BLOCK_BYTES = 2**20
_SHA256 = re.compile(r"[0-9a-f]{64}")
_HDF5_SIGNATURE = b"\x89HDF\r\n\x1a\n"
_HANDLERS = (
    urllib.request.ProxyHandler,
    urllib.request.UnknownHandler,
    urllib.request.HTTPHandler,
    urllib.request.HTTPSHandler,
    urllib.request.HTTPDefaultErrorHandler,
    urllib.request.HTTPRedirectHandler,
    urllib.request.HTTPErrorProcessor,
)


class DownloadError(DataError):
    """Data that could not be fetched, or that are not what was expected."""


@dataclass(frozen=True)
class _Remote:
    """A file on a server."""

    url: str
    validator: str  # a strong ETag or the time of the last change; empty if the server gives neither: nothing can be resumed then
    size: int  # bytes


def download(task: Task, folder: Path, sha256: str | None = None) -> Path:
    """Fetch task.url into `folder`/NAME.hdf5 and return that path; what an interrupted download left is gone on from.

    The file must have the given `sha256` (hex), or else the one that was recorded beside it when it was first fetched. D4RL publishes
    no sums, so the first download is trusted: it is held to the size that the server says and to being HDF5, not more.
    A file that is there already with the right sum is not fetched again; any other is not touched. Two downloads of one file wait for
    each other.
    DownloadError, which says what to do, for: no network, an answer other than the file, more than MAX_FILE_BYTES, a wrong sum.
    """
    target = folder / f"{task.name}.hdf5"
    _wanted(target, sha256)  # a sum that is none is refused before anything is fetched
    if not target.exists():
        if urlsplit(task.url).scheme not in ("http", "https"):
            raise DownloadError(f"{task.name}: '{task.url}' is no http or https address; {_advice(target)}")
        with one_at_a_time(target, partial(print, f"{target}: another download is under way; waiting for it", file=sys.stderr)):
            if not target.exists():
                size = _fetch(task.url, target)
                _accept(task.url, target, size, _wanted(target, sha256))
                return target
    _check_present(target, _wanted(target, sha256))  # asked again: another download may just have recorded it
    return target


def _wanted(target: Path, sha256: str | None) -> str | None:
    """The sum that the file must have: the given one, or else the recorded one; None if there is neither."""
    return _recorded(_record(target)) if sha256 is None else _checked(sha256.lower(), "the given sha256 is not 64 hexadecimal digits")


def _fetch(url: str, target: Path) -> int:
    """Bring all bytes of `url` into the `.part`; returns how many it must have."""
    before = _remembered(url, target)
    done = _part(target).stat().st_size if before else 0
    if before and done == before.size:
        return before.size
    with _answer(url, target, before, done) as response:
        if response.status == 206:
            if before is None or not _continues(response, before, done):
                raise _start_anew(url, target)
            size = before.size
        else:
            remote = _remote(url, target, response)
            _forget(target)
            write_json(_beside(target), asdict(remote))
            done, size = 0, remote.size
        _append(response, url, target, done, size)
    return size


def _answer(url: str, target: Path, before: _Remote | None, done: int) -> HTTPResponse:
    """The server's answer: the whole file, or what is behind `done` bytes if it still is the one from `before`."""
    headers = {"Accept-Encoding": "identity"}
    if before:
        headers |= {"Range": f"bytes={done}-", "If-Range": before.validator}
    try:
        request = urllib.request.Request(url, headers=headers)  # noqa: S310 - the scheme was checked
        response: HTTPResponse = _opener().open(request, timeout=TIMEOUT_S)
    except HTTPError as error:
        error.close()
        if error.code == 416:
            raise _start_anew(url, target) from error
        raise DownloadError(f"{url}: the server answers {error.code} {_line(error.reason)}; {_advice(target)}") from error
    except (OSError, HTTPException) as error:
        raise DownloadError(f"{url}: no network ({_line(getattr(error, 'reason', error))}); {_advice(target)}") from error
    return response


def _opener() -> urllib.request.OpenerDirector:
    """As urllib's own, but a redirection cannot lead to anything else than http and https."""
    opener = urllib.request.OpenerDirector()
    for handler in _HANDLERS:
        opener.add_handler(handler())
    return opener


def _remote(url: str, target: Path, response: HTTPResponse) -> _Remote:
    size = response.length
    if size is None:
        raise DownloadError(f"{url}: the server does not say how long the file is; {_advice(target)}")
    if size > MAX_FILE_BYTES:
        raise DownloadError(f"{url}: {size:,} bytes, more than the {MAX_FILE_BYTES:,} that a file may have")
    return _Remote(url, _validator(response), size)


def _validator(response: HTTPResponse) -> str:
    """What If-Range takes: an ETag that is not weak, or the time of the last change."""
    etag = response.headers.get("ETag", "")
    return etag if etag and not etag.startswith("W/") else response.headers.get("Last-Modified", "")


def _continues(response: HTTPResponse, before: _Remote, done: int) -> bool:
    """Whether these bytes are what follows the first `done` ones of that very file."""
    expected = f"bytes {done}-{before.size - 1}/{before.size}"
    rest = response.headers.get("Content-Range") == expected and response.length == before.size - done
    return rest and _validator(response) in ("", before.validator)


def _append(response: HTTPResponse, url: str, target: Path, done: int, size: int) -> None:
    with _part(target).open("ab") as file, Progress(f"download {target.stem}", _kilobytes(size), "kB", _kilobytes(done)) as progress:
        for block in _blocks(response, url):
            file.write(block)
            done += len(block)
            progress.reach(_kilobytes(done))
    if done != size:
        raise DownloadError(f"{url}: the connection ended after {done:,} of {size:,} bytes; run again to fetch the rest")


def _blocks(response: HTTPResponse, url: str) -> Iterator[bytes]:
    try:
        while block := response.read(_BLOCK_BYTES):
            yield block
    except (OSError, HTTPException) as error:
        raise DownloadError(f"{url}: the connection broke ({_line(error)}); run again to fetch the rest") from error


def _accept(url: str, target: Path, size: int, wanted: str | None) -> None:
    """Give the whole `.part` its name; one that is not what was expected is deleted."""
    part = _part(target)
    if (length := part.stat().st_size) != size:
        _forget(target)
        raise DownloadError(f"{part} has {length:,} bytes, not the {size:,} of {url}: somebody else wrote to it; run again to start anew")
    with part.open("rb") as file:
        hdf5 = file.read(len(_HDF5_SIGNATURE)) == _HDF5_SIGNATURE
    if not hdf5:
        _forget(target)
        raise DownloadError(f"{url}: what came is not an HDF5 file (a login page of the network?); {_advice(target)}")
    found = sha256_of_file(part)
    if wanted not in (None, found):
        _forget(target)
        raise DownloadError(
            f"{url}: sha256 is {found}, not {wanted}; if the file was meant to change, leave out the sum and delete {_record(target)}"
        )
    write_bytes(_record(target), f"{found}  {target.name}\n".encode())
    sync(part)
    os.replace(part, target)
    sync(target.parent)
    _forget(target)


def _check_present(target: Path, wanted: str | None) -> None:
    if wanted is None:
        raise DownloadError(f"{target} is there already, and nothing says what its sha256 should be; move it away to fetch D4RL's")
    if sha256_of_file(target) != wanted:
        raise DownloadError(f"{target} is there already, but its sha256 is not {wanted}; move it away to fetch the file anew")


def _recorded(record: Path) -> str | None:
    """The sum in a file as sha256sum writes it; None if there is no such file."""
    try:
        text = record.read_bytes()[:1000].decode(errors="replace")
    except FileNotFoundError:
        return None
    return _checked((text.split() or [""])[0], f"{record} does not begin with 64 hexadecimal digits; delete it to trust the next download")


def _checked(sha256: str, complaint: str) -> str:
    if not _SHA256.fullmatch(sha256):
        raise DownloadError(complaint)
    return sha256


def _remembered(url: str, target: Path) -> _Remote | None:
    """The remote file that the `.part` is the beginning of; None if there is nothing that can be gone on from."""
    try:
        remote = _Remote(**json.loads(_beside(target).read_bytes()))
        usable = remote.url == url and remote.validator and _part(target).stat().st_size <= remote.size
    except (OSError, ValueError, TypeError):
        return None
    return remote if usable else None


def _start_anew(url: str, target: Path) -> DownloadError:
    _forget(target)
    return DownloadError(f"{url}: the server does not go on where the last download ended; run again to start anew")


def _forget(target: Path) -> None:
    _part(target).unlink(missing_ok=True)
    _beside(target).unlink(missing_ok=True)


def _part(target: Path) -> Path:
    return target.with_name(f"{target.name}.part")


def _beside(target: Path) -> Path:
    return target.with_name(f"{target.name}.part.json")


def _record(target: Path) -> Path:
    return target.with_name(f"{target.name}.sha256")


def _advice(target: Path) -> str:
    return f"copy the file to {target} or {other_data(find_task(target.stem))}"


def _line(reason: object) -> str:
    return " ".join(str(reason).split())[:200]


def _kilobytes(count: int) -> int:
    return -(-count // 1000)
