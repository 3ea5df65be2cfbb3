"""The methods that the benchmark is compared with: d3rlpy's, in a process and an interpreter of its own.

d3rlpy 2.8.1 pins an older gymnasium than this project's, so it lives in an environment of its own (`make baselines`) and meets this
process in files (data and policies, plain arrays) and frames (see `d3rlpy_worker`, which also says where each method's settings are from).
"""

from __future__ import annotations

import hashlib
import json
import os
import signal
import struct
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass
from pathlib import Path
from types import TracebackType
from typing import IO, TYPE_CHECKING, Any, Protocol, cast

import numpy as np
from numpy.typing import NDArray

from common.arrays import load_arrays
from common.checks import OPEN_SHARE, POSITIVE, at_least, require
from common.config import config_hash
from common.errors import ConfigError, QuadloopError
from learners.progress import Progress
from learners.transitions import Transitions

if TYPE_CHECKING:
    from typing_extensions import Self  # typing has it from Python 3.11

Float32Array = NDArray[np.float32]
Layer = tuple[Float32Array, Float32Array]

METHODS = ("bc", "iql", "td3+bc", "cql", "awac", "cal-ql")
ONLINE_METHODS = ("iql", "awac", "cal-ql")
INTERPRETER_VARIABLE = "QUADLOOP_D3RLPY"
WORKER = Path(__file__).with_name("d3rlpy_worker.py")
LOG = "d3rlpy.log"

RECIPE = 1
"""Raised with any change, here, in the worker or in how data are handed over, after which equal data, settings and seeds give other
policies."""

MAX_LAYERS = 16
MAX_WIDTH = 8192
MAX_FILE_BYTES = 256 * 2**20

_ASK_VERSIONS = (
    "import importlib.metadata, json, platform; "
    "versions = {name: importlib.metadata.version(name) for name in ('d3rlpy', 'gymnasium', 'numpy', 'torch')}; "
    "print(json.dumps({'python': platform.python_version()} | versions))"
)

_HEADER = struct.Struct("<cI")
_PROGRESS, _RESET, _STEP, _OBSERVATION = b"P", b"R", b"S", b"O"


class BaselineError(QuadloopError):
    """A baseline that could not be trained, or whose policy cannot be read."""


class BaselineMissingError(QuadloopError):
    """There is no interpreter with d3rlpy."""


@dataclass(frozen=True)
class BaselineConfig:
    """Sizes and training of a baseline. Defaults suit two cores; d3rlpy's own reproductions of published scores take 500,000 steps."""

    steps: int = 30_000
    """gradient steps"""
    batch_size: int = 256
    """transitions a step"""
    hidden: tuple[int, ...] = (256, 256)
    """hidden layers of the policy, of each Q network and of V"""
    expectile: float = 0.7
    """IQL's tau: 0.9 for antmaze"""
    weight_temp: float = 3.0
    """IQL's inverse temperature: in its paper 3 for locomotion, 10 for antmaze, 0.5 for Adroit and kitchen"""
    checkpoints: int = 10
    """policies that are kept on the way, evenly spread; the last is the result"""

    def __post_init__(self) -> None:
        require(self, at_least(1), "steps", "batch_size", "hidden", "checkpoints")
        require(self, OPEN_SHARE, "expectile")
        require(self, POSITIVE, "weight_temp")
        if self.steps % self.checkpoints:
            raise ConfigError(f"steps is {self.steps}; it must be a multiple of checkpoints, which is {self.checkpoints}")


@dataclass(frozen=True)
class OnlineBaselineConfig:
    """Fine-tuning of a baseline in its environment."""

    steps: int = 100_000
    """steps in the environment"""
    update_every: int = 1
    """environment steps for each gradient step"""
    evaluate_every: int = 10_000
    """steps between two policies that are kept"""

    def __post_init__(self) -> None:
        require(self, at_least(1), "steps", "update_every", "evaluate_every")
        if self.steps % self.evaluate_every:
            raise ConfigError(f"steps is {self.steps}; it must be a multiple of evaluate_every, which is {self.evaluate_every}")


class Steps(Protocol):
    """An environment as a baseline sees it: observations (O,) as in its data, actions (A,) from -1 to 1, rewards as in its data."""

    def reset(self) -> NDArray[Any]:
        """An episode's first observation (O,)."""

    def step(self, action: Float32Array) -> tuple[NDArray[Any], float, bool, bool]:
        """What action (A,) leads to: observation (O,), reward, terminated, truncated."""


class TanhPolicy:
    """A deterministic policy: layers with relu between them and tanh after the last."""

    def __init__(self, layers: list[Layer]) -> None:
        self.layers = layers  # [(weight (out, in), bias (out,)), ...]

    @classmethod
    def load(cls, path: Path) -> TanhPolicy:
        """The policy in an .npz of `weight_0`, `bias_0`, `weight_1`, ..., or BaselineError naming what is wrong with it."""
        arrays = load_arrays(path, MAX_FILE_BYTES, BaselineError)
        count = len(arrays) // 2
        if not 1 <= count <= MAX_LAYERS or set(arrays) != {f"{kind}_{i}" for i in range(count) for kind in ("weight", "bias")}:
            raise BaselineError(f"{path}: holds {sorted(arrays)[:8]}, not weight_0, bias_0 and so on of 1 to {MAX_LAYERS} layers")
        layers = [(_checked(path, f"weight_{i}", arrays, 2), _checked(path, f"bias_{i}", arrays, 1)) for i in range(count)]
        for i, (weight, bias) in enumerate(layers):
            inputs = len(layers[i - 1][1]) if i else weight.shape[1]
            if weight.shape != (len(bias), inputs):
                raise BaselineError(f"{path}: weight_{i} is {weight.shape}, but its bias has {len(bias)} values and its input {inputs}")
        return cls(layers)

    def act(self, observations: Float32Array) -> Float32Array:
        """Actions (B, A) float32, from -1 to 1, of observations (B, O) float32."""
        hidden = observations
        for weight, bias in self.layers[:-1]:
            hidden = np.maximum(hidden @ weight.T + bias, 0)
        weight, bias = self.layers[-1]
        actions: Float32Array = np.tanh(hidden @ weight.T + bias)
        return actions


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


def train_baseline(
    method: str, data: Transitions, config: BaselineConfig, seed: int, folder: Path, progress: Progress, threads: int = 1
) -> list[tuple[int, TanhPolicy]]:
    """Train `method` (one of METHODS) on the data; returns (step, policy) at every checkpoint, the last of which is the result.

    `folder` gets the policies as `policy_<step>.npz`, whole when `progress(method, step, ...)` is told of the step, d3rlpy's log, and the
    networks for `finetune_baseline`; what an interrupted run left there is gone on with, from its last checkpoint. Actions are meant to
    lie in -1 to 1, which is what the policies reach. BaselineMissingError without d3rlpy; BaselineError, on one line, for a method that
    there is not and for training that fails.
    """
    _require_method(method, METHODS)
    settings = _settings(method, data, config, seed, folder, folder, threads)
    _run(settings | {"online_steps": 0}, data, folder, progress)
    return _policies(folder, "policy", range(settings["checkpoint_every"], config.steps + 1, settings["checkpoint_every"]))


def finetune_baseline(
    method: str,
    data: Transitions,
    config: BaselineConfig,
    online: OnlineBaselineConfig,
    environment: Steps,
    seed: int,
    start: Path,
    folder: Path,
    progress: Progress,
    threads: int = 1,
) -> list[tuple[int, TanhPolicy]]:
    """Go on with `method` (one of ONLINE_METHODS) in the environment; returns (step, policy) from step 0 on, every `evaluate_every` steps.

    Trains on the data first, unless `train_baseline` has done so in `start` with the same data, config and seed. The method's own
    stochastic policy explores; what it records joins the data, and every `update_every` steps there is a gradient step. `folder` gets
    `online_<step>.npz`; the progress's part is "<method> online". Raises as `train_baseline`, and whatever the environment raises.
    """
    _require_method(method, ONLINE_METHODS)
    settings = _settings(method, data, config, seed, start, folder, threads)
    own = {"online_steps": online.steps, "update_every": online.update_every, "evaluate_every": online.evaluate_every}
    _run(settings | own, data, folder, progress, environment)
    return _policies(folder, "online", range(0, online.steps + 1, online.evaluate_every))


def _require_method(method: str, methods: tuple[str, ...]) -> None:
    if method not in methods:
        raise BaselineError(f"there is no baseline '{method}' here; there are {', '.join(methods)}")


def _settings(method: str, data: Transitions, config: BaselineConfig, seed: int, start: Path, folder: Path, threads: int) -> dict[str, Any]:
    """What the worker is told, but for what it is to do. `start` is where the state of the offline training is, or will be."""
    return asdict(config) | {
        "method": method,
        "checkpoint_every": config.steps // config.checkpoints,
        "seed": seed,
        "threads": threads,
        "folder": str(folder),
        "data": str(folder / "data.npz"),
        "state": str(start / f"training_{_digest(method, data, config, seed)}.npz"),
    }


def _digest(method: str, data: Transitions, config: BaselineConfig, seed: int) -> str:
    """Names a training by all that decides it, so that no other is taken for it."""
    digest = hashlib.sha256(f"{RECIPE} {method} {config_hash(config)} {seed}".encode())
    for array in _arrays(data).values():
        digest.update(np.ascontiguousarray(array).data)
    return digest.hexdigest()[:16]


def _arrays(data: Transitions) -> dict[str, Any]:
    """What d3rlpy wants: rows one after the other, and where episodes end. An episode without an end of its own is truncated."""
    last = np.zeros(len(data), dtype=np.bool_)
    last[np.append(data.episode_starts[1:], len(data)) - 1] = True
    return {
        "observations": data.observations,
        "actions": data.actions,
        "rewards": data.rewards,
        "terminated": data.terminated,
        "truncated": (data.truncated | last) & ~data.terminated,
    }


def _run(settings: dict[str, Any], data: Transitions, folder: Path, progress: Progress, environment: Steps | None = None) -> None:
    """Start the worker and serve it until it has ended."""
    interpreter = find_interpreter()
    folder.mkdir(parents=True, exist_ok=True)
    with _written(Path(settings["data"]), data), _Worker(interpreter, settings, folder / LOG) as worker:
        for kind, payload in worker.frames():
            if kind == _PROGRESS:
                said = json.loads(payload)
                progress(said["part"], said["done"], said["total"], said["figures"])
            elif environment is not None:
                worker.answer(_answer(environment, kind, payload))


def _answer(environment: Steps, kind: bytes, payload: bytes) -> Float32Array:
    if kind == _RESET:
        return np.asarray(environment.reset(), dtype=np.float32)
    observation, reward, terminated, truncated = environment.step(np.frombuffer(payload, np.float32).copy())
    return np.append(observation, [reward, terminated, truncated]).astype(np.float32)


@contextmanager
def _written(path: Path, data: Transitions) -> Iterator[None]:
    """The data as a file for as long as the worker may read it."""
    try:
        np.savez(path, **_arrays(data))
        yield
    finally:
        path.unlink(missing_ok=True)


class _Worker:
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

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self._process.kill()
        self._process.wait()
        self._output.close()
        with suppress(BrokenPipeError):  # an answer that it did not live to read
            self._input.close()

    def frames(self) -> Iterator[tuple[bytes, bytes]]:
        """(kind, payload) until the process ends; BaselineError unless it ends well."""
        while len(header := self._output.read(_HEADER.size)) == _HEADER.size:
            kind, length = _HEADER.unpack(header)
            if len(payload := self._output.read(length)) == length:
                yield kind, payload
        if self._process.wait() != 0:
            raise BaselineError(f"{self._method} of d3rlpy {self._reason()}; see {self._log}")

    def answer(self, values: Float32Array) -> None:
        """Send an observation; a process that has died is noticed by `frames`."""
        with suppress(BrokenPipeError):
            self._input.write(_HEADER.pack(_OBSERVATION, values.nbytes) + values.tobytes())
            self._input.flush()

    def _reason(self) -> str:
        code = self._process.returncode
        if code < 0:
            return f"was ended by {signal.Signals(-code).name}"
        lines = self._log.read_text(errors="replace").split("\n")
        return f"failed: {next((line.strip() for line in reversed(lines) if line.strip()), f'exit status {code}')[:300]}"


def _policies(folder: Path, name: str, steps: range) -> list[tuple[int, TanhPolicy]]:
    return [(step, TanhPolicy.load(folder / f"{name}_{step}.npz")) for step in steps]


def _checked(path: Path, name: str, arrays: dict[str, Any], dimensions: int) -> Float32Array:
    """The array of that name if it is finite float32 of that many dimensions, each from 1 to MAX_WIDTH."""
    values: Float32Array = arrays[name]
    if values.dtype != np.float32 or values.ndim != dimensions or not all(1 <= size <= MAX_WIDTH for size in values.shape):
        raise BaselineError(f"{path}: {name} is {values.dtype} {values.shape}, not float32 of {dimensions} dimensions of 1 to {MAX_WIDTH}")
    if not np.isfinite(values).all():
        raise BaselineError(f"{path}: {name} has values that are not finite")
    return values
