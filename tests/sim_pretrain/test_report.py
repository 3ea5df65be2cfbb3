import numpy as np
import pytest

from common.errors import QuadloopError
from sim_pretrain.report import COMMANDS, MeasureConfig, _stretches, measure, table_rows


def figure(mean):
    return {"mean": mean, "ci95": [mean - 0.01, mean + 0.01]}


def test_stretches_of_contact_are_in_seconds():
    mask = np.array([1, 1, 0, 0, 0, 1, 0, 1], dtype=bool)
    assert _stretches(mask) == [pytest.approx((0.0, 0.04)), pytest.approx((0.1, 0.02)), pytest.approx((0.14, 0.02))]
    assert _stretches(np.zeros(3, dtype=bool)) == []


def test_a_row_shows_the_speed_along_the_commanded_axis():
    names = ("forward_speed", "sideways_speed", "turning_rate", "gait_frequency", "duty_factor", "return", "torque", "power")
    result = {name: figure(index / 10) for index, name in enumerate(names)} | {"falls": 1, "trials": 50, "speed_error_share": 0.123}
    header, sideways, turning = table_rows({"0 0.3": result, "0 0 1": result})
    assert len(header) == len(sideways) == len(turning)
    assert sideways[:3] == ["sideways 0.3 m/s", "0.10 [0.09, 0.11]", "12.3 %"]
    assert turning[:2] == ["turning 1 rad/s", "0.20 [0.19, 0.21]"]
    assert turning[-1] == "1/50"


def test_a_policy_that_stands_is_wrong_by_all_of_the_command(write_policy):
    results = measure(write_policy(), MeasureConfig(trials=2, steps=150))
    assert len(results) == len(COMMANDS)
    assert results["1"]["speed_error_share"] == pytest.approx(1.0, abs=0.05)
    assert results["0 0 1"]["gait_frequency"]["mean"] == 0.0


@pytest.mark.parametrize("wrong", [{"trials": -1}, {"steps": 0}])
def test_measurements_of_nothing(wrong):
    with pytest.raises(QuadloopError):
        MeasureConfig(**wrong)
