"""Profiles of laws: YAML files that say which duties there are, since when, from which source, what a release needs.

A duty names the rules (R1 to R16, see `rules`) that show its fulfilment. Several profiles at once ask for all that any
of them asks. What stands in a profile is told in our own words; the law's own text is at its source.
"""

from __future__ import annotations

import datetime as dt
import hashlib
from dataclasses import dataclass
from functools import cache
from importlib import resources
from pathlib import Path
from typing import Annotated, Any, Literal

import yaml
from pydantic import BaseModel, ConfigDict, Field, ValidationError, field_validator

from ...errors import SettingsError
from ..labelling.visible import Place, Wanted

RuleId = Annotated[str, Field(pattern=r"^R([1-9]|1[0-6])$")]
_MAX_BYTES = 1 << 18


class _Strict(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class Visible(_Strict):
    """``text``: the label by language, the first one is the profile's own. ``waiver``: whether it may be left out with
    the consent of whoever asks, which goes into the log."""

    text: Annotated[dict[str, Annotated[str, Field(min_length=2, max_length=40)]], Field(min_length=1)]
    place: Place = "auto"
    share: Annotated[float, Field(ge=0.02, le=0.2)] = 0.05
    waiver: Literal["none", "consent"] = "none"
    generated: bool = False


class ReleaseNeeds(_Strict):
    """``layers``: kinds of marks a file must carry: signed metadata is one, a watermark another. ``aigc``: China's
    label. ``audible``: Morse in sound. ``retention_days``: for how long at least records of who asked are kept."""

    layers: Annotated[int, Field(ge=0, le=2)] = 1
    aigc: bool = False
    visible: Visible | None = None
    audible: bool = False
    retention_days: Annotated[int, Field(ge=0, le=3650)] = 0


class Duty(_Strict):
    """``since``: in force from, None where we do not know; ``grace``: later for what was on the market before.
    ``quote``: exact words of its text, ``quoted``: read where it is published, or in a reproduction of it.
    ``secondary``: we have read no text of what is in force, and know of it from what others say of it."""

    id: Annotated[str, Field(pattern=r"^[a-z0-9][a-z0-9.-]{1,60}$")]
    law: Annotated[str, Field(min_length=5)]
    says: Annotated[str, Field(min_length=20)]
    quote: Annotated[str, Field(min_length=8, max_length=400)] | None = None
    quoted: Literal["official", "reproduction"] | None = None
    since: dt.date | None
    grace: dt.date | None = None
    source: Annotated[str, Field(pattern=r"^https://")]
    secondary: bool = False
    penalty: str | None = None
    rules: list[RuleId] = []
    outside: str | None = None


class Profile(_Strict):
    """One jurisdiction. ``outside`` of a duty: what of it no file can show, and who has to see to it."""

    id: Annotated[str, Field(pattern=r"^[a-z]{2}(-[a-z]{2})?$")]
    title: str
    version: dt.date
    release: ReleaseNeeds
    duties: Annotated[list[Duty], Field(min_length=1)]

    @field_validator("duties")
    @classmethod
    def _apart(cls, duties: list[Duty]) -> list[Duty]:
        if len({duty.id for duty in duties}) != len(duties):
            raise ValueError("two duties have one id")
        for duty in duties:
            if (duty.quote is None) is not (duty.quoted is None):
                raise ValueError(f"the duty {duty.id} has a quotation, and not where it was read, or the reverse")
            if not duty.rules and not duty.outside:
                raise ValueError(f"the duty {duty.id} names no rule, and not who sees to it")
        return duties

    @property
    def rules(self) -> frozenset[str]:
        return frozenset(rule for duty in self.duties for rule in duty.rules)


@dataclass(frozen=True)
class Needs:
    """What a release needs under some profiles at once. ``profiles``: (id, version, sha256) of each. ``visible``: the
    label to draw, None for none; ``china``: it must have GB 45438's words. ``waivable``: everybody who asks for a
    visible label lets it be left out with consent. ``rules``: those that the profiles name."""

    profiles: tuple[tuple[str, str, str], ...] = ()
    layers: int = 0
    aigc: bool = False
    visible: Wanted | None = None
    china: bool = False
    waivable: bool = False
    audible: bool = False
    retention_days: int = 0
    rules: frozenset[str] = frozenset()

    @property
    def ids(self) -> tuple[str, ...]:
        return tuple(name for name, _, _ in self.profiles)


def builtin() -> list[str]:
    """The ids of the profiles that ship."""
    folder = resources.files(__package__) / "profiles"
    return sorted(item.name.removesuffix(".yaml") for item in folder.iterdir() if item.name.endswith(".yaml"))


def load(name: str) -> tuple[Profile, str]:
    """A profile that ships, by id, or one by path; and the SHA-256 (hex) of its bytes. Raises SettingsError."""
    return _builtin(name) if name in builtin() else parse(_read(name))


@cache
def _builtin(name: str) -> tuple[Profile, str]:
    return parse((resources.files(__package__) / "profiles" / f"{name}.yaml").read_bytes())


def _read(name: str) -> bytes:
    if not name.endswith((".yaml", ".yml")):
        raise SettingsError(
            f"there is no profile {name[:40]!r}",
            code="settings.profiles",
            hint=f"There are {', '.join(builtin())}; or give the path of a YAML file.",
        )
    try:
        return Path(name).read_bytes()
    except OSError as error:
        raise SettingsError(f"the profile cannot be read: {error.strerror}", code="settings.profiles") from error


def parse(data: bytes) -> tuple[Profile, str]:
    """Raises SettingsError, which names the place, for anything that is not a valid profile."""
    try:
        if len(data) > _MAX_BYTES or b"&" in data.split(b"\n", 1)[0]:
            raise ValueError("it is too large")
        loaded: Any = yaml.safe_load(data)
        found = Profile.model_validate(loaded)
    except yaml.YAMLError as error:
        raise SettingsError("the profile is not valid YAML", code="settings.profiles") from error
    except ValidationError as error:
        first = error.errors()[0]
        place = ".".join(str(part) for part in first["loc"])
        raise SettingsError(f"the profile is not valid: {place}: {first['msg']}", code="settings.profiles") from error
    except (ValueError, RecursionError, OverflowError) as error:
        raise SettingsError(f"the profile cannot be read: {str(error)[:80]}", code="settings.profiles") from error
    return found, hashlib.sha256(data).hexdigest()


def needs_of(names: list[str] | tuple[str, ...], language: str | None = None) -> Needs:
    """Everything that the named profiles ask of a release. ``language``: of the visible label, where a profile has
    it; else the profile's own. Raises SettingsError for an unknown profile, or one that is named twice."""
    if len(set(names)) != len(names):
        raise SettingsError("a profile is named twice", code="settings.profiles")
    found = [load(name) for name in names]
    releases = [profile.release for profile, _ in found]
    shown = [release.visible for release in releases if release.visible is not None]
    return Needs(
        profiles=tuple((profile.id, profile.version.isoformat(), digest) for profile, digest in found),
        layers=max((release.layers for release in releases), default=0),
        aigc=any(release.aigc for release in releases),
        visible=_together(shown, language) if shown else None,
        china=any(visible.generated for visible in shown),
        waivable=bool(shown) and all(visible.waiver == "consent" for visible in shown),
        audible=any(release.audible for release in releases),
        retention_days=max((release.retention_days for release in releases), default=0),
        rules=frozenset().union(*(profile.rules for profile, _ in found)),
    )


def _together(shown: list[Visible], language: str | None) -> Wanted:
    """One label for all: the shortest line that says the same as others is left out."""
    texts = [one.text.get(language or "") or next(iter(one.text.values())) for one in shown]
    # GB 45438's words stay, whatever the language asked for is.
    texts = [one.text["zh"] if one.generated else text for one, text in zip(shown, texts, strict=True)]
    lines = [t for t in dict.fromkeys(texts) if not any(o != t and o.startswith(t) for o in texts)]
    lines.sort(key=lambda line: (not line.startswith("AI"), len(line)))
    place: Place = "top-right" if any(one.place == "top-right" for one in shown) else "auto"
    return Wanted(tuple(lines), max(one.share for one in shown), place)
