"""The node. It sends pictures to a Filigrana service (`POST /v1/seal`), waits for their jobs, and fetches what was
released. What is refused or held is not shown: a workflow that ends in this node shows sealed pictures only."""

from __future__ import annotations

import http.client
import io
import json
import os
import ssl
import time
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit
from uuid import uuid4

SOURCES = ("ai", "composite", "camera", "unknown")
POLL = 0.5
_LOCAL = ("127.0.0.1", "localhost", "::1")


class SealError(RuntimeError):
    """What ComfyUI shows: what happened and its code. Never the key."""


class FiligranaSeal:
    """The node as ComfyUI asks for it."""

    CATEGORY = "image"
    FUNCTION = "seal"
    OUTPUT_NODE = True
    RETURN_TYPES = ("STRING",)
    RETURN_NAMES = ("asset_ids",)
    DESCRIPTION = "Judges, marks, signs and records pictures with Filigrana. The key is read from FILIGRANA_KEY."

    @classmethod
    def INPUT_TYPES(cls) -> dict[str, Any]:  # noqa: N802  ComfyUI's name
        return {
            "required": {
                "images": ("IMAGE",),
                "server": ("STRING", {"default": "http://127.0.0.1:8080"}),
                "source_type": (list(SOURCES), {"default": "ai"}),
                "filename_prefix": ("STRING", {"default": "filigrana"}),
                "wait_seconds": ("INT", {"default": 300, "min": 1, "max": 3600}),
            }
        }

    def seal(
        self, images: Any, server: str, source_type: str, filename_prefix: str, wait_seconds: int
    ) -> dict[str, Any]:
        """``images``: (n, h, w, 3), 0 to 1. Raises SealError where one of them is not released."""
        service = Service(server, os.environ.get("FILIGRANA_KEY", ""))
        shown, names = [], []
        folder = output_folder()
        for number in range(len(images)):
            job = service.put(png(images[number]), source_type)
            outcome = service.ended(job, time.monotonic() + wait_seconds)
            asset = str(outcome["asset_id"])
            data, suffix = service.content(asset)
            path = folder / f"{plain(filename_prefix)}_{asset}{suffix}"
            path.write_bytes(data)
            shown.append({"filename": path.name, "subfolder": "", "type": "output"})
            names.append(asset)
        return {"ui": {"images": shown, "text": names}, "result": ("\n".join(names),)}


class Service:
    """The part of the service that is needed here."""

    def __init__(self, url: str, key: str) -> None:
        self._place = urlsplit(url.rstrip("/"))
        if self._place.scheme not in ("http", "https") or not self._place.hostname:
            raise SealError("the server is no http or https address")
        if self._place.scheme == "http" and self._place.hostname not in _LOCAL:
            raise SealError("a key is sent by https alone: give an https address")
        if not key:
            raise SealError("no key: set FILIGRANA_KEY to one that `filigrana access add` made")
        self._key = key

    def put(self, data: bytes, source_type: str) -> str:
        """The id of the job that seals this PNG."""
        boundary = uuid4().hex
        head = f'--{boundary}\r\nContent-Disposition: form-data; name="source_type"\r\n\r\n{source_type}\r\n'
        head += f'--{boundary}\r\nContent-Disposition: form-data; name="file"; filename="comfyui.png"\r\n'
        head += "Content-Type: image/png\r\n\r\n"
        body = head.encode() + data + f"\r\n--{boundary}--\r\n".encode()
        headers = {"Content-Type": f"multipart/form-data; boundary={boundary}", "Idempotency-Key": uuid4().hex}
        return str(json.loads(self._ask("POST", "/v1/seal", body, headers)[0])["id"])

    def ended(self, job: str, until: float) -> dict[str, Any]:
        """What was released. Raises SealError for every other end."""
        while True:
            told = json.loads(self._ask("GET", f"/v1/jobs/{job}")[0])
            if told["state"] == "released":
                return dict(told["outcome"])
            if told["state"] not in ("queued", "running"):
                outcome = told["outcome"] or {}
                why = " ".join(outcome.get("reasons") or ()) or outcome.get("message") or ""
                raise SealError(f"{told['state']}: {why} [{outcome.get('code', told['state'])}]")
            if time.monotonic() > until:
                raise SealError(f"job {job} is not over yet; it goes on there")
            time.sleep(POLL)

    def content(self, asset: str) -> tuple[bytes, str]:
        """The sealed file and its suffix."""
        data, kind = self._ask("GET", f"/v1/assets/{asset}/content")
        return data, {"image/png": ".png", "image/jpeg": ".jpg", "image/webp": ".webp"}.get(kind, ".bin")

    def _ask(self, method: str, path: str, body: bytes | None = None, headers: Any = None) -> tuple[bytes, str]:
        host, port = str(self._place.hostname), self._place.port
        connection: http.client.HTTPConnection
        if self._place.scheme == "https":
            connection = http.client.HTTPSConnection(host, port, timeout=60, context=ssl.create_default_context())
        else:
            connection = http.client.HTTPConnection(host, port, timeout=60)
        try:
            said = {"Authorization": f"Bearer {self._key}", **(headers or {})}
            connection.request(method, self._place.path + path, body, said)
            answer = connection.getresponse()
            data, kind = answer.read(), (answer.getheader("Content-Type") or "").split(";")[0]
        except (OSError, http.client.HTTPException) as error:
            raise SealError(f"the service does not answer: {type(error).__name__}") from None
        finally:
            connection.close()
        if answer.status // 100 != 2:
            try:
                wrong = json.loads(data)["error"]
                raise SealError(f"{wrong['message']} [{wrong['code']}]")
            except (ValueError, KeyError, TypeError):
                raise SealError(f"the service answered {answer.status}") from None
        return data, kind


def png(image: Any) -> bytes:
    """``image``: (h, w, 3), 0 to 1, a tensor or an array."""
    import numpy as np
    from PIL import Image

    array = np.asarray(image.cpu() if hasattr(image, "cpu") else image, dtype=np.float32)
    out = io.BytesIO()
    Image.fromarray((np.clip(array, 0, 1) * 255 + 0.5).astype(np.uint8)).save(out, "PNG")
    return out.getvalue()


def plain(name: str) -> str:
    """A file name's beginning that leads nowhere else."""
    return "".join(c for c in name if c.isalnum() or c in "-_ ")[:80].strip() or "filigrana"


def output_folder() -> Path:
    """Where ComfyUI keeps what it made."""
    try:
        import folder_paths
    except ModuleNotFoundError:
        return Path.cwd()
    return Path(folder_paths.get_output_directory())


NODE_CLASS_MAPPINGS: dict[str, type] = {"FiligranaSeal": FiligranaSeal}
NODE_DISPLAY_NAME_MAPPINGS: dict[str, str] = {"FiligranaSeal": "Filigrana Seal"}
