"""How long procedures say how far they are."""

from __future__ import annotations

from collections.abc import Callable

Progress = Callable[[str, int, int, dict[str, float]], None]
"""Called as progress(part, done, total, figures) while a part of a procedure runs."""


def silent(part: str, done: int, total: int, figures: dict[str, float]) -> None:
    """A Progress that says nothing."""
