"""Words from elsewhere, made fit for a terminal."""

from __future__ import annotations


def one_line(value: object, limit: int = 400) -> str:
    """Return `value` on one line, without anything that a terminal would obey.

    Reasons are typed by people and answers come from the network: an escape sequence or a
    direction mark in them must not repaint the screen of whoever looks at the status.
    """
    text = "".join(mark if mark.isprintable() else " " for mark in str(value))
    text = " ".join(text.split())
    return text if len(text) <= limit else text[: limit - 1] + "…"
