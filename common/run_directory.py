"""The directory of one run: what was asked for, which code did it, what it measured, and which stages are done."""

from __future__ import annotations

import re
import shutil
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Generic, TypeVar

from common.config import first_difference, load_config, to_yaml
from common.errors import ConfigError, QuadloopError
from common.files import hold, read_json, remove_left_behind, write_bytes, write_json
from common.metrics import Metrics
from common.revision import git_revision

CONFIG = "config.yaml"
REVISION = "revision"
INPUTS = "inputs.json"
STAGES = "stages"
HASHED = "_sha256"  # ends the name of an input that is known by its content
LOCK = ".lock"
CLEARING = ".clearing"  # the config of a run that is being deleted
_STAGE_NAME = re.compile(r"[a-z0-9][a-z0-9_.-]{0,63}")

T = TypeVar("T")


class RunDirectoryError(QuadloopError):
    """The directory cannot be used for this run."""


class RunDirectory(Generic[T]):
    """`path` with `config.yaml` (resolved), `inputs.json`, `revision`, `metrics.csv`, `tensorboard/`, `stages/` and artifacts.

    `inputs` is what else decides the outcome: the seed, hashes or paths of what the run starts from.
    A directory that holds anything is refused, unless `resume` continues the run that began there (it must have had an equal config and
    equal inputs) or `force` deletes what is in it and starts anew. Neither touches a directory that no run made, or in which another
    process works; `force` spares one that holds a file or folder of `sources`, which the run reads. `resume` in an empty or absent
    directory starts a run, so that one command serves for both.

    Use it as a context manager, or call `close`: until then no other process may work in it, and TensorBoard's events are written with
    some delay.
    """

    def __init__(
        self,
        path: Path,
        config: T,
        *,
        inputs: Mapping[str, Any] | None = None,
        sources: Sequence[Path] = (),
        resume: bool = False,
        force: bool = False,
    ) -> None:
        self.path = path
        self.config = config
        self.inputs = {name: value if isinstance(value, int) else str(value) for name, value in (inputs or {}).items()}
        self._sources = sources
        self._refuse_what_no_run_made()
        path.mkdir(parents=True, exist_ok=True)
        self._lock = (path / LOCK).open("ab")
        try:
            self._begin(resume, force)
            self.metrics = Metrics(path)
        except BaseException:
            self._lock.close()
            raise

    def __enter__(self) -> RunDirectory[T]:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Flush what is still to be written, and let others work in the directory."""
        self.metrics.close()
        self._lock.close()

    def stage_result(self, name: str) -> dict[str, Any] | None:
        """What `mark_stage_done` was given for the stage `name`, or None if that stage is still to do."""
        path = self._stage_path(name)
        return _json_object(path) if path.exists() else None

    def mark_stage_done(self, name: str, result: Mapping[str, Any]) -> None:
        """Remember that the stage `name` is done, with a `result` of JSON values: a resumed run does not do it again."""
        write_json(self._stage_path(name), dict(result))

    def _stage_path(self, name: str) -> Path:
        if not _STAGE_NAME.fullmatch(name):
            raise ValueError(f"'{name}' is no name for a stage")
        return self.path / STAGES / f"{name}.json"

    def _refuse_what_no_run_made(self) -> None:
        if self._holds_anything() and not self._half_cleared() and not self._is_a_run():
            raise RunDirectoryError(f"{self.path} holds files that no run made; choose another --out")

    def _begin(self, resume: bool, force: bool) -> None:
        if not hold(self._lock):
            raise RunDirectoryError(f"another process works in {self.path}; wait for it or end it, or choose another --out")
        for directory in (self.path, *(entry for entry in self.path.iterdir() if entry.is_dir() and not entry.is_symlink())):
            remove_left_behind(directory)
        if self._half_cleared():
            if not force:
                raise RunDirectoryError(f"a --force was interrupted in {self.path}; add --force again, or choose another --out")
            self._clear()
        elif self._holds_anything():
            self._resume_or_clear(resume, force)
        if not (self.path / CONFIG).exists():
            write_bytes(self.path / REVISION, f"{git_revision()}\n".encode())
            write_json(self.path / INPUTS, self.inputs)
            write_bytes(self.path / CONFIG, to_yaml(self.config).encode())

    def _resume_or_clear(self, resume: bool, force: bool) -> None:
        if resume:
            self._refuse_other_config()
        elif force:
            self._clear()
        else:
            raise RunDirectoryError(f"{self.path} holds a run; choose another --out, or add --resume to go on or --force to start anew")

    def _is_a_run(self) -> bool:
        """Many projects have a config.yaml; a run has more."""
        return all((self.path / name).is_file() for name in (REVISION, INPUTS, CONFIG))

    def _half_cleared(self) -> bool:
        return all((self.path / name).is_file() for name in (REVISION, INPUTS, CLEARING))

    def _holds_anything(self) -> bool:
        """Hidden files do not count, nor what is written before the config: a crash may leave them."""
        if self.path.exists() and not self.path.is_dir():
            raise RunDirectoryError(f"{self.path} is a file; choose another --out")
        early = (REVISION, INPUTS)
        return self.path.exists() and any(entry.name not in early and not entry.name.startswith(".") for entry in self.path.iterdir())

    def _refuse_other_config(self) -> None:
        defaults = type(self.config)()  # what the file lacks was no setting yet; it must not count as what is asked for now
        try:
            before = load_config(defaults, self.path / CONFIG)
        except ConfigError as error:
            raise RunDirectoryError(f"{error}; that run is of another version or was changed: choose another --out, or --force") from None
        difference = first_difference(before, self.config) or self._other_input()
        if difference is not None:
            advice = "resume without changes or choose another --out"
            raise RunDirectoryError(f"{self.path} holds a run of another config ({difference}); {advice}")

    def _other_input(self) -> str | None:
        """The first input that differs from the run's, in words; one that the run did not write down was none yet."""
        before = _json_object(self.path / INPUTS)
        names = (name for name in self.inputs if name in before and self.inputs[name] != before[name])
        return next((_differ(name, before[name], self.inputs[name]) for name in names), None)

    def _clear(self) -> None:
        inside = next((source for source in self._sources if source.resolve().is_relative_to(self.path.resolve())), None)
        if inside is not None:
            raise RunDirectoryError(f"{self.path} holds {inside}, which this run reads and --force would delete; choose another --out")
        foreign = next((entry.name for entry in self.path.iterdir() if entry.name.startswith(".") and entry.is_dir()), None)
        if foreign is not None:  # no run makes such a folder, and it may be somebody's .git
            raise RunDirectoryError(f"{self.path} also holds {foreign}, which no run made; move it away, or choose another --out")
        # The config goes first: nothing takes the half that an interruption leaves for a whole run, and another --force may finish.
        if not self._half_cleared():
            (self.path / CONFIG).replace(self.path / CLEARING)
        for entry in self.path.iterdir():
            if entry.name in (LOCK, REVISION, INPUTS, CLEARING):
                continue
            if entry.is_dir() and not entry.is_symlink():
                shutil.rmtree(entry)
            else:
                entry.unlink()
        for name in (CLEARING, REVISION, INPUTS):  # by all three a run is known that is half deleted
            (self.path / name).unlink()


def _differ(name: str, before: Any, now: Any) -> str:
    """How an input differs. Its hash alone says nothing to whoever edited a file or added one."""
    if name.endswith(HASHED):
        return f"other or changed {name.removesuffix(HASHED)}: sha256 was {before}, is {now}"
    return f"{name} is {before}, not {now}"


def _json_object(path: Path) -> dict[str, Any]:
    try:
        value = read_json(path)
    except (OSError, ValueError):
        value = None
    if not isinstance(value, dict):
        raise RunDirectoryError(f"{path} is damaged; delete it to do that part again, or choose another --out")
    return value
