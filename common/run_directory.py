"""The directory of one run: what was asked for, which code did it, what it measured, and which stages are done."""

from __future__ import annotations

import json
import re
import shutil
from collections.abc import Mapping
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Any, Generic, TypeVar

from common.config import first_difference, load_config, to_yaml
from common.errors import QuadloopError
from common.files import write_bytes, write_json
from common.metrics import Metrics
from common.revision import git_revision

if TYPE_CHECKING:
    from typing_extensions import Self  # typing has it from Python 3.11

CONFIG = "config.yaml"
REVISION = "revision"
STAGES = "stages"
_STAGE_NAME = re.compile(r"[a-z0-9][a-z0-9_.-]{0,63}")

T = TypeVar("T")


class RunDirectoryError(QuadloopError):
    """The directory cannot be used for this run."""


class RunDirectory(Generic[T]):
    """`path` with `config.yaml` (resolved), `revision`, `metrics.csv`, `tensorboard/` and `stages/`; artifacts go beside them.

    A directory that holds anything is refused, unless `resume` continues the run that began there (it must have had an equal
    config) or `force` deletes what is in it and starts anew. Neither touches a directory that no run
    made. `resume` in an empty or absent directory starts a run, so that one command serves for both.

    Use it as a context manager, or call `close`: TensorBoard's events are written with some delay.
    """

    def __init__(self, path: Path, config: T, *, resume: bool = False, force: bool = False) -> None:
        self.path = path
        self.config = config
        self._refuse_or_clear(resume, force)
        if not (path / CONFIG).exists():
            write_bytes(path / REVISION, f"{git_revision()}\n".encode())
            write_bytes(path / CONFIG, to_yaml(config).encode())
        self.metrics = Metrics(path)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self.close()

    def close(self) -> None:
        """Flush what is still to be written."""
        self.metrics.close()

    def stage_result(self, name: str) -> dict[str, Any] | None:
        """What `mark_stage_done` was given for the stage `name`, or None if that stage is still to do."""
        path = self._stage_path(name)
        if not path.exists():
            return None
        try:
            result = json.loads(path.read_bytes())
        except ValueError:
            result = None
        if not isinstance(result, dict):
            raise RunDirectoryError(f"{path} is damaged; delete it to do the stage '{name}' again")
        return result

    def mark_stage_done(self, name: str, result: Mapping[str, Any]) -> None:
        """Remember that the stage `name` is done, with a `result` of JSON values: a resumed run does not do it again."""
        write_json(self._stage_path(name), dict(result))

    def _stage_path(self, name: str) -> Path:
        if not _STAGE_NAME.fullmatch(name):
            raise ValueError(f"'{name}' is no name for a stage")
        return self.path / STAGES / f"{name}.json"

    def _refuse_or_clear(self, resume: bool, force: bool) -> None:
        if not self._holds_anything():
            return
        if not (self.path / CONFIG).is_file():
            raise RunDirectoryError(f"{self.path} holds files that no run made; choose another --out")
        if resume:
            self._refuse_other_config()
        elif force:
            self._clear()
        else:
            raise RunDirectoryError(f"{self.path} holds a run; choose another --out, or add --resume to go on or --force to start anew")

    def _holds_anything(self) -> bool:
        """Hidden files do not count: what a crash may leave of a file that was being written is one."""
        if self.path.exists() and not self.path.is_dir():
            raise RunDirectoryError(f"{self.path} is a file; choose another --out")
        return self.path.exists() and any(entry.name != REVISION and not entry.name.startswith(".") for entry in self.path.iterdir())

    def _refuse_other_config(self) -> None:
        difference = first_difference(load_config(self.config, self.path / CONFIG), self.config)
        if difference is not None:
            raise RunDirectoryError(f"{self.path} holds a run of another config ({difference}); drop the changes or choose another --out")

    def _clear(self) -> None:
        # The config goes first: what a crash leaves of the rest is no run, so that nothing takes half of it for a whole one.
        (self.path / CONFIG).unlink()
        for entry in self.path.iterdir():
            if entry.is_dir() and not entry.is_symlink():
                shutil.rmtree(entry)
            else:
                entry.unlink()
