"""The process with d3rlpy, in an interpreter of its own, and the frames in which it speaks (see `d3rlpy_worker`)."""

from __future__ import annotations

import json
import os
import signal
import struct
import subprocess
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import IO, Any, Protocol, cast

import numpy as np
from numpy.typing import NDArray

from common.array_types import Float32Array
from common.errors import QuadloopError
from common.signal_names import signal_name
from d4rl_bench.baseline_policy import BaselineError
from learners.progress import Progress

INTERPRETER_VARIABLE = "QUADLOOP_D3RLPY"
WORKER = Path(__file__).with_name("d3rlpy_worker.py")

_ASK_VERSIONS = (
    "import importlib.metadata, json, platform; "
    "versions = {name: importlib.metadata.version(name) for name in ('d3rlpy', 'gymnasium', 'numpy', 'torch')}; "
    "print(json.dumps({'python': platform.python_version()} | versions))"
)

_HEADER = struct.Struct("<cI")
_PROGRESS, _RESET, _STEP, _OBSERVATION = b"P", b"R", b"S", b"O"


class BaselineMissingError(QuadloopError):
    """There is no interpreter with d3rlpy."""


KILLED_BY = (signal.SIGKILL, signal.SIGTERM, signal.SIGINT, signal.SIGHUP)
"""What ends a process from outside; other signals are of its own doing"""


class BaselineKilledError(BaselineError):
    """Somebody ended the process with d3rlpy, by one of KILLED_BY: begun again it may go on where it was."""


class Steps(Protocol):
    """An environment as a baseline sees it: observations (O,) as in its data, actions (A,) from -1 to 1, rewards as in its data."""

    def reset(self) -> NDArray[Any]:
        """An episode's first observation (O,)."""

    def step(self, action: Float32Array) -> tuple[NDArray[Any], float, bool, bool]:
        """What action (A,) leads to: observation (O,), reward, terminated, truncated."""


def find_interpreter() -> Path:
    """The Python that has d3rlpy: $QUADLOOP_D3RLPY, or that of `make baselines`. BaselineMissingError if there is none."""
    path = Path(os.environ.get(INTERPRETER_VARIABLE) or Path(__file__).parent.parent / ".venv-d3rlpy" / "bin" / "python")
    if not os.access(path, os.X_OK) or path.is_dir():
        raise BaselineMissingError(f"there is no Python with d3rlpy at {path}; run: make baselines (or set {INTERPRETER_VARIABLE} to one)")
    return path


def library_versions() -> dict[str, str]:
    """Of Python and of what decides the baselines' numbers, in the interpreter that has them. BaselineError where that lacks one."""
    interpreter = find_interpreter()
    asked = subprocess.run([interpreter, "-I", "-c", _ASK_VERSIONS], capture_output=True, text=True, check=False)
    if asked.returncode != 0:
        raise BaselineError(f"{interpreter} has no d3rlpy ({asked.stderr.strip().rpartition(chr(10))[2]}); run: make baselines")
    found: dict[str, str] = json.loads(asked.stdout)
    return found


class D3rlpyProcess:
    """The process with d3rlpy. It ends with the `with` block at the latest, and when its standard input closes: when this process dies.

    It has a session of its own, so that Ctrl-C reaches this process alone, which then ends it.
    """

    def __init__(self, interpreter: Path, settings: dict[str, Any], log: Path) -> None:
        self._method, self._log = settings["method"], log
        with log.open("wb") as complaints:
            self._process = subprocess.Popen(
                [interpreter, "-I", WORKER, json.dumps(settings)],  # -I: no file beside the worker stands in for a library
                stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=complaints, start_new_session=True,
            )  # fmt: skip
        self._input, self._output = cast("IO[bytes]", self._process.stdin), cast("IO[bytes]", self._process.stdout)

    def __enter__(self) -> D3rlpyProcess:
        return self

    def __exit__(self, *_: object) -> None:
        self._process.kill()
        self._process.wait()
        self._output.close()
        with suppress(BrokenPipeError):  # an answer that it did not live to read
            self._input.close()

    def serve(self, progress: Progress, environment: Steps | None) -> None:
        """Pass on what it says and step the environment for it until it ends; BaselineError unless it ends well, BaselineKilledError
        if a signal ended it."""
        for kind, payload in self._frames():
            if kind == _PROGRESS:
                said = json.loads(payload)
                progress(said["part"], said["done"], said["total"], said["figures"])
            elif environment is not None:
                self._answer(_observation(environment, kind, payload))

    def _frames(self) -> Iterator[tuple[bytes, bytes]]:
        """(kind, payload) until the process ends; BaselineError unless it ends well."""
        while len(header := self._output.read(_HEADER.size)) == _HEADER.size:
            kind, length = _HEADER.unpack(header)
            if len(payload := self._output.read(length)) == length:
                yield kind, payload
        status = self._process.wait()
        if status < 0:
            kind = BaselineKilledError if -status in KILLED_BY else BaselineError
            raise kind(f"{self._method} of d3rlpy was ended by {signal_name(-status)}; see {self._log}")
        if status > 0:
            raise BaselineError(f"{self._method} of d3rlpy failed: {self._last_words() or f'exit status {status}'}; see {self._log}")

    def _answer(self, values: Float32Array) -> None:
        """Send an observation; a process that has died is noticed by `_frames`."""
        with suppress(BrokenPipeError):
            self._input.write(_HEADER.pack(_OBSERVATION, values.nbytes) + values.tobytes())
            self._input.flush()

    def _last_words(self) -> str:
        lines = self._log.read_text(errors="replace").split("\n")
        return next((line.strip() for line in reversed(lines) if line.strip()), "")[:300]


def _observation(environment: Steps, kind: bytes, payload: bytes) -> Float32Array:
    if kind == _RESET:
        return np.asarray(environment.reset(), dtype=np.float32)
    observation, reward, terminated, truncated = environment.step(np.frombuffer(payload, np.float32).copy())
    return np.append(observation, [reward, terminated, truncated]).astype(np.float32)
