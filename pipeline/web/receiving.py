"""Reading what a client sends: files go to the spool block by block, everything else has a small bound."""

from __future__ import annotations

import asyncio
import json
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO, Any

from fastapi import Request
from python_multipart.exceptions import FormParserError
from python_multipart.multipart import MultipartParser, parse_options_header
from starlette.requests import ClientDisconnect

from ...errors import ServiceError
from .guarding import too_large

MAX_FIELD = 4096
MAX_PARTS = 16
MAX_JSON = 64 << 10
_MAX_HEAD = 2048


@dataclass
class Upload:
    """``files``: by the field's name, in the spool; ``names``: what the client calls them; ``fields``: other texts."""

    files: dict[str, Path] = field(default_factory=dict)
    names: dict[str, str] = field(default_factory=dict)
    fields: dict[str, str] = field(default_factory=dict)


def is_form(request: Request) -> bool:
    """Whether the body is said to be multipart. Media types are the same in capitals."""
    return request.headers.get("content-type", "").lower().startswith("multipart/form-data")


async def receive_form(request: Request, folder: Path, allowed: tuple[str, ...], most_field: int = MAX_FIELD) -> Upload:
    """A multipart body. ``allowed``: the fields that may be files; one that is empty counts as not given.
    ``most_field``: bytes of a text field."""
    kind, options = parse_options_header(request.headers.get("content-type", ""))
    boundary = options.get(b"boundary")
    if kind != b"multipart/form-data" or not boundary or len(boundary) > 200:
        raise ServiceError("send multipart/form-data with a file", status=415, code="service.media_type")
    parts = _Parts(folder, allowed, most_field)
    try:
        parser = MultipartParser(boundary, parts.callbacks())
        async for block in _blocks(request):
            # Writing waits for the disk: not in the thread that serves everybody.
            await asyncio.to_thread(parser.write, block)
        parser.finalize()
    except FormParserError:
        raise ServiceError("the multipart body does not parse", code="service.multipart") from None
    finally:
        parts.close()
    if not parts.ended:
        raise ServiceError("the multipart body broke off", code="service.multipart")
    return parts.upload


async def receive_file(request: Request, path: Path) -> int:
    """A body that is the file itself; its size."""
    size = 0
    with path.open("wb") as out:
        async for block in _blocks(request):
            size += len(block)
            await asyncio.to_thread(out.write, block)
    return size


async def receive_bytes(request: Request, most: int) -> bytes:
    """A body of ``most`` bytes at most."""
    data = bytearray()
    async for block in _blocks(request):
        data += block
        if len(data) > most:
            raise too_large(most)
    return bytes(data)


async def receive_json(request: Request) -> dict[str, Any]:
    """A JSON object of 64 KiB at most."""
    try:
        value = json.loads(await receive_bytes(request, MAX_JSON), object_pairs_hook=_once)
    except (ValueError, RecursionError):
        raise ServiceError("the body is not JSON", code="service.json") from None
    if not isinstance(value, dict):
        raise ServiceError("the body is not a JSON object", code="service.json")
    return value


def _once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    """Of a name that stands there twice one value would be dropped in silence: a law, or a label."""
    found = dict(pairs)
    if len(found) < len(pairs):
        raise ServiceError("a name stands twice in the JSON", code="service.json")
    return found


async def _blocks(request: Request) -> Any:
    try:
        async for block in request.stream():
            if block:
                yield block
    except ClientDisconnect:
        raise ServiceError("the client went away", status=400, code="service.gone") from None


class _Parts:
    """What the parser calls. Raises ServiceError where there is more than anybody needs."""

    def __init__(self, folder: Path, allowed: tuple[str, ...], most_field: int) -> None:
        self.upload, self.ended = Upload(), False
        self._folder, self._allowed, self._most = folder, allowed, most_field
        self._name, self._count = "", 0
        self._out: IO[bytes] | None = None
        self._header, self._value, self._headers = b"", b"", dict[bytes, bytes]()
        self._text = bytearray()

    def callbacks(self) -> Any:
        return {
            "on_part_begin": self._begin,
            "on_header_field": self._on_field,
            "on_header_value": self._on_value,
            "on_header_end": self._on_header,
            "on_headers_finished": self._on_headers,
            "on_part_data": self._on_data,
            "on_part_end": self._end,
            "on_end": self._all,
        }

    def close(self) -> None:
        if self._out is not None:
            self._out.close()
            self._out = None

    def _begin(self) -> None:
        self._count += 1
        if self._count > MAX_PARTS:
            raise ServiceError(f"more than {MAX_PARTS} parts", code="service.multipart")
        self._headers, self._text = {}, bytearray()

    def _on_field(self, data: bytes, start: int, end: int) -> None:
        self._header = self._short(self._header + data[start:end])

    def _on_value(self, data: bytes, start: int, end: int) -> None:
        self._value = self._short(self._value + data[start:end])

    def _short(self, text: bytes) -> bytes:
        if len(text) > _MAX_HEAD:
            raise ServiceError("a part's header is too long", code="service.multipart")
        return text

    def _on_header(self) -> None:
        self._headers[self._header.lower()] = self._value
        self._header = self._value = b""

    def _on_headers(self) -> None:
        _, options = parse_options_header(self._headers.get(b"content-disposition", b""))
        self._name = options.get(b"name", b"").decode("utf-8", "replace")[:64]
        filename = options.get(b"filename")
        if filename is None:
            return
        if self._name not in self._allowed:
            raise ServiceError("a file in a field that takes none", param=self._name, code="service.multipart")
        if self._name in self.upload.files:
            raise ServiceError("one file at a time", param=self._name, code="service.multipart")
        # The file's own name is only ever shown: what lies in the spool is called after the field.
        path = self._folder / self._name
        self.upload.files[self._name] = path
        self.upload.names[self._name] = filename.decode("utf-8", "replace")
        self._out = path.open("wb")

    def _on_data(self, data: bytes, start: int, end: int) -> None:
        if self._out is not None:
            self._out.write(data[start:end])
            return
        self._text += data[start:end]
        if len(self._text) > self._most:
            raise ServiceError(f"a field is longer than {self._most} bytes", param=self._name, code="service.multipart")

    def _end(self) -> None:
        if self._out is not None:
            self.close()
            path = self.upload.files[self._name]
            if path.stat().st_size == 0 and not self.upload.names[self._name]:
                # A form whose file field was left empty sends a part without name and content.
                del self.upload.files[self._name], self.upload.names[self._name]
        elif self._name in self.upload.fields:
            # The last one would win in silence: `-F profiles=eu -F profiles=cn` asks for both.
            raise ServiceError("a field is given twice", param=self._name, code="service.multipart")
        elif self._name:
            self.upload.fields[self._name] = self._text.decode("utf-8", "replace").strip()

    def _all(self) -> None:
        self.ended = True
