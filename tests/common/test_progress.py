"""Progress on standard error, with a clock of our own."""

import io
from pathlib import Path

import pytest

from common.metrics import Metrics
from common.progress import Progress
from common.reporter import Reporter


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


class Clock:
    now_s = 0.0

    def __call__(self) -> float:
        return self.now_s


def test_elsewhere_than_on_a_terminal_a_line_every_ten_seconds() -> None:
    clock, stream = Clock(), io.StringIO()
    with Progress("collect", 5000, stream=stream, clock=clock) as progress:
        for second in range(1, 26):
            clock.now_s = float(second)
            progress.advance(100)
    assert stream.getvalue().splitlines() == [
        "collect: 100/5,000 steps, 100 steps/s, 0:00:49 left",
        "collect: 1,100/5,000 steps, 100 steps/s, 0:00:39 left",
        "collect: 2,100/5,000 steps, 100 steps/s, 0:00:29 left",
        "collect: 2,500/5,000 steps, 100 steps/s, 0:00:25 left",
    ]


def test_a_resumed_task_counts_its_own_rate() -> None:
    clock = Clock()
    progress = Progress("fit", 1000, "updates", done=900, stream=io.StringIO(), clock=clock)
    clock.now_s = 20.0
    progress.reach(910)
    assert progress.status() == "910/1,000 updates, 0.5 updates/s, 0:03:00 left"


def test_before_anything_is_done_nothing_is_promised() -> None:
    assert Progress("fit", 10, stream=io.StringIO(), clock=Clock()).status() == "0/10 steps"


def test_what_is_waited_for_is_said_at_once() -> None:
    stream = io.StringIO()
    Progress("critics", 10, stream=stream, clock=Clock()).reach(0)
    assert stream.getvalue() == "critics: 0/10 steps\n"


def test_hours() -> None:
    clock = Clock()
    progress = Progress("fit", 40_001, stream=io.StringIO(), clock=clock)
    clock.now_s = 1.0
    progress.advance()
    assert progress.status().endswith("11:06:40 left")


def test_a_bar_on_a_terminal() -> None:
    clock, stream = Clock(), Terminal()
    with Progress("collect", 10, stream=stream, clock=clock) as progress:
        clock.now_s = 1.0
        progress.advance(5)
    assert "collect" in stream.getvalue()
    assert "5/10 steps, 5 steps/s, 0:00:01 left" in stream.getvalue()


def test_standard_output_stays_clean(capsys: pytest.CaptureFixture[str]) -> None:
    with Progress("collect", 1) as progress:
        progress.advance()
    printed = capsys.readouterr()
    assert printed.out == ""
    assert "collect: 1/1 steps" in printed.err


def test_reporter_shows_each_part_and_keeps_its_figures(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    metrics = Metrics(tmp_path)
    with Reporter(metrics) as report:
        report("critics", 100, 200, {"loss": 0.5})
        report("critics", 200, 200, {"loss": 0.25})
        report("improvement", 10, 10, {})
    metrics.close()
    assert (tmp_path / "metrics.csv").read_text() == "stage,step,loss\ncritics,100,0.5\ncritics,200,0.25\n"
    lines = capsys.readouterr().err.splitlines()
    assert [line.split(" steps")[0] for line in lines] == ["critics: 100/200", "critics: 200/200", "improvement: 10/10"]


def test_reporter_replaces_what_an_interrupted_run_had_measured_further_on(tmp_path: Path) -> None:
    for steps in ((100, 200, 300), (200, 300)):  # killed after 300, resumed from a checkpoint made at 100
        metrics = Metrics(tmp_path)
        with Reporter(metrics) as report:
            for step in steps:
                report("critics", step, 300, {"loss": 3 * step / len(steps)})
        metrics.close()
    assert (tmp_path / "metrics.csv").read_text() == "stage,step,loss\ncritics,100,100.0\ncritics,200,300.0\ncritics,300,450.0\n"
