import os
import pty
from contextlib import ExitStack

import pytest

from loop.collect.operator import Operator, Stopped


@pytest.fixture
def typed(monkeypatch):
    """What somebody typed, on standard input."""
    with ExitStack() as closing:

        def type_in(text):
            read, write = os.pipe()
            os.write(write, text.encode())
            os.close(write)
            monkeypatch.setattr("sys.stdin", closing.enter_context(os.fdopen(read)))

        yield type_in


@pytest.mark.parametrize("answer", ["q\n", " Q \n", ""])
def test_a_person_can_end_here(typed, answer):
    typed(answer)
    with pytest.raises(Stopped):
        Operator().confirm("The robot will stand up.")


def test_what_was_typed_with_a_refusal_is_no_consent(monkeypatch):
    """A double Enter after "no" must not move a robot."""
    hand, terminal = pty.openpty()
    with os.fdopen(terminal) as stdin:
        monkeypatch.setattr("sys.stdin", stdin)
        asked = []

        def print_and_type(*_, **__):
            asked.append(True)
            os.write(hand, b"no\n\n" if len(asked) == 1 else b"q\n")

        monkeypatch.setattr("builtins.print", print_and_type)
        with pytest.raises(Stopped):
            Operator().confirm("The robot will stand up.")
    os.close(hand)
    assert len(asked) == 2


def test_nothing_but_enter_is_consent(typed, capsys):
    typed("no\nstop\n\nquit\n")
    operator = Operator()
    operator.confirm("The robot will stand up.")
    assert capsys.readouterr().err.count("The robot will stand up.\n  [Enter] go on") == 3
    with pytest.raises(Stopped):
        operator.confirm("It will walk.")
    assert capsys.readouterr().err.count("It will walk.") == 2
