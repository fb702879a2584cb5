"""Models that are registered here under a name: added with every file pinned, verified, and held against their pins
before anything of them is loaded."""

from __future__ import annotations

import datetime as dt
import os
import unicodedata
from collections.abc import Iterable
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path, PurePosixPath

from ...errors import GenerationError, InputError
from ...provenance.manifest import Model
from .folder import EMBEDDED, PICKLES, ModelFolder
from .model_signature import MAX_BYTES, Bundle, Signer, check, covers, parse, refused
from .pins import SIGNATURE, Difference, Pin, Tell, accepted, differences, nothing_told, pin, shown
from .registry_file import Entry, RegistryFile, Signed, Status


@dataclass(frozen=True)
class Asked:
    """What `models add` was told beside name and source."""

    licence: str = ""
    training_data: str = ""
    signer: Signer | None = None
    unsigned: bool = False


@dataclass(frozen=True)
class Checked:
    """What `models verify` found of one model. ``problem``: of its folder; ``signature_problem``: of its signature."""

    entry: Entry
    differences: tuple[Difference, ...]
    problem: str | None
    signature: Status
    signature_problem: str | None

    @property
    def ok(self) -> bool:
        """Whether all is as it was pinned."""
        return not (self.differences or self.problem or self.signature_problem)


def checked_name(name: str) -> str:
    """A name that can be given where a folder or a hub id could. Raises InputError."""
    name = unicodedata.normalize("NFC", name)
    plain = all(unicodedata.category(char)[0] in "LMN" or char in "-_." for char in name)
    if not 0 < len(name) <= 64 or not plain or not name[0].isalnum():
        raise InputError(
            "a model's name is 1 to 64 letters, digits, dots, hyphens and underscores, a letter or digit first",
            code="input.model_name",
        )
    if unicodedata.normalize("NFKC", name).casefold() == EMBEDDED:
        raise InputError(f"{name} is the name of the shipped model", code="input.model_name", hint="Choose another.")
    return name


def add(
    data_dir: Path, name: str, source: str, asked: Asked | None = None, tell: Tell = nothing_told
) -> tuple[Entry, bool]:
    """Registers the model at ``source`` with every file pinned; whether it was there before, and is pinned anew.
    Raises GenerationError where it cannot be used, or is not signed as it should be; then nothing is changed."""
    asked, name, registry = asked or Asked(), checked_name(name), RegistryFile(data_dir)
    for text, most in ((asked.licence, 200), (asked.training_data, 2000)):
        if len(text) > most or not text.isprintable():
            raise InputError(f"licence and training data are one line, of {most} characters at most here")
    if asked.signer and asked.unsigned:
        raise InputError("a model is signed by somebody, or --unsigned: not both")
    if source == EMBEDDED:
        raise InputError("the shipped model needs no registering", code="input.model_name")
    source = str(Path(source).resolve()) if Path(source).is_dir() else source
    home = ModelFolder(source)
    folder = home.folder.resolve()
    known = registry.read()
    before = known.get(name)
    _must_be_free(known, name, source, folder)
    signer = asked.signer or (before.signature.signer if before else None)
    bundle = _signature(folder)
    if bundle is None:
        _unsigned(signer, asked.unsigned)
    elif signer is not None:
        check(bundle, signer)  # before the long work; once more with the files, below
    _refuse_pickles(accepted(folder))
    pins = pin(folder, tell)
    entry = Entry(
        name=name,
        folder=folder,
        source=source,
        added=dt.datetime.now(dt.UTC).isoformat(timespec="seconds").replace("+00:00", "Z"),
        model=_described(home, pins, asked, before),
        files=pins,
        signature=Signed("unsigned") if bundle is None else _signed(bundle, pins, signer),
    )
    with registry.change() as entries:
        _must_be_free(entries, name, source, folder)
        entries[name] = entry
    return entry, before is not None


def _must_be_free(entries: dict[str, Entry], name: str, source: str, folder: Path) -> None:
    for other in entries.values():
        if other.name.casefold() == name.casefold() and (other.name != name or other.source != source):
            raise GenerationError(
                f"{other.name} is registered already, from {other.source}",
                code="generate.registered",
                hint=f"Choose another name, or run `filigrana models remove {other.name}` first.",
            )
        if other.name != name and other.folder == folder:
            raise GenerationError(
                f"that folder is registered already, as {other.name}",
                code="generate.registered",
                hint=f"Use --model {other.name}, or run `filigrana models remove {other.name}` first.",
            )


def _refuse_pickles(names: Iterable[str]) -> None:
    names = list(names)
    pickles = [name for name in names if name.lower().endswith(PICKLES)]
    if pickles or not any(name.endswith(".safetensors") for name in names):
        raise GenerationError(
            f"{shown(pickles[0])} is a pickle, which can run code"
            if pickles
            else "the model has no safetensors weights",
            code="generate.unsafe_weights" if pickles else "generate.no_model",
            hint="Convert it with diffusers' save_pretrained(safe_serialization=True) into an empty folder.",
        )


def _described(home: ModelFolder, pins: tuple[Pin, ...], asked: Asked, before: Entry | None) -> Model:
    weights = sorted(
        (one for one in pins if one.path.endswith(".safetensors")), key=lambda one: PurePosixPath(one.path)
    )
    model, last = home.described((one.path, one.sha256) for one in weights), before.model if before else None
    return replace(
        model,
        licence=asked.licence or model.licence or (last.licence if last else ""),
        training_data=asked.training_data or model.training_data or (last.training_data if last else ""),
    )


def _signature(folder: Path) -> Bundle | None:
    """The signature beside the model; None where there is none. Raises GenerationError."""
    path = folder / SIGNATURE
    if not os.path.lexists(path):
        return None
    if not path.is_file():
        raise refused("is not a plain file")
    try:
        with path.open("rb") as stream:
            data = stream.read(MAX_BYTES + 1)
    except OSError as error:
        raise refused(f"cannot be read: {error.strerror}") from error
    if len(data) > MAX_BYTES:
        raise refused("is too large")
    return parse(data)


def _unsigned(signer: Signer | None, allowed: bool) -> None:
    if signer is not None:
        raise GenerationError(
            f"the model has no {SIGNATURE}, so it is not signed by the key that is known for it",
            code="generate.unsigned",
            hint="Get the signature from whoever signs the model; a hub id brings none: download the whole repository.",
        )
    if not allowed:
        raise GenerationError(
            f"the model has no {SIGNATURE}: nobody signed it",
            code="generate.unsigned",
            hint="If you trust it all the same, add --unsigned. Its files are pinned as they are now.",
        )


def _signed(bundle: Bundle, pins: tuple[Pin, ...], signer: Signer | None) -> Signed:
    """Raises GenerationError where the signature is not by ``signer``, or is for other files."""
    key = check(bundle, signer) if signer else ""
    if found := covers(bundle, pins):
        raise refused(f"is for other files: {_told(found)}")
    return Signed("verified", key, signer) if signer else Signed("signed, not checked")


def _told(found: list[Difference]) -> str:
    more = f" and {len(found) - 3} more" if len(found) > 3 else ""
    return ", ".join(str(one) for one in found[:3]) + more


def remove(data_dir: Path, name: str) -> Entry:
    """Forgets a model; its files stay. Raises GenerationError where it is not registered."""
    with RegistryFile(data_dir).change() as entries:
        return entries.pop(_one(entries, name).name)


def _one(entries: dict[str, Entry], name: str) -> Entry:
    entry = entries.get(unicodedata.normalize("NFC", name))
    if entry is None:
        raise GenerationError(
            f"no model is registered as {name!r}",
            code="generate.no_model",
            hint="`filigrana models list` names those that are.",
        )
    return entry


def registered(data_dir: Path, name: str | None = None) -> list[Entry]:
    """All registered models by name, or the one that is asked for. Raises GenerationError."""
    entries = RegistryFile(data_dir).read()
    return [entries[one] for one in sorted(entries)] if name is None else [_one(entries, name)]


def verified(entry: Entry, tell: Tell = nothing_told) -> Checked:
    """Holds a model against its pins and its signature; every file is read again."""
    status, wrong = entry.signature.status, None
    if not entry.folder.is_dir():
        gone = tuple(Difference(one.path, "missing") for one in entry.files)
        return Checked(entry, gone, f"the folder {entry.folder} is not there", status, None)
    try:
        found, problem = differences(entry.folder, entry.files, tell, fresh=True), None
    except GenerationError as error:
        found, problem = [], error.message
    try:
        bundle = _signature(entry.folder)
        if bundle is None:
            wrong = f"{SIGNATURE} is missing" if status != "unsigned" else None
        else:
            now = _signed(bundle, entry.files, entry.signature.signer)
            status = now.status
            if now.key != entry.signature.key:
                wrong = f"it is by another key: {now.key[:12]}…"
    except GenerationError as error:
        wrong = error.message
    return Checked(entry, tuple(found), problem, status, wrong)


class PinnedFolder(ModelFolder):
    """A registered model: its files are held against their pins before anything in its folder is read."""

    def __init__(self, entry: Entry) -> None:
        super().__init__(str(entry.folder))
        self._entry = entry

    @cached_property
    def folder(self) -> Path:
        self.check()
        return super().folder

    @cached_property
    def model(self) -> Model:
        self.check()
        return self._entry.model

    def check(self) -> None:
        """Raises GenerationError (``generate.pinned``) that names what differs. Cheap when nothing was touched since
        this process looked last."""
        entry = self._entry
        if not entry.folder.is_dir():
            wrong = f"its folder {entry.folder} is not there"
        else:
            wrong = _told(differences(entry.folder, entry.files, fresh=False))
        if wrong:
            raise GenerationError(
                f"the model {entry.name} is not what was registered: {wrong}",
                code="generate.pinned",
                hint=f"`filigrana models verify {entry.name}` names every file. If you know why it differs, run "
                f"`filigrana models add {entry.name} SOURCE` again.",
            )


def home_of(name: str, data_dir: Path) -> ModelFolder:
    """The model that the setting ``model`` names: a registered one by its name, its folder or the hub id that it came
    from, else as before. A registered name comes before a folder of that name. Raises GenerationError."""
    if name == EMBEDDED:
        return ModelFolder(name)
    found = meant(RegistryFile(data_dir).read().values(), name)
    return ModelFolder(name) if found is None else PinnedFolder(found)


def meant(entries: Iterable[Entry], name: str) -> Entry | None:
    """Which of ``entries`` the setting ``model`` means; None where it is none of them."""
    wanted = unicodedata.normalize("NFC", name)
    entries = list(entries)
    for entry in entries:
        if entry.name == wanted:
            return entry
    try:
        place = Path(name).resolve()
    except (OSError, ValueError, RuntimeError):
        return None
    return next((one for one in entries if one.folder == place or (one.source == name and not place.is_dir())), None)
