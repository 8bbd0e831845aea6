"""Tables in LaTeX, with the rules of booktabs.

A manuscript that has them needs ``\\usepackage{amssymb,booktabs,graphicx}``.
"""

from __future__ import annotations

from collections.abc import Sequence

import pandas as pd

SPECIAL = {sign: f"\\{sign}" for sign in "&%$#_{}"} | {
    "\\": r"\textbackslash{}",
    "~": r"\textasciitilde{}",
    "^": r"\textasciicircum{}",
    "<": r"\textless{}",
    ">": r"\textgreater{}",
    "|": r"\textbar{}",
    '"': r"\textquotedbl{}",
}
"""What LaTeX would read as a command, or print as another sign."""
SIGNS = {
    "±": r"$\pm$",
    "✓": r"\checkmark{}",
    "✗": r"$\times$",
    "·": r"$\cdot$",
    "≥": r"$\geq$",
    "≤": r"$\leq$",
    "\N{MINUS SIGN}": r"$-$",
    "\N{EN DASH}": "--",
}
"""What its usual fonts lack."""


FIT = "\\small\n\\resizebox{\\ifdim\\width>\\linewidth\\linewidth\\else\\width\\fi}{!}{%\n"
"""Before a ``tabular``, which shrinks where it is wider than the text; graphicx does it."""


def escaped(text: str) -> str:
    """Text in which nothing is a command; a number's hyphen is a minus.

    A sign that is neither in ASCII, nor in Latin-1, nor known here is "?": it would stop LaTeX.
    """
    negative = text[:1] == "-" and text[1:2].isdigit()
    return "$-$" * negative + "".join(_sign(sign) for sign in text[negative:])


def _sign(sign: str) -> str:
    known = SPECIAL.get(sign) or SIGNS.get(sign)
    printable = sign.isprintable() and ord(sign) < 256
    return known or (sign if printable else " " if sign.isspace() else "?")


def latex_table(
    header: Sequence[str | tuple[str, str]],
    rows: Sequence[Sequence[str]],
    *,
    caption: str,
    label: str,
    columns: str,
) -> str:
    """A ``table`` environment; all text is escaped.

    Args:
        header: a name a column, none twice; pairs have a name above, which adjacent columns share.
        rows: cells as text.
        caption: above the table.
        label: of ``\\ref``.
        columns: the specification of ``tabular``.
    """
    names = [tuple(map(escaped, (name,) if isinstance(name, str) else name)) for name in header]
    table = pd.DataFrame([[escaped(cell) for cell in row] for row in rows])
    paired = len(names[0]) > 1
    table.columns = pd.MultiIndex.from_tuples(names) if paired else pd.Index([n for (n,) in names])
    text = table.style.hide(axis="index").to_latex(
        hrules=True,
        column_format=columns,
        caption=escaped(caption),
        label=label,
        position="t",
        position_float="centering",
        multicol_align="c",
    )
    begin, end = r"\begin{tabular}", r"\end{tabular}"
    return text.replace(begin, FIT + begin).replace(end, end + "}")
