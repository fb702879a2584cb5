"""Asking a witness for its cosignature (c2sp.org/tlog-witness): what a log does after it signed a checkpoint."""

from __future__ import annotations

import queue
import threading
import time
from collections.abc import Callable, Iterable, Sequence

import httpx

from ...errors import LogError, TamperError
from .cosignature import MAX_AHEAD, WitnessPolicy, cosignatures, merge
from .note import Checkpoint, Note, VerifierKey, _decimal
from .witness import SIZE_TYPE, format_request

MAX_ANSWER = 64 << 10
_REFUSALS = {
    400: "does not understand the checkpoint",
    403: "does not accept the signature of this log",
    404: "does not watch this log, or has another address",
}

Prover = Callable[[int, int], Sequence[bytes]]
"""``prove(old, new)``: the consistency proof from the tree of ``old`` entries to that of ``new``, both of this log."""


class WitnessClient:
    """``url``: the witness's submission prefix. ``keys``: its verifier keys, of one name.

    ``timeout``: seconds for one request and its whole answer.
    """

    def __init__(
        self,
        url: str,
        keys: Iterable[VerifierKey],
        *,
        timeout: float = 10.0,
        clock: Callable[[], float] = time.time,
        transport: httpx.BaseTransport | None = None,
    ) -> None:
        self.keys = tuple(keys)
        WitnessPolicy(self.keys, 1)  # raises LogError unless they are cosigners' keys
        if len({key.name for key in self.keys}) != 1:
            raise LogError("one witness has one name", code="log.policy")
        if not url.startswith(("https://", "http://")):
            raise LogError("a witness's address starts with https:// or http://", code="log.witness")
        self._url = f"{url.rstrip('/')}/add-checkpoint"
        self._timeout = timeout
        self._clock = clock
        self._transport = transport

    def cosign(self, note: str, prove: Prover, known_size: int = 0) -> str:
        """``note`` with the witness's cosignatures, each verified; other lines of its answer are dropped.

        ``known_size``: what the witness is thought to have cosigned last; if it says another size, that is
        tried once. Raises TamperError when the witness saw another tree of this log or signs falsely, LogError
        (``log.witness``) when it cannot be reached, refuses, or knows a larger tree.
        """
        parsed = Note.parse(note)
        size = Checkpoint.parse_text(parsed.text).size
        old_size = min(known_size, size)
        status, kind, body = self._post(format_request(old_size, self._proof(prove, old_size, size), note))
        if status == 409 and kind == SIZE_TYPE:
            known = self._size(body)
            if known == old_size:
                raise self._failed("answers with the size that it was asked with")
            if known > size:
                raise self._failed(f"cosigned {known} entries of this log already; the checkpoint has {size}")
            old_size = known
            status, kind, body = self._post(format_request(old_size, self._proof(prove, old_size, size), note))
        if status == 422 or (status == 409 and kind != SIZE_TYPE):
            raise TamperError(
                f"the witness {self.keys[0].name} saw another tree of this log: {old_size} entries that do not "
                "lead to this checkpoint",
                hint="Keep everything as it is. The log was rewritten, or the witness is wrong: compare checkpoints.",
            )
        if status != 200:
            raise self._failed(_REFUSALS.get(status, f"answers with the HTTP status {status}"))
        return self._accept(parsed, body)

    @staticmethod
    def _proof(prove: Prover, old: int, new: int) -> Sequence[bytes]:
        return () if old in (0, new) else prove(old, new)

    def _accept(self, note: Note, body: str) -> str:
        try:
            lines = Note.parse(f"{note.text}\n{body}")
            if lines.text != note.text:  # an empty line in the answer would move the border
                raise self._failed("answers with more than signature lines")
            found = cosignatures(str(lines), self.keys)
        except TamperError:
            raise
        except LogError as error:
            raise self._failed(f"answers with what is no signature line: {error.message}") from None
        latest = max((item.time for item in found), default=0)
        if not found:
            raise TamperError(f"the answer of the witness {self.keys[0].name} carries no cosignature by its key")
        if latest > self._clock() + MAX_AHEAD:
            raise TamperError(f"the witness {self.keys[0].name} cosigned in the future")
        ours = {(item.key.name, item.key.key_id) for item in found}
        return str(merge(note, [line for line in lines.signatures if (line.name, line.key_id) in ours]))

    def _post(self, request: bytes) -> tuple[int, str, str]:
        """Status, content type without parameters, and body. Redirections are not followed.

        httpx limits each read, not their sum; so that an answer of one byte a second holds up nobody, a thread
        reads it and is left behind when it takes too long.
        """
        found: queue.SimpleQueue[tuple[int, str, str] | Exception] = queue.SimpleQueue()

        def work() -> None:
            try:
                found.put(self._exchange(request))
            except Exception as error:  # noqa: BLE001  raised again by the caller
                found.put(error)

        threading.Thread(target=work, name="filigrana-witness-client", daemon=True).start()
        try:
            answer = found.get(timeout=self._timeout)
        except queue.Empty:
            raise self._failed("does not answer in time") from None
        if isinstance(answer, Exception):
            raise answer
        return answer

    def _exchange(self, request: bytes) -> tuple[int, str, str]:
        until = time.monotonic() + self._timeout  # the thread that was left behind ends, too
        headers = {"Content-Type": "text/plain; charset=utf-8", "Accept-Encoding": "identity"}
        try:
            with (
                httpx.Client(timeout=self._timeout, transport=self._transport, follow_redirects=False) as client,
                client.stream("POST", self._url, content=request, headers=headers) as response,
            ):
                body = bytearray()
                for piece in response.iter_raw(4096):
                    body += piece
                    if len(body) > MAX_ANSWER or time.monotonic() > until:
                        raise self._failed("answers too much or too slowly")
                kind = response.headers.get("Content-Type", "").partition(";")[0].strip().lower()
                return response.status_code, kind, body.decode("utf-8")
        except (httpx.HTTPError, httpx.InvalidURL) as error:
            raise self._failed(f"cannot be reached ({type(error).__name__})") from error
        except UnicodeDecodeError:
            raise self._failed("answers with what is no text") from None

    def _size(self, body: str) -> int:
        try:
            return _decimal(body.removesuffix("\n"))
        except LogError:
            raise self._failed("names no size") from None

    def _failed(self, message: str) -> LogError:
        return LogError(
            f"the witness {self.keys[0].name} {message}",
            code="log.witness",
            hint="The checkpoint stands without this cosignature; try again later, or ask another witness.",
        )
