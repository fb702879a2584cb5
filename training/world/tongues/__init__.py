"""Captions in five languages: a module of words each, and `telling.py`, which puts them together.

Every language says the same facts: what and how many, size, colour, style, relation, motion, setting, camera, sound.
"""

from __future__ import annotations

from .base import Language
from .de import GERMAN
from .en import ENGLISH
from .es import SPANISH
from .fr import FRENCH
from .zh import CHINESE

LANGUAGES: dict[str, Language] = {tongue.code: tongue for tongue in (ENGLISH, CHINESE, SPANISH, FRENCH, GERMAN)}
