"""What the interpreter with d3rlpy runs: one method, trained on arrays, its policy written as arrays.

Started by its path as `python -I d3rlpy_worker.py SETTINGS`, SETTINGS one JSON object; it imports nothing of this project. Standard
output and input carry frames: a letter for the kind, the payload's length (4 bytes, little endian), the payload.

| from here | payload | answer |
|---|---|---|
| P, progress | JSON {"part", "done", "total", "figures"} | none |
| R, reset | none | O: observation (O,) float32 |
| S, step | action (A,) float32 | O: observation (O,), reward, terminated, truncated, float32 |

It ends when standard input is closed, so that it never outlives the process that started it.

What is not said below is d3rlpy 2.8.1's default: discount 0.99, twin Q networks, Polyak 0.005, Adam. Where each method's settings are from:

- BC: d3rlpy's (squared error of a deterministic policy, learning rate 1e-3).
- IQL (Kostrikov et al. 2021): learning rates 3e-4, advantage weights up to 100, the actor's learning rate falling to 0 over training as a
  cosine; all but the cosine are d3rlpy's defaults, and its own reproduction has the cosine too.
- TD3+BC (Fujimoto and Gu 2021): d3rlpy's defaults, which are the paper's (alpha 2.5, learning rates 3e-4, target noise 0.2 clipped at 0.5,
  the policy learns every second step).
- CQL (Kumar et al. 2020): d3rlpy's defaults (weight 5, 10 sampled actions, learning rates 1e-4 for the policy and 3e-4 for Q), but with the
  weight fixed instead of tuned towards a gap, as in d3rlpy's own reproduction of the locomotion scores.
- AWAC (Nair et al. 2020): d3rlpy's defaults (lambda 1, learning rates 3e-4), and weight decay 1e-4 on the policy as in its reproduction.
- Cal-QL (Nakamoto et al. 2023): as CQL, with values bounded from below by the data's returns.
"""

# ruff: noqa: E402  the libraries come after the watch over the process that started this one
from __future__ import annotations

import io
import json
import math
import os
import select
import struct
import sys
import threading
import traceback
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any


def end_with_parent() -> None:
    """Wait until standard input is closed, then end this process."""
    poll = select.poll()
    poll.register(0, 0)  # asked for nothing, it still reports that the other end is closed
    poll.poll()
    os._exit(1)


if __name__ == "__main__":  # to load the libraries takes as long as 12 s, in which that process may end
    threading.Thread(target=end_with_parent, daemon=True).start()

import d3rlpy
import gymnasium
import numpy as np
import torch
from d3rlpy.algos import AWACConfig, BCConfig, CalQLConfig, CQLConfig, IQLConfig, TD3PlusBCConfig
from d3rlpy.models import VectorEncoderFactory
from d3rlpy.optimizers import AdamFactory, CosineAnnealingLRFactory
from numpy.typing import NDArray

Float32Array = NDArray[np.float32]

HEADER = struct.Struct("<cI")
PROGRESS, RESET, STEP = b"P", b"R", b"S"
PROBES = 256  # observations on which the written policy is compared with d3rlpy's
TOLERANCE = 1e-5  # of an action
BEAT_STEPS = 100  # between two words of progress


class Channel:
    """Frames to and from the process that started this one."""

    def __init__(self) -> None:
        self._frames = os.fdopen(os.dup(1), "wb")
        os.dup2(2, 1)  # d3rlpy logs to standard output, which belongs to the frames

    def send(self, kind: bytes, payload: bytes = b"") -> None:
        """One frame."""
        self._frames.write(HEADER.pack(kind, len(payload)) + payload)
        self._frames.flush()

    def ask(self, kind: bytes, payload: bytes = b"") -> Float32Array:
        """One frame, and the answer to it."""
        self.send(kind, payload)
        _, length = HEADER.unpack(sys.stdin.buffer.read(HEADER.size))
        return np.frombuffer(sys.stdin.buffer.read(length), np.float32).copy()


class ParentEnvironment(gymnasium.Env[Float32Array, Float32Array]):
    """The environment of the process that started this one."""

    def __init__(self, channel: Channel, observation_size: int, action_size: int) -> None:
        self._channel = channel
        self.observation_space = gymnasium.spaces.Box(-np.inf, np.inf, (observation_size,), np.float32)
        self.action_space = gymnasium.spaces.Box(-1.0, 1.0, (action_size,), np.float32)

    def reset(self, *, seed: int | None = None, options: dict[str, Any] | None = None) -> tuple[Float32Array, dict[str, Any]]:
        """The first observation (O,)."""
        return self._channel.ask(RESET), {}

    def step(self, action: Float32Array) -> tuple[Float32Array, float, bool, bool, dict[str, Any]]:
        """What action (A,) leads to."""
        answer = self._channel.ask(STEP, action.astype(np.float32).tobytes())
        return answer[:-3], float(answer[-3]), bool(answer[-2]), bool(answer[-1]), {}


class Checkpoints:
    """d3rlpy's logger: at every commit of its figures it writes the policy to `<file>_<step>.npz`, then says how far training is.

    Steps are counted from `begun`, those of an earlier process, on. `state` keeps what a later one goes on from, if it is a path.
    """

    def __init__(
        self, part: str, file: Path, total: int, every: int, probe: Float32Array, channel: Channel, begun: int = 0,
        state: Path | None = None,
    ) -> None:  # fmt: skip
        self._part, self._file, self._total, self._every, self._probe, self._channel = part, file, total, every, probe, channel
        self._begun, self._state = begun, state
        self._figures: dict[str, float] = {}

    def create(self, algorithm: Any, experiment_name: str, n_steps_per_epoch: int) -> Checkpoints:
        """This, as the logger of `algorithm`."""
        self._algorithm = algorithm
        return self

    def write_params(self, params: dict[str, Any]) -> None:
        """Nothing: the process that started this one chose them."""

    def before_write_metric(self, epoch: int, step: int) -> None:
        """Begin with no figures."""
        self._figures = {}

    def write_metric(self, epoch: int, step: int, name: str, value: float) -> None:
        """Keep the mean of a loss or of the returns; times are left out."""
        if math.isfinite(value) and not name.startswith("time_"):
            self._figures[name] = float(value)

    def after_write_metric(self, epoch: int, step: int) -> None:
        """Write and say."""
        self.write(self._algorithm, self._begun + step)
        if self._state is not None:
            keep_state(self._state, self._algorithm, self._begun + step)
        self._say(self._begun + step, self._figures)

    def watch_model(self, epoch: int, step: int) -> None:
        """Nothing: the figures are enough."""

    def save_model(self, epoch: int, algorithm: Any) -> None:
        """Nothing: the policy is written by itself."""

    def close(self) -> None:
        """Nothing is open."""

    def beat(self, algorithm: Any, epoch: int, step: int) -> None:
        """Say how far training is between two checkpoints; d3rlpy calls it at every step."""
        if step % BEAT_STEPS == 0 and step % self._every:
            self._say(self._begun + step, {})

    def write(self, algorithm: Any, step: int) -> None:
        """The deterministic policy of `step`; refused unless it acts as d3rlpy's."""
        layers = policy_layers(algorithm.impl.policy)
        difference = np.abs(act(layers, self._probe) - algorithm.predict(self._probe)).max()
        if not difference <= TOLERANCE:
            raise ValueError(f"the policy of step {step} differs from d3rlpy's by {difference:.2g} (nan: training has diverged)")
        arrays: dict[str, Any] = {f"weight_{i}": weight.numpy() for i, (weight, _) in enumerate(layers)}
        arrays |= {f"bias_{i}": bias.numpy() for i, (_, bias) in enumerate(layers)}
        with whole_or_absent(self._file.with_name(f"{self._file.name}_{step}.npz")) as temporary, temporary.open("wb") as stream:
            np.savez(stream, **arrays)

    def _say(self, step: int, figures: dict[str, float]) -> None:
        content = {"part": self._part, "done": step, "total": self._total, "figures": figures}
        self._channel.send(PROGRESS, json.dumps(content).encode())


@contextmanager
def whole_or_absent(path: Path) -> Iterator[Path]:
    """A temporary path beside `path`, which is synced and renamed to `path` if nothing fails, and removed otherwise."""
    temporary = path.with_name(f".{path.name}.tmp")
    try:
        yield temporary
        with temporary.open("rb") as stream:
            os.fsync(stream.fileno())
        os.replace(temporary, path)
    finally:
        temporary.unlink(missing_ok=True)


def keep_state(path: Path, algorithm: Any, step: int) -> None:
    """Networks and optimisers after `step` gradient steps, and where numpy's and torch's random numbers are, as arrays."""
    networks = io.BytesIO()
    algorithm.impl.save_model(networks)
    _, keys, position, _, _ = np.random.get_state()
    with whole_or_absent(path) as temporary, temporary.open("wb") as stream:
        np.savez(
            stream, networks=np.frombuffer(networks.getbuffer(), np.uint8), step=step, keys=keys, position=position,
            torch=torch.get_rng_state().numpy(),
        )  # fmt: skip


def restore_state(path: Path, algorithm: Any) -> int:
    """Take over what `keep_state` kept; returns its step. ValueError names a file that is damaged."""
    try:
        with np.load(path, allow_pickle=False) as arrays:
            algorithm.impl.load_model(io.BytesIO(arrays["networks"].tobytes()))
            np.random.set_state(("MT19937", arrays["keys"], int(arrays["position"]), 0, 0.0))  # no half of a pair of normals is kept
            torch.set_rng_state(torch.from_numpy(arrays["torch"]))
            step = int(arrays["step"])
    except Exception as error:  # numpy, zipfile, zlib and torch have each their own
        raise ValueError(f"{path} is damaged ({type(error).__name__}); delete it to train anew") from error
    algorithm.set_grad_step(step)
    return step


def policy_layers(policy: torch.nn.Module) -> list[tuple[torch.Tensor, torch.Tensor]]:
    """Weight (out, in) and bias (out,) of every layer down to the mean action; the other head, of the deviation, is left out."""
    layers = [module for name, module in policy.named_modules() if isinstance(module, torch.nn.Linear) and not name.endswith("_logstd")]
    return [(layer.weight.detach(), layer.bias.detach()) for layer in layers]


def act(layers: list[tuple[torch.Tensor, torch.Tensor]], observations: Float32Array) -> Float32Array:
    """Actions (B, A) as the reader of the file computes them: relu between the layers, tanh after the last."""
    hidden = torch.from_numpy(observations)
    for weight, bias in layers[:-1]:
        hidden = torch.relu(torch.nn.functional.linear(hidden, weight, bias))
    actions: Float32Array = torch.tanh(torch.nn.functional.linear(hidden, *layers[-1])).numpy()
    return actions


def configuration(settings: dict[str, Any]) -> Any:
    """d3rlpy's config of the method; the docstring above says where values are from."""
    encoder = VectorEncoderFactory(hidden_units=settings["hidden"])
    if settings["method"] == "bc":
        return BCConfig(batch_size=settings["batch_size"], encoder_factory=encoder)
    common: dict[str, Any] = {"batch_size": settings["batch_size"], "actor_encoder_factory": encoder, "critic_encoder_factory": encoder}
    if settings["method"] == "iql":
        falling = AdamFactory(lr_scheduler_factory=CosineAnnealingLRFactory(T_max=settings["steps"]))
        own = {"expectile": settings["expectile"], "weight_temp": settings["weight_temp"]}
        return IQLConfig(actor_optim_factory=falling, value_encoder_factory=encoder, **own, **common)
    if settings["method"] == "awac":
        return AWACConfig(actor_optim_factory=AdamFactory(weight_decay=1e-4), **common)
    if settings["method"] == "td3+bc":
        return TD3PlusBCConfig(**common)
    return {"cql": CQLConfig, "cal-ql": CalQLConfig}[settings["method"]](alpha_learning_rate=0.0, **common)


class IndexedDataset(d3rlpy.dataset.MDPDataset):  # type: ignore[misc]
    """d3rlpy's data set, whose batches are drawn by one index into its arrays, with the same distribution.

    Its own makes an object of every transition, which takes longer than the gradient step. It cannot tell returns to go (Cal-QL).
    """

    def __init__(
        self, observations: Float32Array, actions: Float32Array, rewards: Float32Array, terminals: Float32Array, timeouts: Float32Array,
        **kinds: Any,
    ) -> None:  # fmt: skip
        super().__init__(observations, actions, rewards, terminals, timeouts, **kinds)
        self._arrays = observations, actions, rewards.reshape(-1, 1), terminals.reshape(-1, 1)
        self._drawn = np.flatnonzero(timeouts == 0)  # a step that was cut off has no successor

    def sample_transition_batch(self, batch_size: int) -> Any:
        """B transitions; what follows a terminal is zeros, as in d3rlpy."""
        observations, actions, rewards, terminals = self._arrays
        picks = self._drawn[np.random.randint(len(self._drawn), size=batch_size)]
        following = np.minimum(picks + 1, len(actions) - 1)
        goes_on = 1 - terminals[picks]
        return d3rlpy.dataset.TransitionMiniBatch(
            observations=observations[picks], actions=actions[picks], rewards=rewards[picks],
            next_observations=observations[following] * goes_on, next_actions=actions[following] * goes_on,
            terminals=terminals[picks], intervals=np.ones_like(terminals[picks]), transitions=[],
        )  # fmt: skip


def read_data(path: Path, kind: Any = d3rlpy.dataset.MDPDataset) -> tuple[Any, Float32Array]:
    """d3rlpy's data set, and observations to probe policies with.

    A row's next observation is the next row's; d3rlpy leaves out the last row of an episode that did not terminate, which has none.
    """
    with np.load(path, allow_pickle=False) as arrays:
        observations, actions = arrays["observations"], arrays["actions"]
        dataset = kind(
            observations, actions, arrays["rewards"], arrays["terminated"].astype(np.float32), arrays["truncated"].astype(np.float32),
            action_space=d3rlpy.ActionSpace.CONTINUOUS, action_size=actions.shape[1],
        )  # fmt: skip
    return dataset, observations[:PROBES].copy()


def train(settings: dict[str, Any], channel: Channel) -> None:
    """Learn from the data alone, from where settings["state"] is, with the numbers that an uninterrupted process would have had."""
    d3rlpy.seed(settings["seed"])
    kind = d3rlpy.dataset.MDPDataset if settings["method"] == "cal-ql" else IndexedDataset
    dataset, probe = read_data(Path(settings["data"]), kind)
    algorithm = configuration(settings).create()
    algorithm.build_with_dataset(dataset)
    total, every, state = settings["steps"], settings["checkpoint_every"], Path(settings["state"])
    begun = restore_state(state, algorithm) if state.exists() else 0
    checkpoints = Checkpoints(settings["method"], state.with_name("policy"), total, every, probe, channel, begun, state)
    algorithm.fit(
        dataset, n_steps=total - begun, n_steps_per_epoch=every, logger_adapter=checkpoints, show_progress=False,
        callback=checkpoints.beat,
    )  # fmt: skip


def finetune(settings: dict[str, Any], channel: Channel) -> None:
    """Go on from settings["state"] in the parent's environment, a gradient step every so many steps, from the data and what is recorded.

    The method's own stochastic policy explores. IQL's actor gets its full, constant learning rate back.
    """
    dataset, probe = read_data(Path(settings["data"]))
    environment = ParentEnvironment(channel, probe.shape[1], dataset.dataset_info.action_size)
    config = configuration(settings)
    config.actor_optim_factory.lr_scheduler_factory = None
    algorithm = config.create()
    algorithm.build_with_env(environment)
    restore_state(Path(settings["state"]), algorithm)
    d3rlpy.seed(settings["seed"])
    for group in algorithm.impl.policy_optim.param_groups:
        group["lr"] = config.actor_learning_rate
    total, every = settings["online_steps"], settings["evaluate_every"]
    checkpoints = Checkpoints(f"{settings['method']} online", Path(settings["folder"], "online"), total, every, probe, channel)
    checkpoints.write(algorithm, 0)
    algorithm.fit_online(
        environment, buffer=dataset, n_steps=total, n_steps_per_epoch=every, update_interval=settings["update_every"],
        logger_adapter=checkpoints, show_progress=False, callback=checkpoints.beat,
    )  # fmt: skip


def main(settings: dict[str, Any]) -> None:
    """Train as far as that has not been done, then fine-tune if that is wanted."""
    channel = Channel()
    torch.set_num_threads(settings["threads"])
    train(settings, channel)
    if settings["online_steps"]:
        finetune(settings, channel)


if __name__ == "__main__":
    try:
        main(json.loads(sys.argv[1]))
    except Exception as error:
        traceback.print_exc()
        print(f"{type(error).__name__}: {next(iter(str(error).splitlines()), '')}", file=sys.stderr)  # the last line is what users see
        os._exit(1)
    os._exit(0)  # everything is written; taking the libraries down would cost another 2 s
