"""Markdown tables, and the part of a page that they are written into."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path

from common.errors import QuadloopError
from common.files import write_bytes

BEGIN, END = "<!-- begin generated -->", "<!-- end generated -->"
NOTHING = "–"


class MarkdownError(QuadloopError):
    """A page that cannot take what is generated."""


def put_between_marks(page: Path, text: str) -> None:
    """Replace what is between the marks BEGIN and END of the file `page` by `text`; the rest stays as it is.

    MarkdownError if the page is no text or does not have each mark once, in this order.
    """
    try:
        old = page.read_bytes().decode()
    except UnicodeDecodeError:
        raise MarkdownError(f"{page} is no text in UTF-8") from None
    if (old.count(BEGIN), old.count(END)) != (1, 1) or old.index(END) < old.index(BEGIN):
        raise MarkdownError(f"{page} must have one line {BEGIN} and below it one line {END}; the tables go between them")
    before, after = old.split(BEGIN)[0], old.split(END)[1]
    write_bytes(page, f"{before}{BEGIN}\n{text}\n{END}{after}".encode())


def markdown_table(header: Sequence[str], lines: Iterable[Sequence[str]], names: int = 1) -> str:
    """A table whose first `names` columns are left-aligned and the others, of numbers, right-aligned."""
    rows = [header, ["---"] * names + ["---:"] * (len(header) - names), *lines]
    return "\n".join("| " + " | ".join(" ".join(cell.replace("|", "\\|").split()) for cell in row) + " |" for row in rows)
