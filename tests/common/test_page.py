import sys

import pytest

from common.page import NO_MATPLOTLIB, draw, heading, paragraph, picture, table, video, with_interval, write_page


def test_a_page_is_one_file_that_needs_no_other(tmp_path):
    path = write_page(tmp_path / "report" / "index.html", "Walking", [heading("How"), paragraph("Well.")])
    text = path.read_text()
    assert text.startswith("<!doctype html>")
    assert "<title>Walking</title>" in text
    assert "<h1>Walking</h1>\n<h2>How</h2>\n<p>Well.</p>" in text
    assert "<script" not in text
    assert "http" not in text
    assert [entry.name for entry in path.parent.iterdir()] == ["index.html"]


def test_text_is_never_markup(tmp_path):
    hostile = '<b>"&'
    safe = "&lt;b&gt;&quot;&amp;"
    assert heading(hostile) == f"<h2>{safe}</h2>"
    assert paragraph(hostile) == f"<p>{safe}</p>"
    assert picture(hostile, hostile) == f'<img src="{safe}" alt="{safe}">'
    assert table([[hostile]]) == f"<table><tr><th>{safe}</th></tr></table>"
    assert "<b>" not in write_page(tmp_path / "index.html", hostile, []).read_text()


def test_a_table_has_its_header_first():
    assert table([["a", "b"], ["1", "2"]]) == "<table><tr><th>a</th><th>b</th></tr><tr><td>1</td><td>2</td></tr></table>"


def test_a_note_looks_like_one():
    assert paragraph("no picture", "note") == '<p class="note">no picture</p>'


def test_figures_with_their_interval():
    assert with_interval({"mean": 0.5161, "ci95": [0.484, 0.55]}) == "0.52 [0.48, 0.55]"


def test_a_picture_is_whole(tmp_path):
    pytest.importorskip("matplotlib")
    shapes = []
    assert draw(tmp_path / "curve.png", 1, 2, lambda axes: shapes.append(axes.shape)) is None
    assert shapes == [(1, 2)]
    assert (tmp_path / "curve.png").read_bytes().startswith(b"\x89PNG")


def test_a_picture_that_fails_leaves_nothing(tmp_path):
    pytest.importorskip("matplotlib")
    with pytest.raises(ZeroDivisionError):
        draw(tmp_path / "curve.png", 1, 1, lambda axes: 1 / 0)
    assert list(tmp_path.iterdir()) == []


def test_without_matplotlib_there_is_a_note(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "matplotlib.figure", None)
    assert draw(tmp_path / "curve.png", 1, 1, lambda axes: None) == NO_MATPLOTLIB
    assert list(tmp_path.iterdir()) == []


def test_a_video_is_named_and_captioned():
    figure = video("walk.mp4", "at 1 m/s & more")
    assert 'src="walk.mp4"' in figure
    assert "<figcaption>at 1 m/s &amp; more</figcaption>" in figure
