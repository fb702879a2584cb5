"""What an auditor has from elsewhere, held against a bundle: kept checkpoints, witnesses' keys, ids of assets.

Pure, no IO; part of every bundle, like :mod:`.bundle_verifier`.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from ...errors import LogError, TamperError
from .bundle_enclosed import Findings, some
from .cosignature import MAX_AHEAD, Cosignature, cosignatures, require_witness_keys, utc
from .merkle import EMPTY_ROOT
from .note import Checkpoint, Note, VerifierKey


class Outside:
    """Adds to these findings."""

    def __init__(self, to: Findings) -> None:
        self.to = to

    def pinned(self, assets: Iterable[str]) -> None:
        """Ids that the auditor asked about, whatever the bundle says that it is about."""
        for asset in dict.fromkeys(assets):
            count = len(self.to.releases(asset))
            if count == 1:
                self.to.checked.append(f"the asset {asset} that you asked about: its release is among the entries")
            else:
                self.to.problem(f"the asset {asset} that you asked about has {count} releases in this bundle")

    def cosignatures(self, witnesses: Sequence[VerifierKey], now: float) -> None:
        """Only those by ``witnesses`` count, for each the newest size that it cosigned."""
        require_witness_keys(witnesses, self.to.keys)
        newest: dict[VerifierKey, tuple[int, Cosignature]] = {}
        strangers: dict[str, None] = {}
        ahead: dict[VerifierKey, str] = {}
        for size in sorted(self.to.notes):
            note = self.to.notes[size]
            strangers |= dict.fromkeys(self._strangers(note, witnesses))
            for key in witnesses:
                try:
                    found = cosignatures(note, [key])
                except TamperError as error:
                    self.to.problem(f"the cosignature of {key.name} over {size} entries: {error.message}")
                    continue
                except LogError as error:
                    self.to.unchecked.append(f"The cosignature of {key.name} over {size} entries: {error.message}.")
                    continue
                for item in found:
                    if item.time <= now + MAX_AHEAD:
                        newest[key] = (size, item)
                    else:
                        ahead[key] = (
                            f"The cosignature of {key.name} over {size} entries does not count: its time, "
                            f"{utc(item.time)}, lies ahead of this computer's clock."
                        )
        self.to.unchecked += ahead.values()
        for key, (size, item) in newest.items():
            self.to.cosigned = max(self.to.cosigned, size)
            self.to.checked.append(
                f"cosigned up to entry {size - 1} (the checkpoint over {size} entries) by {key.name}, "
                f"at {utc(item.time)}"
            )
        silent = [key.name for key in witnesses if key not in newest]
        if silent:
            self.to.unchecked.append(f"No checkpoint here has a cosignature that counts by: {some(silent)}.")
        for name in list(strangers)[:16]:
            self.to.unchecked.append(
                f"A cosignature: signed by somebody that the bundle calls {name}; give --witness KEY to check it."
            )
        self._split_views()

    def _split_views(self) -> None:
        last, cosigned = self.to.head.size if self.to.head is not None else 0, self.to.cosigned
        if not cosigned:
            self.to.unchecked.append(
                "Whether others are shown the same log: no witness whose key you gave cosigned a checkpoint here."
            )
        elif cosigned < last:
            self.to.unchecked.append(
                f"Whether others are shown the same log after entry {cosigned - 1}: no witness whose key you gave "
                "cosigned a newer checkpoint here."
            )

    def _strangers(self, note: str, witnesses: Sequence[VerifierKey]) -> list[str]:
        """Names on lines that are neither the log's nor of a given key."""
        known = {(key.name, key.key_id) for key in witnesses}
        own = {key.name for key in self.to.keys}
        lines = Note.parse(note).signatures
        return [line.name for line in lines if line.name not in own and (line.name, line.key_id) not in known]

    def kept(self, notes: Sequence[str]) -> None:
        """Checkpoints that the auditor kept: the log of the bundle must contain each."""
        for number, note in enumerate(notes, 1):
            try:
                mine = Checkpoint.open(note, self.to.keys)
            except LogError as error:
                self.to.problem(f"your checkpoint {number} cannot be used: {error.message}")
                continue
            self._compare(number, mine)
        if not notes:
            since = f" after entry {self.to.cosigned - 1}" if self.to.cosigned else ""
            self.to.unchecked.append(
                f"Whether the whole log was rewritten{since} before this bundle was made: only a checkpoint that you "
                "kept (--checkpoint), or one cosigned by witnesses you know (--witness), shows that."
            )

    def _compare(self, number: int, mine: Checkpoint) -> None:
        head = self.to.head
        root = self.to.roots.get(mine.size) if mine.size else EMPTY_ROOT
        if head is not None and mine.origin != head.origin:
            self.to.problem(f"your checkpoint {number} is of the log {mine.origin}")
        elif root is not None and root != mine.root:
            self.to.problem(f"the log was rewritten: your checkpoint over {mine.size} entries has another root")
        elif root is not None:
            self.to.checked.append(
                f"the log still contains what it was when you kept your checkpoint ({mine.size} entries)"
            )
        elif head is not None and mine.size > head.size:
            self._not_compared(
                number,
                f"it is over {mine.size} entries, and the bundle's newest over {head.size}. Ask for a newer bundle",
            )
        else:
            self._not_compared(
                number,
                f"the bundle does not lead from the checkpoint over {mine.size} entries to its own. Ask for one that "
                "was made with it (filigrana audit bundle make --checkpoint FILE)",
            )

    def _not_compared(self, number: int, why: str) -> None:
        self.to.compared = False
        self.to.unchecked.append(f"Your checkpoint {number} cannot be compared: {why}.")
