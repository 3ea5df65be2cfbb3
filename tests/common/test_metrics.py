"""The table of metrics, and the same numbers for TensorBoard."""

import math
import time
from pathlib import Path
from typing import Any

import pytest

from common.metrics import Metrics, MetricsError, rows_of_stage


def scalars(folder: Path) -> dict[str, list[tuple[int, float]]]:
    """Name -> (step, value) as TensorBoard shows them."""
    accumulators: Any = pytest.importorskip("tensorboard.backend.event_processing.event_accumulator")
    shown = accumulators.EventAccumulator(str(folder), {"scalars": 0, "tensors": 0}).Reload()
    return {name: [(event.step, event.value) for event in shown.Scalars(name)] for name in shown.Tags()["scalars"]}


def test_rows_are_in_the_file_at_once(tmp_path: Path) -> None:
    metrics = Metrics(tmp_path)
    metrics.write("critics", 10, {"loss": 0.1, "q": -2})
    metrics.write("critics", 20, {"loss": 1e-9, "q": math.nan})
    assert (tmp_path / "metrics.csv").read_text() == "stage,step,loss,q\ncritics,10,0.1,-2.0\ncritics,20,1e-09,nan\n"
    metrics.close()


def test_a_new_name_gets_a_column(tmp_path: Path) -> None:
    metrics = Metrics(tmp_path)
    metrics.write("critics", 10, {"loss": 0.5})
    metrics.write("improvement", 1, {"kl": 0.25})
    metrics.write("improvement", 2, {"loss": 4.0})
    metrics.close()
    assert (tmp_path / "metrics.csv").read_text() == "stage,step,loss,kl\ncritics,10,0.5,\nimprovement,1,,0.25\nimprovement,2,4.0,\n"


def test_a_resumed_stage_forgets_what_came_after_its_checkpoint(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    first = Metrics(tmp_path)
    for step in (10, 20, 30):
        first.write("a", step, {"x": float(step)})
        first.write("b", step, {"x": float(-step)})
    first.close()
    later = time.time() + 1.0  # TensorBoard orders the event files of a folder by the second in which they were begun
    monkeypatch.setattr(time, "time", lambda: later)
    second = Metrics(tmp_path)
    second.drop_after("a", 20)
    second.write("a", 30, {"x": 7.0})
    second.close()
    assert (tmp_path / "metrics.csv").read_text().split() == [
        "stage,step,x", "a,10,10.0", "b,10,-10.0", "a,20,20.0", "b,20,-20.0", "b,30,-30.0", "a,30,7.0",
    ]  # fmt: skip
    assert scalars(tmp_path / "tensorboard" / "a") == {"x": [(10, 10.0), (20, 20.0), (30, 7.0)]}
    assert scalars(tmp_path / "tensorboard" / "b") == {"x": [(10, -10.0), (20, -20.0), (30, -30.0)]}


def test_a_half_written_last_row_is_dropped(tmp_path: Path) -> None:
    (tmp_path / "metrics.csv").write_text("stage,step,x\na,10,1.0\na,20,2.")
    metrics = Metrics(tmp_path)
    metrics.write("a", 20, {"x": 2.5})
    metrics.close()
    assert (tmp_path / "metrics.csv").read_text() == "stage,step,x\na,10,1.0\na,20,2.5\n"


def test_drop_after_without_a_table_is_nothing(tmp_path: Path) -> None:
    Metrics(tmp_path).drop_after("a", 20)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("text", ["", "time,x\n1,2\n", "stage,step,x\na,10\n", "stage,step,x\na,ten,1.0\n", "stage,step,x\na,10,1,2\n"])
def test_a_table_of_someone_else_is_refused(tmp_path: Path, text: str) -> None:
    (tmp_path / "metrics.csv").write_text(text)
    with pytest.raises(MetricsError, match=r"metrics\.csv .*choose another --out"):
        Metrics(tmp_path)
    assert (tmp_path / "metrics.csv").read_text() == text


def test_the_rows_of_a_stage(tmp_path: Path) -> None:
    metrics = Metrics(tmp_path)
    metrics.write("critics", 10, {"loss": 0.5})
    metrics.write("improvement", 1, {"kl": 0.25})
    metrics.close()
    assert rows_of_stage(tmp_path / "metrics.csv", "critics") == [{"stage": "critics", "step": "10", "loss": "0.5", "kl": ""}]
    assert rows_of_stage(tmp_path / "metrics.csv", "online") == []
