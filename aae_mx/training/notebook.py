"""A bar in a notebook that is drawn anew in its place. IPython is imported only where it runs."""

from __future__ import annotations

import sys
import time
from html import escape
from typing import Any, Callable, Optional

# Seconds between two drawings, as epochs may be short and a notebook draws in another process.
EVERY = 0.1


def find_display() -> Optional[Callable[..., Any]]:
    """The function ``display`` of IPython where a notebook's kernel runs, else None."""
    shell = getattr(sys.modules.get("IPython"), "get_ipython", lambda: None)()
    # IPython in a terminal has none.
    if getattr(shell, "kernel", None) is None:
        return None
    try:
        from IPython.display import display
    except ImportError:
        return None
    return display


class NotebookBar:
    """A label, a bar and facts in one line, and a line of text below, shown by ``display``."""

    def __init__(self, display: Callable[..., Any]) -> None:
        self.display, self.handle = display, None
        self.shown: tuple[Any, ...] = ("", 0.0, "", "")
        self.drawn: Optional[tuple[Any, ...]] = None
        self.next = 0.0

    def show(self, label: str, share: float, facts: str) -> None:
        """``share``: how much is done, 0–1."""
        self._show(label, share, facts, self.shown[3])

    def below(self, text: str) -> None:
        """The line below the bar from now on."""
        self._show(*self.shown[:3], text)

    def _show(self, *shown):
        self.shown = shown
        if time.monotonic() >= self.next:
            self.draw()

    def draw(self) -> None:
        """Draw what is to be shown, unless it is there already."""
        if self.shown == self.drawn:
            return
        if self.handle is None:
            self.handle = self.display(_both(*self.shown), raw=True, display_id=True)
        else:
            self.handle.update(_both(*self.shown), raw=True)
        self.drawn, self.next = self.shown, time.monotonic() + EVERY


def _both(label, share, facts, below):
    """As HTML and, for a console, as plain text."""
    bar = f'<progress value="{share:.4f}" max="1" style="width: 20em"></progress>'
    html = (
        '<div style="font-family: monospace; white-space: pre-wrap">'
        f"{escape(label)}  {bar}  {share:.0%}  {escape(facts)}\n{escape(below)}</div>"
    )
    return {"text/html": html, "text/plain": f"{label}  {share:.0%}  {facts}\n{below}"}
