"""Results for people and machines."""

import json
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest

from common.result import emit, json_value, only_results_on_stdout

RESULT = {
    "policy": Path("runs/p.onnx"),
    "return": {"mean": np.float32(0.5), "ci95": [float("nan"), 1.0, float("-inf")]},
    "falls": np.int64(3),
    "shape": np.array([1, 2]),
    "note": None,
    "walks": True,
}


def test_json_is_one_line_of_plain_values(capsys: pytest.CaptureFixture[str]) -> None:
    emit(RESULT, as_json=True)
    printed = capsys.readouterr().out
    assert printed.count("\n") == 1
    assert json.loads(printed) == {
        "policy": "runs/p.onnx", "return": {"mean": 0.5, "ci95": [None, 1.0, None]}, "falls": 3, "shape": [1, 2], "note": None,
        "walks": True,
    }  # fmt: skip


@dataclass(frozen=True)
class Record:
    mean: float
    error: float


def test_a_record_becomes_its_figures() -> None:
    assert json_value([Record(0.5, float("nan"))]) == [{"mean": 0.5, "error": None}]


def test_people_get_a_table(capsys: pytest.CaptureFixture[str]) -> None:
    emit(RESULT, as_json=False)
    rows = [line.split(maxsplit=1) for line in capsys.readouterr().out.splitlines()]
    assert [[name, value.strip()] for name, value in rows] == [
        ["policy", "runs/p.onnx"], ["return.mean", "0.5"], ["return.ci95", "-, 1, -"], ["falls", "3"], ["shape", "1, 2"],
        ["note", "-"], ["walks", "True"],
    ]  # fmt: skip


def test_no_value_is_cut_however_narrow_the_terminal(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "20")
    emit({"sha256": "ab" * 32}, as_json=False)
    assert capsys.readouterr().out == f"sha256  {'ab' * 32}\n"


def test_chatter_goes_to_standard_error(capsys: pytest.CaptureFixture[str]) -> None:
    with only_results_on_stdout():
        print("a library says hello")
        emit({"a": 1}, as_json=True)
    printed = capsys.readouterr()
    assert printed.out == '{"a": 1}\n'
    assert printed.err == "a library says hello\n"
    emit({"a": 2}, as_json=True)
    assert capsys.readouterr().out == '{"a": 2}\n'
