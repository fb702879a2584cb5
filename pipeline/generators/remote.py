"""Generators on other machines: what all of them share. The setting ``model`` names one by its kind and address.

``openai+https://api.example.com/v1#MODEL``: whoever speaks OpenAI's images and videos API.
``comfyui+http://127.0.0.1:8188#WORKFLOW.json``: a ComfyUI server, with a workflow in its API format.

What comes back is a stranger's bytes: read with the limits for strangers' files, and judged, marked and signed like
anything that was made here. The digest of such a model is of what describes it: nobody here sees its weights.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from hashlib import sha256
from pathlib import Path
from typing import Any, Protocol
from urllib.parse import urlsplit

import httpx

from ...errors import FetchError, GenerationError, MediaError, SettingsError
from ...provenance.media import Frame, Limits, MediaFile, open_media
from ...provenance.scratch import ScratchFolder
from ..fetching import Allowed, FetchLimits, fetch_to
from .base import Generated, Generator, Sampling

KINDS = ("openai", "comfyui")
MAX_BYTES = 512 << 20
MAX_JSON = 128 << 20
"""A picture of 8K as PNG in base64 is less."""
TRIES = 3
"""How often something is asked for that a busy server refused, or that did not arrive."""
LONGEST_WAIT = 30.0
AWAY, BUSY = "generate.away", "generate.busy"
"""Codes of what never reached the service, or was not taken by it: asking once more makes, and costs, nothing twice."""
_LOCAL = ("127.0.0.1", "localhost", "::1")


class RemoteSettings(Protocol):
    """The settings that a remote generator needs."""

    @property
    def model(self) -> str: ...
    @property
    def remote_seconds(self) -> float: ...
    @property
    def fetch_allow(self) -> list[str]: ...


def is_remote(model: str) -> bool:
    """Whether the setting ``model`` names a generator on another machine."""
    return model.startswith(tuple(f"{kind}+" for kind in KINDS))


def remote(settings: RemoteSettings, key: str | None, limits: Limits) -> Generator:
    """The generator that the setting names. ``key``: of its API. Raises SettingsError."""
    from .comfyui import ComfyUI
    from .openai_images import OpenAIMedia

    kind, _, rest = settings.model.partition("+")
    address, _, what = rest.partition("#")
    place = urlsplit(address)
    if place.scheme not in ("http", "https") or not place.hostname or place.username or place.password:
        raise SettingsError(f"the setting model names no address: {kind}+https://HOST/…#…", code="settings.model")
    if place.scheme == "http" and place.hostname not in _LOCAL and key:
        raise SettingsError(
            "a key is sent by https alone", code="settings.model", hint="Give an https address, or no remote_key."
        )
    if not what:
        raise SettingsError(f"the setting model says {kind}+ADDRESS#WHAT, and WHAT is missing", code="settings.model")
    wire = Wire(address.rstrip("/"), key, settings.remote_seconds, allowed=Allowed.parse(settings.fetch_allow))
    return OpenAIMedia(wire, what, limits) if kind == "openai" else ComfyUI.from_file(wire, Path(what), limits)


@dataclass
class Wire:
    """One server. Redirects are not followed, proxies and credentials of this machine not used. ``seconds``: for one
    answer. ``allowed``: where files may lie that it names on other servers, beside the public internet."""

    url: str
    key: str | None = None
    seconds: float = 300.0
    sleep: Callable[[float], None] = time.sleep
    allowed: Allowed = field(default_factory=Allowed)
    _client: httpx.Client | None = field(default=None, repr=False)

    @property
    def client(self) -> httpx.Client:
        if self._client is None:
            headers = {"User-Agent": "Filigrana"} | ({"Authorization": f"Bearer {self.key}"} if self.key else {})
            self._client = httpx.Client(
                headers=headers, timeout=httpx.Timeout(self.seconds, connect=20.0), trust_env=False
            )
        return self._client

    def json(self, method: str, path: str, body: Any = None) -> dict[str, Any]:
        """An answer in JSON, empty where it is no object. Raises GenerationError with what the server said is wrong,
        but not its words."""
        answer = self._answered(method, path, body)
        try:
            found = answer.json()
        except (ValueError, RecursionError):
            raise _broken("answered with no JSON") from None
        return found if isinstance(found, dict) else {}

    def _answered(self, method: str, path: str, body: Any) -> httpx.Response:
        for number in range(1, TRIES + 1):
            try:
                answer = self._once(method, path, body)
            except httpx.TimeoutException as error:
                raise _broken("took too long") from error
            except httpx.HTTPError as error:
                # POST may have arrived: asking again could be paid for twice
                arrived = method != "POST" or not isinstance(error, httpx.ConnectError)
                if number == TRIES or (method == "POST" and arrived):
                    raise _broken("cannot be reached", "generate.remote" if arrived else AWAY) from error
                self.sleep(2.0**number)
                continue
            if answer.status_code in (429, 503) and number < TRIES:
                self.sleep(_wait(answer.headers, number))
                continue
            break
        if answer.status_code == 429 and method != "POST":
            raise _broken("does not tell what became of it")  # what was asked for is being made, and paid
        if answer.status_code // 100 != 2:
            raise refusal(answer)
        return answer

    def _once(self, method: str, path: str, body: Any) -> httpx.Response:
        """One answer, whole."""
        with self.client.stream(method, self.url + path, json=body) as answer:
            data = b"".join(self._blocks(answer, MAX_JSON))
            return httpx.Response(answer.status_code, headers=_kept(answer.headers), content=data)

    def _blocks(self, answer: httpx.Response, most: int) -> Iterator[bytes]:
        """Of a body that is neither too large nor too slow, whatever it is packed in."""
        until, size = time.monotonic() + self.seconds, 0
        for block in answer.iter_bytes():  # as it arrives: filling larger blocks would wait past any bound
            size += len(block)
            if size > most:
                raise _broken("sent too much")
            if time.monotonic() > until:
                raise _broken("took too long")
            yield block

    def is_own(self, url: str) -> bool:
        """Whether a file that the server names lies on this very server."""
        try:
            there, here = urlsplit(url), urlsplit(self.url)
            return (there.scheme, there.hostname, there.port) == (here.scheme, here.hostname, here.port)
        except ValueError:
            return False

    def download(self, url: str, target: Path, params: Mapping[str, str] | None = None) -> None:
        """A file of ``MAX_BYTES`` at most. One on another server goes through the door for strangers' addresses."""
        if not self.is_own(url):
            try:
                fetch_to(target, url, FetchLimits(MAX_BYTES, self.seconds, allowed=self.allowed))
            except FetchError as error:
                raise _broken(f"named a file that is not fetched: {error.message}") from error
            return
        try:
            with self.client.stream("GET", url, params=params) as answer, target.open("wb") as out:
                if answer.status_code != 200:
                    raise _broken(f"answered {answer.status_code} for its file")
                for block in self._blocks(answer, MAX_BYTES):
                    out.write(block)
        except httpx.HTTPError as error:
            raise _broken("broke off its file") from error


@contextmanager
def as_documented() -> Iterator[None]:
    """Around reading answers: what is of another shape than the API's is the service's fault, and no reason to ask, and
    pay, again."""
    try:
        yield
    except (AttributeError, LookupError, TypeError, ValueError, OverflowError) as error:
        raise _broken("answered otherwise than its API says") from error


def _kept(headers: Mapping[str, str]) -> dict[str, str]:
    """Of an answer that is unpacked already."""
    return {name: value for name, value in headers.items() if name.lower() == "retry-after"}


def refusal(answer: httpx.Response) -> GenerationError:
    """What a status means for whoever asked: its words may repeat the prompt, and stay outside."""
    try:
        said = answer.json().get("error", {})
        code = str(said.get("code") or said.get("type") or "") if isinstance(said, dict) else ""
    except (ValueError, AttributeError, RecursionError):
        code = ""
    if any(word in code for word in ("moderation", "content_policy", "safety", "sentinel")):
        return GenerationError("the model's own service refused this prompt", code="generate.refused", hint="")
    if answer.status_code in (401, 403):
        return GenerationError(
            "the model's service does not take our key", code="generate.key", hint="Look at the setting remote_key."
        )
    if answer.status_code == 429:
        return GenerationError("the model's service is too busy", code=BUSY, hint="Try again later.")
    return _broken(f"answered {answer.status_code}")


def _wait(headers: Mapping[str, str], number: int) -> float:
    try:
        return min(LONGEST_WAIT, max(0.0, float(headers.get("retry-after", ""))))
    except ValueError:
        return min(LONGEST_WAIT, 2.0**number)


def _broken(what: str, code: str = "generate.remote") -> GenerationError:
    return GenerationError(f"the model's service {what}", code=code, hint="Look at the setting model.")


@dataclass
class Received:
    """Frames of a file that came from elsewhere, and the folder that it lies in as long as they are needed."""

    media: MediaFile
    folder: ScratchFolder

    def __iter__(self) -> Iterator[Frame]:
        return self.media.frames()


def received(sampling: Sampling, folder: ScratchFolder, path: Path, limits: Limits, **facts: Any) -> Generated:
    """What a file holds, as the engine wants it. Raises GenerationError where it is not what was asked for."""
    try:
        media = open_media(path, limits)
        if media.info.kind != sampling.kind:
            raise GenerationError(f"the model gave a file of kind {media.info.kind}", code="generate.media")
        if sampling.kind == "image":
            rgb, _ = media.picture()
            made: Any = (Frame(rgb),)
            height, width = rgb.shape[:2]
            return Generated("image", made, sampling={"width": width, "height": height, **facts})
    except MediaError as error:
        raise GenerationError("the model gave no file that can be read", code="generate.empty") from error
    frames = Received(media, folder)
    sound = media if sampling.sound and media.info.sound is not None else None
    facts |= {"width": media.info.width, "height": media.info.height}
    return Generated("video", frames, media.info.rate, sound, facts)


def digest_of(*parts: str) -> str:
    """Of what describes a model whose weights are elsewhere."""
    return sha256("\x00".join(parts).encode()).hexdigest()
