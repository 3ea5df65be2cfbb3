"""What counts as a value of a type, and how values are shown in messages."""

from __future__ import annotations

import pytest

from common.typed_values import WrongTypeError, as_type, show


@pytest.mark.parametrize(("kind", "value"), [(float, True), (int, True), (bool, 1), (int, 1.0), (str, 1), (float, None)])
def test_true_is_no_number_and_no_number_is_true(kind: type, value: object) -> None:
    with pytest.raises(WrongTypeError):
        as_type(kind, value)


def nested(depth: int, width: int) -> object:
    return 1 if depth == 0 else [nested(depth - 1, width)] * width


@pytest.mark.parametrize(
    "value",
    [nested(6, 6), nested(500, 1), "x" * 10**6, {i: nested(3, 9) for i in range(99)}, 10**4000, [10**5000]],
    ids=["wide", "deep", "text", "mapping", "number", "number that Python does not write"],
)
def test_what_is_shown_never_fills_the_screen(value: object) -> None:
    assert len(show(value)) <= 200


@pytest.mark.parametrize("value", [(1.0, -2.5), "mattress", None, [1, [2, 3]], {"a": 1}])
def test_small_values_are_shown_whole(value: object) -> None:
    assert show(value) == repr(value)
