"""One installation, wired from its settings: keys, log, catalog, store, policy, guards, codecs.

Everything is made at first use with no configuration at all; production replaces each part by a setting.
"""

from __future__ import annotations

import datetime as dt
import os
import secrets
import threading
from collections.abc import Callable
from contextlib import AbstractContextManager
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..errors import KeyStoreError, SettingsError
from ..provenance.keys import KeyStore, write_private
from ..provenance.log.signer import CosignerKey, Ed25519LogSigner
from ..provenance.trust import TrustLevel, TrustList, TrustLists
from ..provenance.trust_store import TrustStore
from .settings import Settings

# What decodes, judges or generates is imported where it is asked for: `verify` needs none of it in this process.
if TYPE_CHECKING:
    from collections.abc import Sequence

    from sqlalchemy import Engine

    from ..provenance.log.note import VerifierKey
    from ..provenance.log.publishing import Publishing
    from ..provenance.log.sequencer import AuditLog
    from ..provenance.media import Limits
    from ..provenance.resolver_port import Resolver
    from ..provenance.signing import Signer
    from ..provenance.verify import Verifier
    from ..provenance.watermark.registry import Layer
    from ..safety.judge import TextGuard
    from ..safety.output import OutputGuard
    from ..safety.policy import Pack
    from ..safety.sound import SoundGuard
    from .access import ApiKeys
    from .finish import Finisher
    from .inspection import Inspector
    from .jobs.incoming import Incoming
    from .jobs.queue import JobQueue
    from .labelled import ReleaseLabels
    from .ledger import Ledger
    from .policies import PolicyInForce
    from .staging import Staging
    from .store import AssetStore
    from .text_guards import TextGuards
    from .who_signs import WhoSigns


def utc_now() -> dt.datetime:
    return dt.datetime.now(dt.UTC)


class Installation:
    """Parts are made when they are first asked for, so that `verify` makes no keys and loads no model."""

    def __init__(self, settings: Settings, clock: Callable[[], dt.datetime] = utc_now) -> None:
        self.settings, self.clock = settings, clock
        self._inspector: Inspector | None = None
        self._inspecting = threading.Lock()
        self.found = False  # whether the log was seen in its database: a log does not go away again
        self.publisher: threading.Thread | None = None  # see :func:`.publishing.published_if_due`

    # ── folders ──────────────────────────────────────────────────────────────────────────────────────────────
    @property
    def folder(self) -> Path:
        return self.settings.data_dir

    def _make_folder(self) -> Path:
        try:
            self.folder.mkdir(parents=True, exist_ok=True, mode=0o700)
            if not os.access(self.folder, os.W_OK | os.X_OK):
                raise PermissionError(13, "permission denied")
        except OSError as error:
            raise SettingsError(
                f"the data folder {self.folder} cannot be used: {error.strerror}",
                code="settings.data_dir",
                hint="Give another one with --data-dir or FILIGRANA_DATA_DIR.",
            ) from error
        return self.folder

    @cached_property
    def node(self) -> str:
        """A random name of this data folder, so that several installations may share one database."""
        path = self._make_folder() / "node-id"
        if not path.exists():
            try:
                write_private(path, secrets.token_hex(8).encode())
            except KeyStoreError as error:
                if error.code != "provenance.keys.exists":
                    raise
        return path.read_text("ascii").strip()

    # ── provenance ───────────────────────────────────────────────────────────────────────────────────────────
    @property
    def keys(self) -> KeyStore:
        return KeyStore(self.folder / "keys", self.passphrase)

    def passphrase(self) -> bytes | None:
        from .who_signs import passphrase

        return passphrase(self.settings)

    @cached_property
    def who_signs(self) -> WhoSigns:
        from .who_signs import WhoSigns

        return WhoSigns(self.settings, self.keys, lambda: self.trust, self.clock, self._withdrawn)

    def _withdrawn(self, serial: str) -> bool:
        """Whether `keys revoke` has an open end for this certificate: then it signs nothing more."""
        from ..provenance.database import session
        from ..provenance.revocations import ranges

        with session(self.log.engine) as opened:
            return any(row.serial == serial and row.last_index is None for row in ranges(opened))

    def signer(self) -> Signer:
        """Whoever signs claims, by the setting `signer`."""
        return self.who_signs.signer()

    def tsa(self) -> AbstractContextManager[str]:
        """The URL of somebody who gives time-stamps, while the block lasts."""
        return self.who_signs.tsa()

    def check_log_key(self) -> None:
        """Raises KeyStoreError where the log in this database has a key already, and none is here. Looking makes
        nothing."""
        from ..provenance.database import connect

        file = self.settings.database_file
        if file is not None and not file.exists():
            return
        engine = connect(self.settings.database_url)
        try:
            _same_log(engine, ())
        finally:
            engine.dispose()

    def ensure_keys(self) -> list[str]:
        """Makes the development keys that are missing; returns what was made. Raises KeyStoreError where the log has
        a key already, and it is not here."""
        from ..provenance.rotation import finish

        if not (self.keys.folder / "log.key").exists():
            self.check_log_key()
        self._make_folder()
        finish(self.keys.folder)
        made = self.keys.ensure(self.clock())
        log_key = self.keys.folder / "log.key"
        if not log_key.exists():
            try:
                # A witness tells logs apart by their names, so no two may have one.
                name = self.settings.log_name or f"filigrana.org/log/{secrets.token_hex(8)}"
                Ed25519LogSigner.create(log_key, name)
                made.append("log.key")
            except KeyStoreError:
                if not log_key.exists():
                    raise
        return made

    @property
    def exists(self) -> bool:
        """Whether something was ever made or recorded here."""
        file = self.settings.database_file
        return (file is None or file.exists()) and (self.keys.folder / "log.key").exists()

    @property
    def where(self) -> str:
        """The data folder and the database, as a person would name them: no password."""
        file = self.settings.database_file
        return f"data folder {self.folder}, " + ("a database server" if file is None else f"database {file}")

    def _second_key(self, name: str) -> CosignerKey | None:
        """The log's ML-DSA-44 key, made when the settings first ask for it."""
        if not self.settings.log_ml_dsa:
            return None
        path = self.keys.folder / "log-mldsa.key"
        try:
            return CosignerKey.load(path) if path.exists() else CosignerKey.create(path, name)
        except KeyStoreError:
            if not path.exists():
                raise
            return CosignerKey.load(path)  # another process made it at the same moment

    @property
    def guard_path(self) -> Path:
        """Remembers the last signed checkpoint, outside the database."""
        return self.folder / "checkpoint.guard"

    @cached_property
    def log(self) -> AuditLog:
        from ..provenance.log.sequencer import AuditLog
        from ..provenance.rotation import change_is_untold

        self.ensure_keys()
        signer = Ed25519LogSigner.load(self.keys.folder / "log.key")
        wanted = self.settings.log_name
        if wanted is not None and wanted != signer.name:
            raise SettingsError(
                f"the log's key is named {signer.name}, and the setting log_name says {wanted}",
                hint="A log keeps its name for as long as it lives: take the setting away, or start another log.",
            )
        log = AuditLog(
            self.settings.database_url, signer=signer, guard_path=self.guard_path, second=self._second_key(signer.name)
        )
        try:
            _same_log(log.engine, log.keys)
        except Exception:
            log.close()
            raise
        if change_is_untold(self.keys.folder):
            from .rekeying import tell_change

            tell_change(self.keys.folder, log)
        return log

    @cached_property
    def publishing(self) -> Publishing:
        """Checkpoints outside the database, as the settings ask for it."""
        from .publishing import make_publishing

        return make_publishing(self)

    @cached_property
    def ledger(self) -> Ledger:
        from .ledger import Ledger

        return Ledger(self.log, self.clock, self.node)

    @property
    def limits(self) -> Limits:
        from ..provenance.media import Limits

        return Limits(pixels=self.settings.max_pixels, seconds=self.settings.max_seconds)

    @property
    def trust(self) -> TrustLists:
        """Official lists first, then what was configured, then this installation's own development roots. Read each
        time: another process may have changed the keys or the lists, and what it signs with now must be believed."""
        claim, tsa = self._trusted_pems()
        return TrustLists(
            tuple(TrustList(level, pem) for level, pem in claim), tuple(TrustList(level, pem) for level, pem in tsa)
        )

    def _trusted_pems(self) -> tuple[list[tuple[TrustLevel, str]], list[tuple[TrustLevel, str]]]:
        settings, keys, installed = self.settings, self.keys, TrustStore(self.folder / "trust")
        claim: list[tuple[TrustLevel, str]] = [("c2pa", _pem(p)) for p in settings.c2pa_claim_trust]
        claim += [("c2pa", pem) for pem in installed.pems("claim")]
        claim += [("configured", _pem(p)) for p in settings.claim_trust]
        tsa: list[tuple[TrustLevel, str]] = [("c2pa", _pem(p)) for p in settings.c2pa_tsa_trust]
        tsa += [("c2pa", pem) for pem in installed.pems("tsa")]
        tsa += [("configured", _pem(p)) for p in settings.tsa_trust]
        if (root := keys.development_root()) is not None:
            claim.append(("development", root.decode()))
        claim += [("development", root.decode()) for root in keys.old_roots()]
        if (root := keys.tsa_root()) is not None:
            tsa.append(("development", root.decode()))
        return claim, tsa

    def forget_signer(self) -> None:
        """The keys changed: who signs is looked up again."""
        self.__dict__.pop("who_signs", None)

    @property
    def watermark_key(self) -> bytes | None:
        key = self.settings.watermark_key
        return key.get_secret_value().encode() if key is not None else None

    def finisher(self) -> Finisher:
        from ..provenance.watermark.registry import codec, sound_codec
        from .finish import Finisher

        self.ensure_keys()
        return Finisher(
            codec=codec(key=self.watermark_key),
            sound_codec=sound_codec(self.watermark_key),
            signer=self.signer(),
            signer_seconds=self.settings.signer_timeout,
            tsa=self.tsa,
            trust=self.trust,
            limits=self.limits,
            organisation=self.settings.organisation,
            layers=tuple(self.layers()),
            key=self.watermark_key,
            before_signing=self.who_signs.may_sign,
            embed_limit=self.settings.embed_limit,
            labels=self.labels,
        )

    @cached_property
    def labels(self) -> ReleaseLabels:
        """What the chosen profiles of laws ask of a release."""
        from ..provenance.reports.duties import needs_of
        from .labelled import ReleaseLabels

        used = self.settings
        return ReleaseLabels(
            needs_of(used.profiles, used.label_language),
            used.label_language,
            used.visible_label == "always",
            used.aigc_producer,
            used.prompt_writer,
            tuple(used.profiles),
        )

    def layers(self) -> list[Layer]:
        from ..provenance.watermark.registry import second_layers

        return second_layers(self.settings.watermark_layers, self.watermark_key)

    def resolvers(self) -> list[Resolver]:
        """This installation's catalog, where there is one, then those of `catalogs`. Looking makes nothing."""
        from ..provenance.remote import RemoteResolver

        return [*self._local_resolver(), *(RemoteResolver.from_setting(text) for text in self.settings.catalogs)]

    def _local_resolver(self) -> list[Resolver]:
        if not self.exists:
            return []
        from ..provenance.database import current_revision
        from ..provenance.resolver import LocalResolver

        return [LocalResolver(self.log, self.log.keys)] if current_revision(self.log.engine) is not None else []

    @property
    def inspector(self) -> Inspector:
        """Verifies in confined children. Started at the first use, and again when the trust lists have changed."""
        from .inspection import Inspector, config_of

        config = config_of(self.settings, *self._trusted_pems())
        with self._inspecting:
            if self._inspector is not None and self._inspector.config != config:
                self._inspector.retire()  # somebody may be in the middle of a file
                self._inspector = None
            if self._inspector is None:
                self._inspector = Inspector(self.settings, config, self.resolvers)
            return self._inspector

    def algorithms(self, key: bytes | None) -> list[str]:
        """The names of the marks that are looked for under ``key``."""
        from ..provenance.watermark.registry import all_codecs, sound_codec

        return [*(one.alg for one in all_codecs(key)), sound_codec(key).alg, *(one.alg for one in self.layers())]

    def verifier(self) -> Verifier:
        """Marks under an organisation's key are looked for first, then those under the published one."""
        from ..provenance.verify import Verifier
        from ..provenance.watermark.registry import all_codecs, sound_codec

        keys = [None] if self.watermark_key is None else [self.watermark_key, None]
        codecs = [one for key in keys for one in all_codecs(key)]
        return Verifier(
            self.trust,
            codecs,
            self.resolvers(),
            self.limits,
            sound_codecs=[sound_codec(key) for key in keys],
            layers=self.layers(),
            key=self.watermark_key,
        )

    @cached_property
    def jobs(self) -> JobQueue:
        from .jobs.queue import JobQueue

        used = self.settings
        return JobQueue(
            self.log.engine,
            limit=used.jobs_limit,
            tenant_limit=used.jobs_tenant_limit,
            seconds=used.jobs_lease,
            attempts=used.jobs_attempts,
        )

    @cached_property
    def incoming(self) -> Incoming:
        """Files that wait to be sealed."""
        from .jobs.incoming import Incoming

        return Incoming(self.folder / "incoming")

    @cached_property
    def access(self) -> ApiKeys:
        from .access import ApiKeys

        return ApiKeys(self.ledger)

    # ── the rest ─────────────────────────────────────────────────────────────────────────────────────────────
    @cached_property
    def store(self) -> AssetStore:
        from .store import open_store

        self._make_folder()
        return open_store(self.settings)

    @cached_property
    def recall_folder(self) -> Path:
        """Files that were signed again, from their commit until they take the old one's place."""
        folder = self._make_folder() / "recall"
        folder.mkdir(exist_ok=True, mode=0o700)
        return folder

    @cached_property
    def staging(self) -> Staging:
        from .staging import Staging

        return Staging(self._make_folder() / "staging")

    @cached_property
    def policy(self) -> PolicyInForce:
        from .policies import PolicyInForce
        from .policy_memory import PolicyMemory

        return PolicyInForce(self.settings.policy, self.settings.policy_signers, PolicyMemory(self.folder))

    @property
    def pack(self) -> Pack:
        """The policy that is in force now. Raises PolicyError while there is none: see :mod:`.policies`."""
        return self.policy.current()

    @cached_property
    def _text_guards(self) -> TextGuards:
        from .text_guards import TextGuards

        return TextGuards(self.settings)

    def text_guards(self, pack: Pack | None = None) -> list[TextGuard]:
        """Guards beside the lexicon. The trained prompt classifier and the guard models come in through here."""
        return self._text_guards.of((pack or self.pack).requires.prompt)

    def frame_guards(self, generated: bool, pack: Pack | None = None) -> list[OutputGuard]:
        """The guards that the pack asks for; one that is not installed is left out, and judging then fails closed."""
        from .guards import frame_guards

        pack = pack or self.pack
        names = pack.requires.generated if generated else pack.requires.sealed
        return frame_guards(names, self.folder, self.settings.clip_model)

    def sound_guard(self) -> SoundGuard | None:
        """The recogniser that the setting names; None: the pack says what becomes of sound that nobody hears."""
        from .guards import sound_guard

        return sound_guard(self.settings.speech_model)

    def agreement(self) -> Callable[[str, Any], float] | None:
        """How well a frame shows its prompt, for best-of-N; None where the CLIP model is not installed."""
        from .guards import agreement

        return agreement()

    def close(self) -> None:
        if "publishing" in self.__dict__:
            from .publishing import finish_publishing

            finish_publishing(self)
        with self._inspecting:
            if self._inspector is not None:
                self._inspector.close()
                self._inspector = None
        if "log" in self.__dict__:
            self.log.close()


def _pem(path: Path) -> str:
    try:
        text = path.read_text("ascii")
    except (OSError, ValueError) as error:
        raise SettingsError(f"the trust list {path.name} cannot be read") from error
    if "BEGIN CERTIFICATE" not in text:
        raise SettingsError(f"the trust list {path.name} holds no PEM certificate")
    return text


def _same_log(engine: Engine, ours: Sequence[VerifierKey]) -> None:
    """Whoever kept a checkpoint could not believe a log any more that another key goes on with."""
    from ..provenance.log.checkpoints import signers

    found = signers(engine)
    if found and found.isdisjoint(str(key) for key in ours):
        raise KeyStoreError(
            "the log in this database is signed by a key that is not here",
            code="provenance.keys.log",
            hint="Put `keys/log.key` of this log back into the data folder, or name another database.",
        )
