"""Processes beside the control process: which modules they find, and what they said."""

import os
import subprocess
import tempfile

import pytest

from common.child_process import last_line, start_module


@pytest.mark.parametrize("entry", ["made", "{here}/made", ":made:"])
def test_a_module_on_a_path_that_counts_from_the_users_directory_is_found(tmp_path, monkeypatch, entry):
    (tmp_path / "made").mkdir()
    (tmp_path / "made" / "a_double.py").write_text("import tempfile; print('found')")
    (tmp_path / "tempfile.py").write_text("raise RuntimeError('what lies in the user's directory is not meant')")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("PYTHONPATH", entry.format(here=tmp_path))
    child = start_module("a_double", [], output=subprocess.PIPE)
    assert child.communicate(timeout=20.0)[0] == b"found\n" and child.returncode == 0


@pytest.fixture
def said():
    with tempfile.TemporaryFile() as file:
        yield file


@pytest.mark.parametrize(
    ("text", "line"),
    [("", ""), ("\n\n", ""), ("one", "one"), ("one\ntwo\n\n", "two"), ("x" * 100_000 + "\nthe end", "the end"), ("\xe9\n", "\xe9")],
)
def test_the_last_line_that_was_said(said, text, line):
    os.write(said.fileno(), text.encode())
    assert last_line(said) == line


def test_what_is_said_after_it_was_asked_for_follows_what_was_said_before(said):
    os.write(said.fileno(), b"one\n")
    assert last_line(said) == "one"
    os.write(said.fileno(), b"two\n")
    assert os.pread(said.fileno(), 100, 0) == b"one\ntwo\n" and last_line(said) == "two"
