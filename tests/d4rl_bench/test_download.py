"""Downloads from a server on this machine that answers well, breaks off, changes its mind or lies."""

from __future__ import annotations

import hashlib
import re
import socket
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field, replace
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import numpy as np
import pytest

from d4rl_bench.d4rl_file import MAX_FILE_BYTES
from d4rl_bench.download import DownloadError, download
from d4rl_bench.task import Task, find_task

CONTENT = b"\x89HDF\r\n\x1a\n" + np.random.default_rng(0).bytes(50_000)
OTHER = b"\x89HDF\r\n\x1a\n" + np.random.default_rng(1).bytes(40_000)
NAME = "hopper-medium-v2.hdf5"


@dataclass
class Remote:
    """What the server has and how it behaves; `asked` keeps the headers of every request."""

    url: str = ""
    content: bytes = CONTENT
    headers: dict[str, str] = field(default_factory=lambda: {"ETag": '"one"'})
    status: int = 200
    ranges: bool = True
    range_shift: int = 0  # parts begin so many bytes behind the one that was asked for
    cut: int | None = None  # the connection ends after so many bytes
    length: str | None = None  # Content-Length, if not the true one; "" for none
    pause_s: float = 0.0  # before the body
    also: Path | None = None  # a file that gets four bytes more while the body is sent
    asked: list[dict[str, str]] = field(default_factory=list)

    def answer(self, asked: dict[str, str]) -> tuple[int, dict[str, str], bytes]:
        """Status, headers, body."""
        self.asked.append(asked)
        first = int(asked["Range"].removeprefix("bytes=").rstrip("-")) if self._in_parts(asked) else None
        if first is None:
            return self.status, self._headers(self.content), self.content
        body = self.content[first + self.range_shift :]
        span = f"bytes {first + self.range_shift}-{len(self.content) - 1}/{len(self.content)}"
        return 206, self._headers(body) | {"Content-Range": span}, body

    def _in_parts(self, asked: dict[str, str]) -> bool:
        same = asked.get("If-Range") in (self.headers.get("ETag"), self.headers.get("Last-Modified"))
        return self.ranges and self.status == 200 and "Range" in asked and same

    def _headers(self, body: bytes) -> dict[str, str]:
        length = str(len(body)) if self.length is None else self.length
        return self.headers | ({"Content-Length": length} if length else {})


@pytest.fixture
def remote(monkeypatch: pytest.MonkeyPatch) -> Iterator[Remote]:
    monkeypatch.setenv("no_proxy", "*")
    state = Remote()

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            status, headers, body = state.answer(dict(self.headers))
            self.send_response(status)
            for name, value in headers.items():
                self.send_header(name, value)
            self.end_headers()
            time.sleep(state.pause_s)
            if state.also is not None:
                while not state.also.exists():
                    time.sleep(0.01)
                with state.also.open("ab") as file:
                    file.write(b"more")
            self.wfile.write(body[: state.cut])

        def log_message(self, *arguments: object) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever, args=(0.01,))
    thread.start()
    state.url = f"http://127.0.0.1:{server.server_port}/{NAME}"
    yield state
    server.shutdown()
    thread.join()
    server.server_close()


@pytest.fixture
def task(remote: Remote) -> Task:
    return replace(find_task("hopper-medium-v2"), url=remote.url)


def names(folder: Path) -> set[str]:
    """What is in a folder besides the empty lock, which stays."""
    return {path.name for path in folder.iterdir()} - {f".{NAME}.lock"} if folder.exists() else set()


def interrupt(task: Task, remote: Remote, folder: Path, after: int) -> None:
    remote.cut = after
    with pytest.raises(DownloadError, match=f"ended after {after:,} of 50,008 bytes; run again"):
        download(task, folder)
    assert names(folder) == {f"{NAME}.part", f"{NAME}.part.json"}
    remote.cut = None


def test_a_whole_file_is_fetched_once(task: Task, remote: Remote, tmp_path: Path) -> None:
    folder = tmp_path / "data" / "d4rl"
    assert download(task, folder) == folder / NAME
    assert (folder / NAME).read_bytes() == CONTENT
    assert (folder / f"{NAME}.sha256").read_text() == f"{hashlib.sha256(CONTENT).hexdigest()}  {NAME}\n"
    assert names(folder) == {NAME, f"{NAME}.sha256"}
    assert download(task, folder) == folder / NAME
    assert download(task, folder, hashlib.sha256(CONTENT).hexdigest().upper()) == folder / NAME
    assert len(remote.asked) == 1


@pytest.mark.parametrize("headers", [{"ETag": '"one"'}, {"ETag": 'W/"weak"', "Last-Modified": "Tue, 02 Jan 2024 03:04:05 GMT"}])
def test_an_interrupted_download_is_gone_on_from(task: Task, remote: Remote, tmp_path: Path, headers: dict[str, str]) -> None:
    remote.headers = headers
    interrupt(task, remote, tmp_path, 20_000)
    download(task, tmp_path)
    assert (tmp_path / NAME).read_bytes() == CONTENT
    assert names(tmp_path) == {NAME, f"{NAME}.sha256"}
    assert remote.asked[1]["Range"] == "bytes=20000-"
    assert remote.asked[1]["If-Range"] == headers.get("Last-Modified", '"one"')


def test_two_downloads_at_once_fetch_one_file(task: Task, remote: Remote, tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    remote.pause_s = 0.5
    with ThreadPoolExecutor(2) as pool:
        assert list(pool.map(lambda _: download(task, tmp_path), range(2))) == [tmp_path / NAME] * 2
    assert (tmp_path / NAME).read_bytes() == CONTENT
    assert names(tmp_path) == {NAME, f"{NAME}.sha256"}
    assert len(remote.asked) == 1
    assert f"{NAME}: another download is under way; waiting for it" in capfd.readouterr().err


def test_a_part_that_somebody_else_writes_to_is_not_taken(task: Task, remote: Remote, tmp_path: Path) -> None:
    remote.also = tmp_path / f"{NAME}.part"
    with pytest.raises(DownloadError, match=r"hdf5.part has 50,012 bytes, not the 50,008 of http\S+: somebody else wrote to it; run again"):
        download(task, tmp_path)
    assert names(tmp_path) == set()


def test_it_may_be_interrupted_more_than_once(task: Task, remote: Remote, tmp_path: Path) -> None:
    for _ in range(3):
        remote.cut = 15_000
        with pytest.raises(DownloadError, match="run again to fetch the rest"):
            download(task, tmp_path)
    download(task, tmp_path)
    assert (tmp_path / NAME).read_bytes() == CONTENT
    assert [asked.get("Range") for asked in remote.asked] == [None, "bytes=15000-", "bytes=30000-", "bytes=45000-"]


def test_a_whole_part_needs_no_server(task: Task, remote: Remote, tmp_path: Path) -> None:
    interrupt(task, remote, tmp_path, 20_000)
    (tmp_path / f"{NAME}.part").write_bytes(CONTENT)
    download(task, tmp_path)
    assert (tmp_path / NAME).read_bytes() == CONTENT
    assert len(remote.asked) == 1


def test_a_file_that_has_changed_is_fetched_from_its_beginning(task: Task, remote: Remote, tmp_path: Path) -> None:
    interrupt(task, remote, tmp_path, 20_000)
    remote.content, remote.headers = OTHER, {"ETag": '"two"'}
    download(task, tmp_path)
    assert (tmp_path / NAME).read_bytes() == OTHER


def test_another_address_is_another_file(task: Task, remote: Remote, tmp_path: Path) -> None:
    interrupt(task, remote, tmp_path, 20_000)
    download(replace(task, url=f"{remote.url}?other"), tmp_path)
    assert "Range" not in remote.asked[1]


def test_a_server_without_ranges_starts_anew(task: Task, remote: Remote, tmp_path: Path) -> None:
    interrupt(task, remote, tmp_path, 20_000)
    remote.ranges = False
    download(task, tmp_path)
    assert (tmp_path / NAME).read_bytes() == CONTENT


def test_without_anything_to_know_the_file_by_nothing_is_resumed(task: Task, remote: Remote, tmp_path: Path) -> None:
    remote.headers = {}
    interrupt(task, remote, tmp_path, 20_000)
    download(task, tmp_path)
    assert "Range" not in remote.asked[1]
    assert (tmp_path / NAME).read_bytes() == CONTENT


@pytest.mark.parametrize("note", [b"", b"{}", b"[]", b'{"url": 1}', b'{"url": "%s", "validator": "x", "size": "y"}', b"\xff"])
def test_a_damaged_note_beside_the_part_starts_anew(task: Task, remote: Remote, tmp_path: Path, note: bytes) -> None:
    interrupt(task, remote, tmp_path, 20_000)
    (tmp_path / f"{NAME}.part.json").write_bytes(note.replace(b"%s", remote.url.encode()))
    download(task, tmp_path)
    assert (tmp_path / NAME).read_bytes() == CONTENT
    assert "Range" not in remote.asked[1]


def test_a_part_that_does_not_follow_is_not_appended(task: Task, remote: Remote, tmp_path: Path) -> None:
    interrupt(task, remote, tmp_path, 20_000)
    remote.range_shift = 1
    with pytest.raises(DownloadError, match="run again to start anew"):
        download(task, tmp_path)
    assert names(tmp_path) == set()
    download(task, tmp_path)
    assert (tmp_path / NAME).read_bytes() == CONTENT


@pytest.mark.parametrize("status", [206, 416])
def test_a_server_that_sends_parts_unasked_or_never_is_refused(task: Task, remote: Remote, tmp_path: Path, status: int) -> None:
    remote.status = status
    with pytest.raises(DownloadError, match="run again to start anew"):
        download(task, tmp_path)
    assert names(tmp_path) == set()


def test_a_wrong_sum_is_refused_and_nothing_is_kept(task: Task, tmp_path: Path) -> None:
    with pytest.raises(DownloadError, match=f"sha256 is {hashlib.sha256(CONTENT).hexdigest()}, not {'0' * 64}"):
        download(task, tmp_path, "0" * 64)
    assert names(tmp_path) == set()
    with pytest.raises(DownloadError, match="the given sha256 is not 64 hexadecimal digits"):
        download(task, tmp_path, "abc")


def test_the_sum_of_the_first_download_holds_for_later_ones(task: Task, remote: Remote, tmp_path: Path) -> None:
    download(task, tmp_path).unlink()
    remote.content = OTHER
    with pytest.raises(DownloadError, match=re.escape(f"delete {tmp_path / NAME}.sha256")):
        download(task, tmp_path)
    assert names(tmp_path) == {f"{NAME}.sha256"}
    download(task, tmp_path, hashlib.sha256(OTHER).hexdigest())  # a sum that was given counts more
    assert (tmp_path / f"{NAME}.sha256").read_text().startswith(hashlib.sha256(OTHER).hexdigest())


def test_a_damaged_record_is_named(task: Task, tmp_path: Path) -> None:
    (tmp_path / f"{NAME}.sha256").write_bytes(b"\xff\x00")
    with pytest.raises(DownloadError, match="sha256 does not begin with 64 hexadecimal digits; delete it"):
        download(task, tmp_path)


def test_a_file_of_one_s_own_is_not_touched(task: Task, remote: Remote, tmp_path: Path) -> None:
    (tmp_path / NAME).write_bytes(b"my own data set")
    with pytest.raises(DownloadError, match="is there already, and nothing says"):
        download(task, tmp_path)
    with pytest.raises(DownloadError, match="is there already, but its sha256 is not"):
        download(task, tmp_path, "0" * 64)
    assert (tmp_path / NAME).read_bytes() == b"my own data set"
    assert not remote.asked


def test_a_file_that_is_not_there_is_an_error_with_a_way_out(task: Task, remote: Remote, tmp_path: Path) -> None:
    remote.status = 404
    with pytest.raises(DownloadError, match=r"answers 404 Not Found; copy the file to .* quadloop d4rl data make hopper") as caught:
        download(task, tmp_path)
    assert str(tmp_path / NAME) in str(caught.value)
    assert "\n" not in str(caught.value)


def test_data_that_cannot_be_made_here_are_not_offered(remote: Remote, tmp_path: Path) -> None:
    remote.status = 404
    with pytest.raises(DownloadError, match=r"copy the file to \S+ or .* --data FILE\|minari:NAME") as caught:
        download(replace(find_task("door-human"), url=remote.url), tmp_path)
    assert "data make" not in str(caught.value)


def test_an_error_does_not_cost_what_was_fetched(task: Task, remote: Remote, tmp_path: Path) -> None:
    interrupt(task, remote, tmp_path, 20_000)
    remote.status = 503
    with pytest.raises(DownloadError, match="503"):
        download(task, tmp_path)
    remote.status = 200
    download(task, tmp_path)
    assert remote.asked[-1]["Range"] == "bytes=20000-"


def test_no_network_is_one_line_with_a_way_out(task: Task, tmp_path: Path) -> None:
    with socket.socket() as deaf:  # nobody listens, and nobody else can on this port
        deaf.bind(("127.0.0.1", 0))
        url = f"http://127.0.0.1:{deaf.getsockname()[1]}/{NAME}"
        with pytest.raises(DownloadError, match=r"no network .*; copy the file to .* or make .*: quadloop d4rl data make") as caught:
            download(replace(task, url=url), tmp_path)
    assert str(tmp_path / NAME) in str(caught.value)
    assert "\n" not in str(caught.value)
    assert names(tmp_path) == set()


def test_a_silent_server_is_not_waited_for_without_end(task: Task, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr("d4rl_bench.download.TIMEOUT_S", 0.2)
    with socket.create_server(("127.0.0.1", 0)) as silent:
        url = f"http://127.0.0.1:{silent.getsockname()[1]}/{NAME}"
        with pytest.raises(DownloadError, match=r"no network .*timed out"):
            download(replace(task, url=url), tmp_path)


@pytest.mark.parametrize("url", ["", "file:///etc/hostname", "ftp://127.0.0.1/x", "data:,x"])
def test_only_http_and_https_are_followed(task: Task, tmp_path: Path, url: str) -> None:
    with pytest.raises(DownloadError, match="no http or https address"):
        download(replace(task, url=url), tmp_path)


@pytest.mark.parametrize("location", ["file:///etc/hostname", "ftp://127.0.0.1/x"])
def test_nor_does_a_redirection_lead_elsewhere(task: Task, remote: Remote, tmp_path: Path, location: str) -> None:
    remote.status, remote.headers = 302, {"Location": location}
    with pytest.raises(DownloadError):
        download(task, tmp_path)
    assert names(tmp_path) == set()


@pytest.mark.parametrize(
    ("length", "complaint"),
    [(str(MAX_FILE_BYTES + 1), "4,294,967,297 bytes, more than"), ("", "does not say how long"), ("x", "does not say")],
)
def test_too_much_and_endless_is_refused(task: Task, remote: Remote, tmp_path: Path, length: str, complaint: str) -> None:
    remote.length = length
    with pytest.raises(DownloadError, match=complaint):
        download(task, tmp_path)
    assert names(tmp_path) == set()


def test_a_page_instead_of_the_file_is_refused(task: Task, remote: Remote, tmp_path: Path) -> None:
    remote.content = b"<html>please log in</html>"
    with pytest.raises(DownloadError, match="not an HDF5 file"):
        download(task, tmp_path)
    assert names(tmp_path) == set()
