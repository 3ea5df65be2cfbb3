"""A long training that may be interrupted: what it has learnt is kept in a file, beside how far it is."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Mapping
from contextlib import nullcontext
from functools import partial
from pathlib import Path
from typing import Any, Protocol

import torch
from torch import Tensor

from common.config import config_hash
from common.errors import QuadloopError
from common.files import one_at_a_time
from common.typed_values import as_type
from learners.checkpoint import blaming, load_checkpoint, save_checkpoint
from learners.progress import Progress

SAVE_PERIOD_S = 30.0  # this much work may be lost
PROGRESS_STEPS = 100


class DivergedError(QuadloopError):
    """A training whose figures are no numbers any more; of it nothing is kept after the last file."""


class Stateful(Protocol):
    """A module or an optimiser."""

    def state_dict(self) -> dict[str, Any]:
        """All that it has learnt."""

    def load_state_dict(self, state_dict: dict[str, Any]) -> Any:
        """Take over what `state_dict` gave."""


RECIPE = 5
"""Raised by whoever changes the learners so that equal data, settings and seeds give other weights: nothing older is taken over."""


def descend(optimizer: torch.optim.Optimizer, loss: Tensor) -> None:
    """One gradient step down `loss`, a number."""
    optimizer.zero_grad()
    loss.backward()
    optimizer.step()


def part_path(folder: Path | None, part: str, what: Mapping[str, Any]) -> Path | None:
    """The file of a part of a training in `folder`, named by all that decides its weights: data, settings, seed. None without a folder."""
    return folder / f"{part}-{config_hash({'recipe': RECIPE, **what})[:16]}.pt" if folder is not None else None


def train(
    part: str,
    path: Path | None,
    steps: int,
    update: Callable[[], dict[str, Tensor]],
    learnt: Mapping[str, Stateful],
    generator: torch.Generator,
    progress: Progress,
) -> None:
    """Call `update`, which changes `learnt` by one gradient step and returns named figures, `steps` times in all.

    `path` keeps `learnt` and the generator, whole and at least twice a minute: a training that was ended by whatever goes on there and
    gives the same weights, and a finished one is taken over. Whoever else wants the same part says so and waits for it. None keeps nothing.
    CheckpointError for a file that does not fit.
    """
    say_waiting = partial(progress, f"{part}, which another run learns", 0, steps, {})
    with one_at_a_time(path, say_waiting) if path is not None else nullcontext():
        done = _restored(path, steps, learnt, generator) if path is not None and path.exists() else 0
        saved_s = time.monotonic()
        for step in range(done + 1, steps + 1):
            figures = update()
            if step % PROGRESS_STEPS == 0 or step == steps:
                values = {name: float(value) for name, value in figures.items()}
                refuse_divergence(part, step, values)
                progress(part, step, steps, values)
            if path is not None and (step == steps or time.monotonic() - saved_s > SAVE_PERIOD_S):
                states = {name: thing.state_dict() for name, thing in learnt.items()}
                save_checkpoint(path, {"step": step, "generator": generator.get_state(), "learnt": states})
                saved_s = time.monotonic()


def refuse_divergence(part: str, step: int, figures: Mapping[str, float]) -> None:
    """DivergedError if a figure is no number any more."""
    for name, value in figures.items():
        if not math.isfinite(value):
            advice = "begin anew with a lower learning rate (this part's setting learning_rate), unless data or start policy are at fault"
            raise DivergedError(f"{part}: learning blew up by step {step:,} ({name} is {value}); {advice}")


def _restored(path: Path, steps: int, learnt: Mapping[str, Stateful], generator: torch.Generator) -> int:
    """Take over what `path` holds; the number of steps that are behind it."""
    with blaming(path):
        content = load_checkpoint(path)
        for name, thing in learnt.items():
            thing.load_state_dict(content["learnt"][name])
        generator.set_state(content["generator"])
        done = as_type(int, content["step"])
        if not 0 <= done <= steps:
            raise ValueError(f"it is of step {done:,} of {steps:,}")
    return int(done)
