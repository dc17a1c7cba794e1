"""Text of users' own, such as a choice's name, as it is shown within a line of ours.

Used by the tables and lines of ``hpsearch.cli`` and by ``hpsearch.report``.
"""

from __future__ import annotations


def one_line(text: str) -> str:
    r"""Characters that nobody sees or that break a line, as Python escapes them: ``\n``, ``\x1b``.

    Backslashes stay as they are, so that most text is shown as it was written.
    """
    if text.isprintable():
        return text
    return "".join(c if c.isprintable() else repr(c)[1:-1] for c in text)
