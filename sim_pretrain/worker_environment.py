"""A simulator in a process of its own as a TrainingEnvironment: isaacgym needs Python 3.8, everything else does not."""

from __future__ import annotations

import contextlib
import json
import os
import select
import signal
import socket
import subprocess
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from common.checks import POSITIVE, require
from common.child_process import last_line
from common.errors import QuadloopError
from robot import go1
from robot.observation import GO1_LAYOUT
from sim_pretrain.training_environment import StepResult
from sim_pretrain.worker import protocol

SERVE = Path(__file__).parent / "worker" / "serve.py"
NO_PYTHON = "the isaacgym backend needs --isaacgym.python, the interpreter in which isaacgym is installed"
LAST_WORDS = 300  # characters of the worker's log in an error


class WorkerError(QuadloopError):
    """The simulator's process did not start, stopped, hung, or does not fit."""


@dataclass(frozen=True)
class WorkerConfig:
    """The process that a simulator lives in."""

    python: Path | None = None
    """its interpreter: for isaacgym, Python 3.8 with isaacgym, legged_gym and torch"""
    make: str = "isaacgym_task:make"
    """module:function that makes the environment, found beside sim_pretrain/worker/serve.py or on PYTHONPATH"""
    task: str = "go1"
    """the task's name in legged_gym; it must show the policy 290 values (5 x 58) and take 12 actions"""
    start_timeout_s: float = 300.0
    """longest time until the simulator is ready, s"""
    step_timeout_s: float = 60.0
    """longest time of a control step of all robots, s"""

    def __post_init__(self) -> None:
        require(self, POSITIVE, "start_timeout_s", "step_timeout_s")


class WorkerEnvironment:
    """N robots of a legged_gym task. It cannot be continued exactly: a resumed run starts new episodes.

    The worker dies with this process, whatever ends it; what it prints goes to `log`.
    """

    def __init__(self, config: WorkerConfig, num_robots: int, seed: int, log: Path) -> None:
        if config.python is None:
            raise WorkerError(NO_PYTHON)
        self.config = config
        self._log = log
        self._memory = os.fdopen(os.memfd_create("quadloop"), "r+b")  # has no name, so that nothing can stay behind
        self._process: subprocess.Popen[bytes] | None = None
        self._socket, theirs = socket.socketpair()
        options = {"make": config.make, "task": config.task, "num_envs": num_robots, "seed": seed, "parent": os.getpid()}
        self._unread = b""
        try:
            with theirs:  # the worker alone holds it from now on, so that its death closes it
                self._process = self._start(config.python, theirs, options)
            self.pid = self._process.pid  # for whoever wants to kill it
            self._hello(num_robots)
        except BaseException:
            self.close()
            raise

    @property
    def observations(self) -> NDArray[np.float32]:
        """(N, 290), written by the worker."""
        return self._arrays["observations"]

    @property
    def critic_observations(self) -> NDArray[np.float32]:
        """(N, critic_size), written by the worker."""
        return self._arrays["critic_observations"]

    def step(self, actions: NDArray[np.float32]) -> StepResult:
        """Apply actions (N, 12); WorkerError if the simulator died or does not answer in time."""
        arrays = self._arrays
        arrays["actions"][:] = actions
        answer = self._ask(self.config.step_timeout_s)
        truncated = arrays["truncated"].copy()
        final = arrays["final_critic_observations"][truncated]
        return StepResult(arrays["rewards"].copy(), arrays["terminated"].copy(), truncated, final, answer["terms"])

    def state_dict(self) -> dict[str, Any]:
        """Nothing: legged_gym cannot be put back into a state."""
        return {}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Start new episodes."""

    def close(self) -> None:
        """End the worker and whatever it has started; closing again does nothing."""
        self._socket.close()
        process, self._process = self._process, None
        if process is not None:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)
            process.wait()
        if not self._memory.closed:
            self._memory.close()

    def _start(self, python: Path, theirs: socket.socket, options: dict[str, Any]) -> subprocess.Popen[bytes]:
        command = [str(python), str(SERVE), str(theirs.fileno()), str(self._memory.fileno()), json.dumps(options)]
        self._log.parent.mkdir(parents=True, exist_ok=True)
        try:
            with self._log.open("wb") as log:
                return subprocess.Popen(
                    command,
                    stdin=subprocess.DEVNULL,
                    stdout=log,
                    stderr=log,
                    pass_fds=(theirs.fileno(), self._memory.fileno()),
                    start_new_session=True,
                )
        except OSError as error:
            raise WorkerError(f"the simulator's interpreter {python} cannot be started ({error.strerror})") from error

    def _hello(self, num_robots: int) -> None:
        hello = self._receive(self.config.start_timeout_s)
        if hello.get("version") != protocol.VERSION:
            raise WorkerError(
                f"the worker speaks version {hello.get('version')} of the protocol, not {protocol.VERSION}: install both anew"
            )
        expected = {"num_envs": num_robots, "num_obs": GO1_LAYOUT.size, "num_actions": go1.NUM_JOINTS}
        for name, size in expected.items():
            if hello.get(name) != size:
                raise WorkerError(f"the task '{self.config.task}' has {name} {hello.get(name)}; quadloop needs {size}")
        sizes = {name: int(hello[name]) for name in protocol.SIZES}
        self.num_robots, self.critic_size = num_robots, sizes["critic_size"]
        os.ftruncate(self._memory.fileno(), protocol.memory_bytes(sizes))
        self._arrays: dict[str, NDArray[Any]] = protocol.map_arrays(self._memory.fileno(), sizes)
        self._ask(self.config.start_timeout_s)

    def _ask(self, timeout_s: float) -> dict[str, Any]:
        try:
            protocol.send(self._socket, {})
        except OSError:
            raise self._death() from None
        return self._receive(timeout_s)

    def _receive(self, timeout_s: float) -> dict[str, Any]:
        deadline = time.monotonic() + timeout_s
        while b"\n" not in self._unread:
            left = deadline - time.monotonic()
            if left <= 0 or not select.select([self._socket], [], [], left)[0]:
                raise WorkerError(f"the simulator did not answer for {timeout_s:g} s and was ended{self._last_words()}")
            self._unread += self._received()
            if len(self._unread) > protocol.MAX_LINE:
                raise WorkerError("the worker sent something else than a line of JSON")
        line, self._unread = self._unread.split(b"\n", 1)
        return self._checked(line)

    def _received(self) -> bytes:
        try:
            received = self._socket.recv(65536)
        except ConnectionError:
            received = b""
        if not received:
            raise self._death()
        return received

    def _checked(self, line: bytes) -> dict[str, Any]:
        try:
            message = json.loads(line)
        except (ValueError, RecursionError):
            message = None
        if not isinstance(message, dict):
            raise WorkerError("the worker sent something else than a line of JSON")
        if "error" in message:
            raise WorkerError(f"the simulator failed: {message['error']} (see {self._log})")
        return message

    def _death(self) -> WorkerError:
        status: int | None = None
        if self._process is not None:
            with contextlib.suppress(subprocess.TimeoutExpired):
                status = self._process.wait(5)
        return WorkerError(f"the simulator's process ended (exit status {status}){self._last_words()}")

    def _last_words(self) -> str:
        try:
            with self._log.open("rb") as log:
                said = last_line(log)[-LAST_WORDS:]
        except OSError:
            said = ""
        return f": {said}" if said else ""
