"""Reports for people: one HTML page without scripts, with pictures beside it where matplotlib is installed."""

from __future__ import annotations

import html
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from common.files import whole_or_absent, write_bytes

NO_MATPLOTLIB = "no pictures: matplotlib is not installed; run: pip install 'quadloop[viz]'"

_STYLE = """body{font:16px/1.5 system-ui,sans-serif;max-width:64rem;margin:2rem auto;padding:0 1rem;color:#222}
table{border-collapse:collapse}td,th{padding:.3rem .8rem;border-bottom:1px solid #ddd;text-align:left;font-variant-numeric:tabular-nums}
img{max-width:100%}figure{display:inline-block;margin:0 1rem 1rem 0}.note{color:#a33}.verdict{font-size:1.25rem}"""


def write_page(path: Path, title: str, parts: Iterable[str]) -> Path:
    """Write a page of `parts` (HTML) under a title (text) to `path`, whole or not at all."""
    head = f'<meta charset="utf-8"><title>{html.escape(title)}</title><style>{_STYLE}</style>'
    body = "\n".join((f"<h1>{html.escape(title)}</h1>", *parts))
    write_bytes(path, f'<!doctype html><html lang="en">{head}\n{body}\n</html>\n'.encode())
    return path


def heading(text: str) -> str:
    """A section's title."""
    return f"<h2>{html.escape(text)}</h2>"


def paragraph(text: str, kind: str = "") -> str:
    """A paragraph; `kind` is "", "note" (what is missing or doubtful) or "verdict"."""
    return f'<p class="{kind}">{html.escape(text)}</p>' if kind else f"<p>{html.escape(text)}</p>"


def table(rows: Sequence[Sequence[str]]) -> str:
    """A table of texts, header first."""
    return f"<table>{''.join(_row(row, 'td' if index else 'th') for index, row in enumerate(rows))}</table>"


def picture(name: str, description: str) -> str:
    """A picture that lies beside the page."""
    return f'<img src="{html.escape(name)}" alt="{html.escape(description)}">'


def video(name: str, caption: str) -> str:
    """A video that lies beside the page."""
    source, text = html.escape(name), html.escape(caption)
    return f'<figure><video src="{source}" width="320" height="240" controls loop muted></video><figcaption>{text}</figcaption></figure>'


def with_interval(figure: Mapping[str, Any]) -> str:
    """A `{"mean", "ci95": [lo, hi] or None}` as text, such as "0.52 [0.48, 0.55]"."""
    if figure["ci95"] is None:
        return _two_digits(figure["mean"])
    low, high = figure["ci95"]
    return f"{_two_digits(figure['mean'])} [{_two_digits(low)}, {_two_digits(high)}]"


def _two_digits(value: float) -> str:
    return f"{round(value, 2) + 0.0:.2f}"  # -0.00 is 0


def draw(path: Path, rows: int, columns: int, paint: Callable[[Any], None]) -> str | None:
    """Have `paint` fill an array (rows, columns) of matplotlib axes and write them to `path` as PNG, whole or not at all.

    Returns None, or one line that says why there is no picture.
    """
    try:
        from matplotlib.figure import Figure
    except ImportError:
        return NO_MATPLOTLIB
    figure = Figure(figsize=(5.5 * columns, 3.5 * rows), layout="constrained")
    paint(figure.subplots(rows, columns, squeeze=False))
    with whole_or_absent(path) as temporary:
        figure.savefig(temporary, format="png", dpi=110)
    return None


def _row(texts: Sequence[str], cell: str) -> str:
    return "<tr>" + "".join(f"<{cell}>{html.escape(text)}</{cell}>" for text in texts) + "</tr>"
