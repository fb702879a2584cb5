"""The register of protected works: fingerprints of pictures and clips that must not be made or sealed again.

One SQLite file in the data folder, never the works themselves. Every row carries its sha256, and the file one over all
rows, so that a damaged register is noticed, and never taken for a small one.
"""

from __future__ import annotations

import hashlib
import sqlite3
import threading
from collections.abc import Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass
from itertools import islice
from pathlib import Path

from ..errors import InputError, SafetyError
from ..provenance.media import Limits, open_media
from ..safety.vision.copies import CopyIndex, Work
from ..safety.vision.frames import sample
from ..safety.vision.prints import VERSION, Print, fingerprint, hash_distance

FILE = "register.db"
MAX_FRAMES = 2_000
_SAME = 12  # bits of 256: frames of a clip that are nearer than that to the one before are registered once
_TABLES = """
create table if not exists works (number integer primary key, title text not null, owner text not null,
  reference text not null, sha256 text not null unique);
create table if not exists prints (work integer not null, place integer not null, data blob not null,
  sha256 text not null, primary key (work, place));
create table if not exists state (version text not null, digest text not null);
"""


@dataclass(frozen=True)
class Entry:
    """A work as it is listed. ``sha256``: of the file that was registered; ``frames``: how many fingerprints."""

    number: int
    title: str
    owner: str
    reference: str
    sha256: str
    frames: int


class Register:
    """Raises SafetyError (``safety.register``) where the file is damaged. Safe for threads and processes."""

    def __init__(self, path: Path, limits: Limits | None = None) -> None:
        self._path, self._limits = path, limits or Limits()
        self._lock = threading.Lock()
        self._loaded: tuple[tuple[int, int, int], CopyIndex] | None = None

    def add(self, file: Path, *, title: str = "", owner: str = "", reference: str = "") -> Entry:
        """Registers a picture, or every sampled frame of a clip. Raises InputError for a file that is there already."""
        if any(0xD800 <= ord(char) <= 0xDFFF for text in (title, owner, reference) for char in text):
            raise InputError("a title, owner or reference is text", code="input.register")
        with file.open("rb") as stream:
            sha256 = hashlib.file_digest(stream, "sha256").hexdigest()
        prints = list(self._prints(file))
        with self._writing() as database:
            if database.execute("select 1 from works where sha256 = ?", (sha256,)).fetchone():
                raise InputError(f"{file.name} is registered already", code="input.register")
            row = database.execute(
                "insert into works (title, owner, reference, sha256) values (?, ?, ?, ?)",
                (title or file.stem, owner, reference, sha256),
            )
            number = int(row.lastrowid or 0)
            for place, each in enumerate(prints):
                data = each.to_bytes()
                database.execute(
                    "insert into prints values (?, ?, ?, ?)", (number, place, data, hashlib.sha256(data).hexdigest())
                )
        return Entry(number, title or file.stem, owner, reference, sha256, len(prints))

    def remove(self, number: int) -> None:
        if not 0 < number < 1 << 63:
            raise InputError(f"no work has the number {number}", code="input.register")
        with self._writing() as database:
            if not database.execute("delete from works where number = ?", (number,)).rowcount:
                raise InputError(f"no work has the number {number}", code="input.register")
            database.execute("delete from prints where work = ?", (number,))

    def entries(self) -> list[Entry]:
        if not self._path.exists():
            return []
        with self._reading() as database:
            _checked(database)
            rows = database.execute(
                "select number, title, owner, reference, sha256,"
                " (select count(*) from prints where work = number) from works order by number"
            )
            return [Entry(*row) for row in rows]

    def copy_to(self, target: Path) -> None:
        """A copy of the file as it is at one moment. What is in it is not checked."""
        with self._reading() as database, closing(sqlite3.connect(target)) as copy:
            database.backup(copy)

    def index(self) -> CopyIndex:
        """All works, ready to be asked; read again when the file has changed. No file is an empty register."""
        with self._lock:
            try:
                stat = self._path.stat()
            except FileNotFoundError:
                return CopyIndex((), _digest(()))
            except OSError as error:
                raise SafetyError("the register cannot be read", code="safety.register") from error
            stamp = (stat.st_ino, stat.st_mtime_ns, stat.st_size)
            if self._loaded is None or self._loaded[0] != stamp:
                self._loaded = (stamp, self._load())
            return self._loaded[1]

    def nearest(self, file: Path) -> tuple[float, Work | None]:
        """The likeness of a file's most similar frame to any work, and that work."""
        index, best = self.index(), (0.0, None)  # type: tuple[CopyIndex, tuple[float, Work | None]]
        for frame in sample((f.rgb, float(f.time)) for f in open_media(file, self._limits).frames()):
            best = max(best, index.nearest(frame), key=lambda found: found[0])
        return best

    def _load(self) -> CopyIndex:
        with self._reading() as database:
            digest = _checked(database)
            prints: dict[int, list[Print]] = {}
            for work, data, sha256 in database.execute("select work, data, sha256 from prints order by work, place"):
                if not isinstance(data, bytes) or hashlib.sha256(data).hexdigest() != sha256:
                    raise SafetyError("a fingerprint of the register was changed", code="safety.register")
                prints.setdefault(work, []).append(Print.from_bytes(data))
            works = [
                Work(number, title, owner, reference, tuple(prints[number]))
                for number, title, owner, reference in database.execute(
                    "select number, title, owner, reference from works order by number"
                )
            ]
        return CopyIndex(works, digest)

    def _prints(self, file: Path) -> Iterator[Print]:
        media = open_media(file, self._limits)
        if media.info.kind == "audio":
            raise InputError("the register takes pictures and clips", code="input.register")
        last: Print | None = None
        for frame in islice(sample((f.rgb, float(f.time)) for f in media.frames()), MAX_FRAMES + 1):
            each = fingerprint(frame)
            if last is None or int(hash_distance(each.hashes[:1], last.hashes[:1]).min()) > _SAME:
                last = each
                yield each

    @contextmanager
    def _reading(self) -> Iterator[sqlite3.Connection]:
        try:
            with closing(sqlite3.connect(self._path, timeout=10)) as database:
                yield database
        except (sqlite3.Error, KeyError, TypeError, ValueError) as error:
            raise SafetyError("the register is damaged", code="safety.register") from error

    @contextmanager
    def _writing(self) -> Iterator[sqlite3.Connection]:
        self._path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        with self._reading() as database:
            database.isolation_level = None
            database.execute("pragma synchronous = full")
            for statement in _TABLES.split(";"):
                database.execute(statement)
            database.execute("begin immediate")
            if database.execute("select 1 from works").fetchone():
                _checked(database)
            yield database
            database.execute("delete from state")
            database.execute("insert into state values (?, ?)", (VERSION, _digest(_rows(database))))
            database.execute("commit")


def _rows(database: sqlite3.Connection) -> list[tuple[object, ...]]:
    works = database.execute("select number, title, owner, reference, sha256 from works order by number").fetchall()
    return works + database.execute("select work, place, sha256 from prints order by work, place").fetchall()


def _digest(rows: list[tuple[object, ...]] | tuple[()]) -> str:
    return hashlib.sha256(repr([VERSION, *rows]).encode()).hexdigest()


def _checked(database: sqlite3.Connection) -> str:
    """The digest over all rows, which must be the stored one."""
    stored = database.execute("select version, digest from state").fetchall()
    digest = _digest(_rows(database))
    if stored != [(VERSION, digest)]:
        raise SafetyError("the register is damaged, or of another version", code="safety.register")
    works = {n for (n,) in database.execute("select number from works")}
    if works != {n for (n,) in database.execute("select distinct work from prints")}:
        raise SafetyError("the register lacks fingerprints", code="safety.register")
    return digest
