"""Every error that Filigrana raises on purpose, in one tree.

::

    FiligranaError
    ├── SettingsError            settings.*      a setting, a folder or an option is wrong
    ├── InputError               input.*         the caller's file, prompt or id cannot be used
    │   ├── MediaError           input.media     the bytes are not a picture, clip or sound that we can read
    │   ├── PromptError          input.prompt    the prompt is empty, too long or not text
    │   └── FetchError           input.url       an address is not allowed, does not answer, or sends too much
    ├── PolicyError              policy.*        a policy pack does not parse or does not pass its own tests
    ├── SafetyError              safety.*        a classifier is missing, failed, timed out or gave no number
    ├── GenerationError          generate.*      a model could not be loaded or did not deliver
    ├── ProvenanceError          provenance.*
    │   ├── WatermarkError       provenance.watermark
    │   ├── ManifestError        provenance.manifest
    │   ├── KeyStoreError        provenance.keys
    │   ├── TimestampError       provenance.timestamp
    │   └── ReadBackError        provenance.readback   what we claimed could not be read back: no release
    ├── LogError                 log.*           the audit log refused or is damaged
    │   ├── EntryError           log.entry       an entry cannot be written (not canonical, too large)
    │   └── TamperError          log.tamper      the log does not match its hashes or checkpoints
    ├── AccessError              access.*        a key for the service that cannot be made, found or changed
    ├── ReleaseError             release.*       a file could not be put under its public name
    │   └── BackupError          backup.*        a backup cannot be made, read or put back
    ├── JobError                 jobs.*          a job that cannot be taken, found, or gone on with
    └── ServiceError             service.*       the HTTP service refuses a request

Each carries a stable ``code`` for machines and a ``hint`` that says what to do next. Messages name no secret:
no key material, no passphrase, no prompt text.
"""

from __future__ import annotations


class FiligranaError(Exception):
    """Base of every deliberate error. ``code`` is stable across releases; ``hint`` says what to do next."""

    code = "error"
    hint = ""

    def __init__(self, message: str, *, code: str | None = None, hint: str | None = None) -> None:
        super().__init__(message)
        if code is not None:
            self.code = code
        if hint is not None:
            self.hint = hint

    @property
    def message(self) -> str:
        return str(self.args[0]) if self.args else self.code

    def diagnostics(self) -> str:
        """One or two lines for a person: what happened, its code, and what to do next."""
        line = f"{self.message} [{self.code}]"
        return f"{line}\n{self.hint}" if self.hint else line


def code_of(error: BaseException) -> str:
    """For logs: our code, or the kind of anybody else's error. Others call something `code`, too: SQLAlchemy's is the
    end of an address of its manual."""
    return error.code if isinstance(error, FiligranaError) else type(error).__name__


class SettingsError(FiligranaError):
    code = "settings.invalid"
    hint = "`filigrana doctor` shows what is set and where it comes from; docs/settings.md says what it may be."


class InputError(FiligranaError):
    code = "input.invalid"


class MediaError(InputError):
    code = "input.media"
    hint = "Readable: PNG, JPEG, WebP, AVIF, TIFF, GIF, HEIC, MP4, MOV, WebM, WAV, M4A, MP3, FLAC and Ogg."


class PromptError(InputError):
    code = "input.prompt"
    hint = "Give a prompt of 1 to 4,000 characters of text."


class FetchError(InputError):
    """``status``: the HTTP status, where that was the trouble."""

    code = "input.url"
    status: int | None = None
    hint = "Give an http or https address that everybody can reach, or download the file and give it itself."


class PolicyError(FiligranaError):
    code = "policy.invalid"
    hint = "Run `filigrana policy test` on the pack: it names the line."


class SafetyError(FiligranaError):
    code = "safety.failed"
    hint = "Nothing is released while a guard cannot answer. Run `filigrana doctor`."


class GenerationError(FiligranaError):
    code = "generate.failed"
    hint = "Run `filigrana models list` to see which models can be loaded."


class ProvenanceError(FiligranaError):
    code = "provenance.failed"


class WatermarkError(ProvenanceError):
    code = "provenance.watermark"


class ManifestError(ProvenanceError):
    code = "provenance.manifest"


class KeyStoreError(ProvenanceError):
    code = "provenance.keys"
    hint = "Run `filigrana keys show` to see the keys and their certificates."


class TimestampError(ProvenanceError):
    code = "provenance.timestamp"
    hint = "The time-stamp authority did not answer: check the setting `tsa_url`, then try again."


class ReadBackError(ProvenanceError):
    code = "provenance.readback"
    hint = "What the asset claims could not be read back from the finished bytes, so it was not released."


class LogError(FiligranaError):
    code = "log.failed"
    hint = "Run `filigrana audit verify` to check the log."


class EntryError(LogError):
    code = "log.entry"
    hint = "Log entries are JSON objects of at most 60 KiB that carry commitments, not content."


class TamperError(LogError):
    code = "log.tamper"
    hint = "Keep the database as it is, and compare it with a checkpoint that was kept elsewhere."


class ReleaseError(FiligranaError):
    code = "release.failed"
    hint = "Nothing was published. Check free space and permissions of the output folder, then try again."


class BackupError(ReleaseError):
    """A backup that cannot be made, read or put back. Nothing was changed."""

    code = "backup.failed"
    hint = ""


class JobError(FiligranaError):
    """A job that cannot be taken, found, or gone on with."""

    code = "jobs.state"
    hint = "`filigrana jobs show` says where it stands."


class AccessError(FiligranaError):
    """A key for the service that cannot be made, found or changed. Never holds a secret."""

    code = "access.key"
    hint = "`filigrana access list` shows the keys."


class ServiceError(FiligranaError):
    """``status``: of HTTP. ``param``: the part of the request that is wrong. ``retry_after``: seconds after which
    another try makes sense."""

    code = "service.refused"

    def __init__(
        self,
        message: str,
        *,
        status: int = 400,
        code: str | None = None,
        hint: str | None = None,
        param: str | None = None,
        retry_after: int | None = None,
    ) -> None:
        super().__init__(message, code=code, hint=hint)
        self.status, self.param, self.retry_after = status, param, retry_after
