"""Names of settings, and words of recorded tables, as readers see them."""

from __future__ import annotations

import re

NAMES = {"erk": "ERK", "dst": "DST", "ewc": "EWC", "wsn": "WSN", "hat": "HAT"}
NAMES |= {"supsup": "SupSup", "packnet": "PackNet", "nispa": "NISPA"}
"""Inits and methods whose names the field spells otherwise than params.yaml does."""
WORD = re.compile(r"[^\s(),:]+")
APART = re.compile(r"(?<=\d)[ \u00a0\u202f]%")


def spelled(name: str) -> str:
    """``erk`` as ``ERK``; any other name as it is."""
    return NAMES.get(name, name)


def spelled_words(text: str) -> str:
    """``(erk - uniform) under published`` as ``(ERK - uniform) under published``."""
    return WORD.sub(lambda word: spelled(word.group()), text)


def percent_signs(text: str) -> str:
    """``80 %`` as ``80%``: tables recorded earlier have a space there."""
    return APART.sub("%", text)
