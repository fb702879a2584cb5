"""The ways a prompt can be read: normalised forms that undo the usual evasions of a word list.

Sources: Unicode UAX 15 (NFKC), UTS 39 (confusables, of which the table below holds the letters that look like Latin
ones), Unicode tag characters (U+E0000 block, used to smuggle text that no one sees). Pure and bounded: at most 28
views, none longer than twice the prompt as NFKC and case folding write it out. None is cut off: words could hide there.
"""

from __future__ import annotations

import base64
import binascii
import codecs
import html
import re
import unicodedata
import urllib.parse
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass

MAX_CHARS = 4_000

_INVISIBLE = re.compile(
    "[\u00ad\u034f\u061c\u115f\u1160\u17b4\u17b5\u180b-\u180f\u200b-\u200f\u202a-\u202e\u2060-\u206f\u3164\ufe00-\ufe0f"
    "\ufeff\uffa0\ufff0-\uffff\U000e0100-\U000e01ef]"
)
_TAGS = re.compile("[\U000e0020-\U000e007e]+")
_SENTENCES = dict.fromkeys((0xFDFA, 0xFDFB), "\ufdfd")
_LETTERS = "abcdefghijklmnopqrstuvwxyz"
_WRITTEN: Mapping[int, str] = {
    **_SENTENCES,
    # Letters in circles, squares and of flags, which NFKC leaves as they are; Braille; letters upside down.
    **{start + i: letter for start in (0x1F150, 0x1F170, 0x1F1E6) for i, letter in enumerate(_LETTERS)},
    **dict(zip(map(ord, "⠁⠃⠉⠙⠑⠋⠛⠓⠊⠚⠅⠇⠍⠝⠕⠏⠟⠗⠎⠞⠥⠧⠺⠭⠽⠵"), "abcdefghijklmnopqrstuvwxyz", strict=True)),
    **dict(zip(map(ord, "ɐɔǝɟƃɥᴉɾʞɯɹʇʌʍʎ"), "acefghijkmrtvwy", strict=True)),
}
_CONTROL = re.compile(r"[\x00-\x08\x0b\x0c\x0e-\x1f\x7f-\x9f]")

_LOOKALIKES = dict(
    zip(
        # Cyrillic, Greek, Armenian, Cherokee and Latin-extended letters, each above the Latin letter it looks like.
        "абвгԁеёжзіјкӏмнорԛстуѵѡхүһьъкɡαβγεζηικνορτυχωϲϳաոսցօհյքզոɑɓɖɛƒɠɦɩɪɫɱɲŋøʀʂʈʉʋʏʐıłđðħᴀʙᴄᴅᴇꜰɢʜᴊᴋʟᴍɴᴏᴘǫꞯꜱᴛᴜᴠᴡᴢ",
        "abbrdeex3ijklmhopqctyvwxyhbbkgabyeznikvoptuxwcjwnugohjqqnabdefghiilmnnorstuvyzilddhabcdefghjklmnopqqstuvwz",
        strict=False,
    )
)
_SKELETON = str.maketrans(
    _LOOKALIKES
    | {"ß": "b", "|": "l", "в": "b", "п": "n", "и": "u", "ц": "u", "т": "t", "к": "k", "м": "m", "æ": "a", "ѕ": "s"}
)
_LEET = str.maketrans(
    {
        "0": "o",
        "1": "i",
        "3": "e",
        "4": "a",
        "5": "s",
        "6": "b",
        "7": "t",
        "8": "b",
        "9": "g",
        "@": "a",
        "$": "s",
        "!": "i",
        "+": "t",
        "€": "e",
        "£": "l",
        "(": "c",
    }
)
# Two signs stand for two letters each, and people mix them.
_LEET_L: tuple[Mapping[int, str], ...] = ({ord("1"): "l", ord("!"): "l"}, {ord("1"): "l"}, {ord("!"): "l"})
_TOKEN = re.compile(r"\S+")
_LEET_SIGN = re.compile("[0-9@$!+€£(]")
_LATIN = re.compile("[a-z]")
_SPACED = re.compile(r"(?<!\w)\w([\s._\-*·•/\\,~ʼꞌːˑˈ'’|+=:]{1,3})\w(?:\1\w)+(?!\w)")
_INSIDE = re.compile(r"(?<=\w)[._\-*·•~'`^ʼꞌːˑˈ’|+=:](?=\w)")
_STRETCH = re.compile(r"(\w)\1{2,}")
_BASE64 = re.compile(r"(?<![A-Za-z0-9+/_-])[A-Za-z0-9+/_-]{6,}={0,2}(?![A-Za-z0-9+/_=-])")
_HEX = re.compile(r"(?<![0-9A-Za-z])(?:[0-9A-Fa-f]{2}[\s:,-]?){6,}(?![0-9A-Za-z])")
_BREAKS = re.compile("[\u2028\u2029]")
_WORD = re.compile(r"\w+")
_CAMEL = re.compile(r"(?<=[a-zß-ÿ])(?=[A-ZÀ-Þ])|(?<=[A-Za-z])(?=[A-Z][a-z])|(?<=[A-Za-z])(?=\d)|(?<=\d)(?=[A-Za-z])")
_SIGN = re.compile(r"[^\w\s]+")
_JOINER = re.compile(r"(?<=\w)[_+\-./|~]+(?=\w)|_")
_APART = re.compile(r"(?<!\S)(?:\S[ \t])+\S(?!\S)")
_RUN_ON = 20
"""Letters without a space from which on words are looked for inside."""


RUN_ON = "run-on"
"""The view in which words may stand without boundaries."""


@dataclass(frozen=True, slots=True)
class View:
    """``name`` says which evasion was undone; ``text`` is lower case."""

    name: str
    text: str


def clean(text: str) -> str:
    """The text that a generator may get: NFC, without control, invisible and tag characters, single-spaced."""
    kept = _CONTROL.sub(" ", _INVISIBLE.sub("", _TAGS.sub("", text)))
    return " ".join(unicodedata.normalize("NFC", kept).split())


def written_out(text: str) -> str:
    """NFKC and case folding: what one character stands for, such as U+33C2, may be several. Two Arabic signs that
    stand for whole sentences stay signs, since a prompt of nothing else would be 18 times as long."""
    return _compatible(text).casefold()


def _compatible(text: str) -> str:
    return unicodedata.normalize("NFKC", text.translate(_WRITTEN))


def _fold(text: str) -> str:
    folded = written_out(_CONTROL.sub(" ", text))
    stripped = "".join(c for c in unicodedata.normalize("NFD", folded) if unicodedata.category(c) != "Mn")
    # NFC again: scripts such as Korean are only searchable composed.
    return " ".join(unicodedata.normalize("NFC", stripped).split())


def _decoded(text: str) -> list[str]:
    """What stands in the text as hexadecimal, as percent or HTML encoding, and as base64, where it is readable."""
    unwrapped = html.unescape(urllib.parse.unquote(text)) if "%" in text or "&" in text else text
    twice = _from_base64(text)
    return [_from_hex(text), "" if unwrapped == text else unwrapped, twice, _from_base64(twice)]


def _pictured(text: str) -> str:
    """The text with the Unicode names of its pictograms, U+1F4A3 as `bomb`: the shortest names, as many as leave the
    text less than twice as long."""
    count = Counter(char for char in text if ord(char) >= 0x1F300)
    left = len(text)
    named: dict[int, str] = {}
    for char in sorted(count, key=lambda c: (len(unicodedata.name(c, "")), c)):
        name = f" {unicodedata.name(char, '')} "
        left -= (len(name) - 1) * count[char]
        if left < 0:
            break
        named[ord(char)] = name
    return text.translate(named) if named else ""


def _from_hex(text: str) -> str:
    found = []
    for match in _HEX.finditer(text):
        digits = re.sub(r"[^0-9A-Fa-f]", "", match.group())
        plain = bytes.fromhex(digits[: len(digits) // 2 * 2]).decode("utf-8", "replace")
        if _readable(plain) and "\ufffd" not in plain:
            found.append(plain)
    return " ".join(found)


def _from_base64(text: str) -> str:
    found = []
    for match in _BASE64.finditer(text):
        token = match.group().replace("-", "+").replace("_", "/").rstrip("=")
        try:
            plain = base64.b64decode(token + "=" * (-len(token) % 4), validate=True).decode("utf-8")
        except (binascii.Error, ValueError):
            continue
        if _readable(plain):
            found.append(plain)
    return " ".join(found)


def _readable(text: str) -> bool:
    """Line ends and tabs are what tools put around what they encode."""
    return " ".join(text.split()).isprintable()


def _spaced_out(text: str) -> str:
    """Letters with one space between them joined, where words stand two or more apart."""
    return re.sub(r"\s+", " ", _APART.sub(lambda m: re.sub(r"[ \t]", "", m.group()), text))


def _run_on(plain: str) -> str:
    """The long words alone: what is written without spaces."""
    return " ".join(word for word in plain.split() if sum(c.isalpha() for c in word) >= _RUN_ON and word.isascii())


def _join_after_short_word(match: re.Match[str]) -> str:
    letters = _WORD.findall(match.group())
    short = letters[0] in "aioeyu" and len(letters) > 3
    return f"{letters[0]} {''.join(letters[1:])}" if short else "".join(letters)


def _unleeted(text: str, first: Mapping[int, str]) -> str:
    """``first``: signs that are replaced before the others, where a letter stands in the same word."""

    def mended(match: re.Match[str]) -> str:
        # Two searches: one pattern for both would try every pair of places in a word without either.
        word = match.group()
        leet = _LATIN.search(word) and _LEET_SIGN.search(word)
        return word.translate(first).translate(_LEET) if leet else word

    return _TOKEN.sub(mended, text)


def views(text: str) -> tuple[View, ...]:
    """All readings of ``text``, the plain one first, each different from the ones before it."""
    hidden = "".join(chr(ord(c) - 0xE0000) for run in _TAGS.findall(text) for c in run)
    bare = _INVISIBLE.sub("", _TAGS.sub("", text))
    # Invisible characters may also stand where a space belongs.
    spaced = _INVISIBLE.sub(" ", _TAGS.sub(" ", text))
    plain = _fold(bare)
    skeleton = plain.translate(_SKELETON)
    leets = [_unleeted(skeleton, table) for table in ({}, *_LEET_L)]
    leet = leets[0]
    joined = _SPACED.sub(lambda m: "".join(_WORD.findall(m.group())), leet)
    # A word of one letter may stand before the spaced one: "a n u d e".
    joined_after_a = _SPACED.sub(_join_after_short_word, leet)
    tight = _INSIDE.sub("", joined)
    candidates = [
        View("plain", plain),
        View("invisible", _fold(spaced)),
        View("tags", _fold(hidden)),
        View("lookalike", skeleton),
        *(View("leet", each) for each in leets),
        View("spaced", joined),
        View("spaced", joined_after_a),
        View("punctuated", tight),
        View("punctuated", " ".join(_SIGN.sub("", tight).split())),
        View("punctuated", " ".join(_SIGN.sub("", skeleton).split())),
        View("punctuated", " ".join(_SIGN.sub(" ", plain).split())),
        View("stretched", _STRETCH.sub(r"\1", tight)),
        View("stretched", _STRETCH.sub(r"\1\1", tight)),
        View("spaced", _fold(_spaced_out(_compatible(bare)))),
        View("separated", _fold(_JOINER.sub(" ", bare))),
        View("separated", _fold(_CAMEL.sub(" ", bare))),
        *(View("encoded", _fold(each)) for each in _decoded(bare)),
        View("pictured", _fold(_pictured(bare))),
        View("invisible", _fold(_CONTROL.sub("", _BREAKS.sub("", bare)))),
        View("rot13", codecs.encode(plain, "rot13")),
        View("reversed", plain[::-1]),
        View("mirrored", " ".join(word[::-1] for word in plain.split())),
        View(RUN_ON, _run_on(tight)),
    ]
    seen: set[str] = set()
    return tuple(v for v in candidates if v.text and not (v.text in seen or seen.add(v.text)))  # type: ignore[func-returns-value]


def mixed_scripts(text: str) -> bool:
    """Whether one word mixes Latin with Cyrillic, Greek, Armenian or Cherokee letters, and does not become Latin when
    its look-alikes are replaced: hardly ever an accident, and no other view reads it."""
    for word in _WORD.findall(unicodedata.normalize("NFKC", _INVISIBLE.sub("", text))):
        if _mixes(word) and _mixes(_fold(word).translate(_SKELETON)):
            return True
    return False


def _mixes(word: str) -> bool:
    scripts = {unicodedata.name(c, "").split(" ")[0] for c in word if c.isalpha()}
    return "LATIN" in scripts and bool(scripts & {"CYRILLIC", "GREEK", "ARMENIAN", "CHEROKEE"})
