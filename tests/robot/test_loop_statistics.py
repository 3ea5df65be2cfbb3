"""Histograms of constant size, against durations that were counted by hand."""

import math
from types import SimpleNamespace

import pytest

from robot.loop_statistics import DurationCounter, LoopStatistics


def test_percentiles_and_histogram_of_known_durations():
    counter = DurationCounter()
    for ms in [0.2] * 50 + [0.6] * 48 + [2.5, 30.0]:
        counter.add(ms / 1e3)
    told = counter.summary()
    assert told.p50_ms == pytest.approx(0.2, rel=0.012)
    assert told.p99_ms == pytest.approx(2.5, rel=0.012)
    assert told.max_ms == pytest.approx(30.0)
    assert {name: count for name, count in told.histogram.items() if count} == {
        "<= 0.25 ms": 50, "<= 0.75 ms": 48, "<= 3 ms": 1, "> 20 ms": 1
    }  # fmt: skip


def test_what_is_beyond_the_finest_bins_is_told_by_the_longest():
    counter = DurationCounter()
    counter.add(5.0)
    assert counter.summary().p50_ms == pytest.approx(5000.0)


def test_nothing_counted():
    told = DurationCounter().summary()
    assert math.isnan(told.p50_ms) and told.max_ms == 0.0 and sum(told.histogram.values()) == 0


def test_missed_ticks_are_a_share_of_those_that_there_should_have_been():
    pace = SimpleNamespace(missed=0, lateness_s=0.001)
    statistics = LoopStatistics(pace)
    assert statistics.missed_share == 0.0
    for _ in range(99):
        statistics.observe(SimpleNamespace(latency_s=0.0005))
    pace.missed = 1
    assert statistics.missed_share == pytest.approx(0.01)
    told = statistics.summary()
    assert (told["ticks"], told["missed_ticks"]) == (99, 1)
    assert told["obs_to_command_p99_ms"] == pytest.approx(0.5, rel=0.012)
    assert told["lateness_p50_ms"] == pytest.approx(1.0, rel=0.012)
