"""Generators on other machines, against servers on loopback that behave as the documented APIs say, and misbehave."""

from __future__ import annotations

import base64
import gzip
import http.server
import io
import json
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

import numpy as np
import pytest
from PIL import Image

from filigrana.errors import FetchError, GenerationError, SettingsError
from filigrana.pipeline.api import Pipeline
from filigrana.pipeline.generators.base import Sampling
from filigrana.pipeline.generators.comfyui import ComfyUI, fill
from filigrana.pipeline.generators.openai_images import OpenAIMedia
from filigrana.pipeline.generators.remote import Wire, remote
from filigrana.pipeline.jobs.making import again
from filigrana.pipeline.request import GenerateRequest, Release
from filigrana.pipeline.settings import load_settings
from filigrana.provenance.media import Limits
from filigrana.tests.conftest import MakeEngine
from filigrana.tests.doubles import scene

WORKFLOW = {
    "3": {"class_type": "KSampler", "inputs": {"seed": "%seed%", "steps": "%steps:25%", "cfg": "%guidance:7.5%"}},
    "5": {
        "class_type": "EmptyLatentImage",
        "inputs": {"width": "%width:512%", "height": "%height:512%", "batch_size": 1},
    },
    "6": {"class_type": "CLIPTextEncode", "inputs": {"text": "%prompt%, high quality", "clip": ["4", 1]}},
    "7": {"class_type": "CLIPTextEncode", "inputs": {"text": "%negative_prompt%", "clip": ["4", 1]}},
    "9": {"class_type": "SaveImage", "inputs": {"filename_prefix": "filigrana", "images": ["8", 0]}},
}


def png(seed: int = 3) -> bytes:
    out = io.BytesIO()
    Image.fromarray(scene(seed, 320, 320)).save(out, "PNG")
    return out.getvalue()


@dataclass
class Server:
    """``answer``: (method, path, body) -> (status, headers, body). Keeps what it was asked."""

    url: str = ""
    asked: list[tuple[str, str, Any, dict[str, str]]] = field(default_factory=list)


Answer = Callable[[str, str, Any], tuple[int, dict[str, str], bytes]]


@contextmanager
def serving(answer: Answer) -> Iterator[Server]:
    kept = Server()

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            size = int(self.headers.get("Content-Length") or 0)
            body = json.loads(self.rfile.read(size)) if size else None
            kept.asked.append((self.command, self.path, body, {k.lower(): v for k, v in self.headers.items()}))
            status, headers, data = answer(self.command, self.path, body)
            self.send_response(status)
            for name, value in {"Content-Length": str(len(data)), **headers}.items():
                self.send_header(name, value)
            self.end_headers()
            self.wfile.write(data)

        def do_GET(self) -> None:
            self.do_POST()

        def log_message(self, *_: Any) -> None: ...

    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    kept.url = f"http://127.0.0.1:{server.server_address[1]}"
    try:
        yield kept
    finally:
        server.shutdown()
        server.server_close()


def told(value: Any, status: int = 200, **headers: str) -> tuple[int, dict[str, str], bytes]:
    return status, {"Content-Type": "application/json", **headers}, json.dumps(value).encode()


def quiet(*_: Any) -> None: ...


def openai(url: str, name: str = "gpt-image-1", key: str | None = "sk-test") -> OpenAIMedia:
    return OpenAIMedia(Wire(f"{url}/v1", key, 10.0, quiet), name, Limits(), poll=0)


def comfy(url: str, workflow: dict[str, Any] = WORKFLOW) -> ComfyUI:
    return ComfyUI(Wire(url, None, 10.0, quiet), workflow, "portrait", Limits(), poll=0)


# ── OpenAI's images ──────────────────────────────────────────────────────────────────────────────────────────────
def test_a_picture_is_asked_for_and_read_as_documented() -> None:
    picture = png()
    with serving(lambda *_: told({"created": 1, "data": [{"b64_json": base64.b64encode(picture).decode()}]})) as server:
        made = openai(server.url).generate(Sampling("a red boat", 7, size=(320, 320)), quiet)
    method, path, body, headers = server.asked[0]
    assert (method, path, headers["authorization"]) == ("POST", "/v1/images/generations", "Bearer sk-test")
    assert body == {"model": "gpt-image-1", "prompt": "a red boat", "n": 1, "size": "320x320"}
    assert np.array_equal(next(iter(made.frames)).rgb, scene(3, 320, 320))
    assert "no seed" in str(made.sampling["seed"]), "it is not claimed that a seed would make it again"


def test_older_models_are_asked_for_the_bytes_themselves() -> None:
    with serving(lambda *_: told({"data": [{"b64_json": base64.b64encode(png()).decode()}]})) as server:
        openai(server.url, "dall-e-3").generate(Sampling("a boat", 1), quiet)
    assert server.asked[0][2]["response_format"] == "b64_json"


@pytest.mark.parametrize(
    ("answer", "code"),
    [
        (told({"error": {"code": "moderation_blocked", "message": "secret boat"}}, 400), "generate.refused"),
        (told({"error": {"code": "content_policy_violation"}}, 400), "generate.refused"),
        (told({"error": {"code": "invalid_api_key"}}, 401), "generate.key"),
        (told({"error": {}}, 500), "generate.remote"), (told([], 200), "generate.empty"), (told({"data": []}), "generate.empty"),
        (told({"data": [{"b64_json": "@@"}]}), "generate.empty"),
        (told({"data": [{"b64_json": base64.b64encode(b"no picture").decode()}]}), "generate.empty"),
        (told({"data": [{"url": "http://127.0.0.1/x"}]}), "generate.empty"),
        ((200, {}, b"<html>"), "generate.remote"), (told({}, 302, Location="http://127.0.0.1/"), "generate.remote"),
        (told({"error": {}}, 429), "generate.busy"),
    ],
)  # fmt: skip
def test_what_goes_wrong_there_has_a_name_here_and_none_of_its_words(answer: Any, code: str) -> None:
    with serving(lambda *_: answer) as server, pytest.raises(GenerationError) as caught:
        openai(server.url).generate(Sampling("a secret boat", 1), quiet)
    assert caught.value.code == code
    assert "secret" not in caught.value.diagnostics()
    assert "sk-test" not in caught.value.diagnostics()


def test_only_what_the_service_never_took_is_worth_another_try_of_the_queue() -> None:
    """It restarts, or is full, for longer than the tries here last: then jobs must not fail one after the other."""
    with serving(lambda *_: told({"error": {}}, 429)) as server:
        full = openai(server.url)
    with pytest.raises(GenerationError) as caught:
        full.generate(Sampling("a boat", 1), quiet)  # its server has gone
    assert (caught.value.code, again(caught.value)) == ("generate.away", True)

    def loses_it(method: str, _path: str, _body: Any) -> tuple[int, dict[str, str], bytes]:
        return told({"id": "v", "status": "queued"}) if method == "POST" else told({}, 429)

    for answer, name, kind, expected in (
        (lambda *_: told({"error": {}}, 429), "gpt-image-1", "image", ("generate.busy", True)),
        (loses_it, "sora-2", "video", ("generate.remote", False)),
    ):
        with serving(answer) as server, pytest.raises(GenerationError) as caught:
            openai(server.url, name).generate(Sampling("a boat", 1, kind=kind), quiet)  # type: ignore[arg-type]
        assert (caught.value.code, again(caught.value)) == expected


ODD: list[Any] = [None, [], "x", 5, [5], {"a": 5}, True, float("inf"), {"data": [[]]}, {"id": 5, "status": [], "progress": "all"},
                  {"id": "v", "status": "failed", "error": "boat"}, {"id": "v", "progress": float("inf")}]  # fmt: skip


@pytest.mark.parametrize("odd", ODD, ids=repr)
def test_an_answer_of_another_shape_is_the_services_fault_and_is_not_asked_for_again(odd: Any) -> None:
    """An error without a name would have the queue try again, and each try is paid for."""

    def openais(method: str, _path: str, _body: Any) -> Any:
        return told(odd) if method == "POST" else told({"id": "v", "status": "failed", "error": odd})

    with serving(openais) as server:
        for name, kind in (("gpt-image-1", "image"), ("sora-2", "video")):
            sampling = Sampling("a secret boat", 1, kind=kind)  # type: ignore[arg-type]
            with pytest.raises(GenerationError) as caught:
                openai(server.url, name).generate(sampling, quiet)
            assert caught.value.code in ("generate.remote", "generate.empty")


def test_a_comfyui_that_answers_in_another_shape_is_at_fault() -> None:
    odd: list[Any] = []

    def answer(_method: str, path: str, _body: Any) -> tuple[int, dict[str, str], bytes]:
        history = {"p": {"outputs": odd[0], "status": odd[0]}}
        return told({"prompt_id": "p"} if path == "/prompt" else odd[0] if path == "/queue" else history)

    with serving(answer) as server:
        for each in ODD[1:]:
            odd[:] = [each]
            with pytest.raises(GenerationError):
                comfy(server.url).generate(Sampling("a secret boat", 1), quiet)


def test_an_answer_is_bounded_whatever_it_is_packed_in(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("filigrana.pipeline.generators.remote.MAX_JSON", 1 << 20)
    bomb = gzip.compress(b" " * (8 << 20))
    for headers, data in (({}, b" " * (8 << 20)), ({"Content-Encoding": "gzip"}, bomb)):
        with serving(lambda *_, h=headers, d=data: (200, h, d)) as server:  # type: ignore[misc]
            with pytest.raises(GenerationError, match="too much") as caught:
                openai(server.url).generate(Sampling("a boat", 1), quiet)
            assert caught.value.code == "generate.remote"


@pytest.mark.parametrize("endless", ["answer", "file"])
def test_one_that_never_ends_is_left(endless: str) -> None:
    """A byte now and then, so that no single wait is too long."""

    class Dribbles(http.server.BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            if endless == "file" and self.command == "POST":
                status, _, data = told({"data": [{"url": f"http://{self.headers['Host']}/file.png"}]})
                self.send_response(status)
                self.send_header("Content-Length", str(len(data)))
                self.end_headers()
                self.wfile.write(data)
                return
            self.send_response(200)
            self.end_headers()
            with suppress(OSError):
                while not ended.wait(0.05):
                    self.wfile.write(b" ")

        do_GET = do_POST  # noqa: N815

        def log_message(self, *_: Any) -> None: ...

    ended = threading.Event()
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Dribbles)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    try:
        wire = Wire(f"http://127.0.0.1:{server.server_address[1]}/v1", None, 0.5, quiet)
        with pytest.raises(GenerationError, match="too long"):
            OpenAIMedia(wire, "gpt-image-1", Limits()).generate(Sampling("a boat", 1), quiet)
    finally:
        ended.set()
        server.shutdown()
        server.server_close()


def test_a_file_on_the_same_server_is_fetched_and_one_inside_the_network_is_not() -> None:
    picture = png()

    def answer(method: str, path: str, _body: Any) -> tuple[int, dict[str, str], bytes]:
        if method == "GET":
            return 200, {"Content-Type": "image/png"}, picture
        return told({"data": [{"url": places[0]}]})

    with serving(answer) as server:
        places = [f"{server.url}/generated-images/b.png"]
        made = openai(server.url, key=None).generate(Sampling("a boat", 1), quiet)
        assert np.array_equal(next(iter(made.frames)).rgb, scene(3, 320, 320))
        for inside in ("https://127.0.0.1/x.png", "https://169.254.169.254/latest", "https://10.0.0.1:8443/x"):
            places[0] = inside
            with pytest.raises(GenerationError) as caught:
                openai(server.url, key=None).generate(Sampling("a boat", 1), quiet)
            assert caught.value.code == "generate.remote"
            assert isinstance(caught.value.__cause__, FetchError)


def test_a_busy_service_is_asked_again_after_its_time() -> None:
    waits: list[float] = []
    answers = iter(
        [
            told({}, 429, **{"Retry-After": "3"}),
            told({}, 503),
            told({"data": [{"b64_json": base64.b64encode(png()).decode()}]}),
        ]
    )
    with serving(lambda *_: next(answers)) as server:
        wire = Wire(f"{server.url}/v1", None, 10.0, waits.append)
        OpenAIMedia(wire, "gpt-image-1", Limits()).generate(Sampling("a boat", 1), quiet)
    assert waits[0] == 3.0
    assert len(server.asked) == 3
    assert "authorization" not in server.asked[0][3]


def test_what_it_cannot_do_is_no_silent_loss() -> None:
    with serving(lambda *_: told({})) as server:
        for more in ({"negative_prompt": "rain"}, {"steps": 5}, {"guidance": 2.0}):
            with pytest.raises(GenerationError) as caught:
                openai(server.url).generate(replace(Sampling("a boat", 1), **more), quiet)
            assert caught.value.code == "generate.option"
        assert server.asked == []
        assert openai(server.url).kinds == {"image"}
        assert openai(server.url, "sora-2").kinds == {"video"}


def test_a_clip_is_a_job_there(tmp_path: Path) -> None:
    from fractions import Fraction

    from filigrana.provenance.media import Frame, encode_clip

    clip = tmp_path / "clip.mp4"
    encode_clip((Frame(scene(n, 320, 320)) for n in range(8)), clip, "video/mp4", rate=Fraction(8))
    states = iter(["queued", "in_progress", "completed"])

    def answer(method: str, path: str, _body: Any) -> tuple[int, dict[str, str], bytes]:
        if path.endswith("/content"):
            return 200, {"Content-Type": "video/mp4"}, clip.read_bytes()
        return told({"id": "video_1", "status": next(states), "progress": 40})

    steps: list[tuple[int, int]] = []
    with serving(answer) as server:
        made = openai(server.url, "sora-2").generate(
            Sampling("a boat", 1, kind="video"), lambda a, b: steps.append((a, b))
        )
        assert made.kind == "video"
        assert made.rate is not None
        assert len(list(made.frames)) == 8
        assert len(list(made.frames)) == 8, "frames may be read more than once"
    assert [path for _, path, _, _ in server.asked] == [
        "/v1/videos",
        "/v1/videos/video_1",
        "/v1/videos/video_1",
        "/v1/videos/video_1/content",
    ]
    assert (40, 100) in steps


# ── ComfyUI ──────────────────────────────────────────────────────────────────────────────────────────────────────
class Comfy:
    """The part of ComfyUI's API that is documented for clients."""

    def __init__(self, picture: bytes, **changes: Any) -> None:
        self.picture, self.changes, self.looks = picture, changes, 0

    def __call__(self, method: str, path: str, body: Any) -> tuple[int, dict[str, str], bytes]:
        parts = urlsplit(path)
        if parts.path == "/prompt":
            if self.changes.get("invalid"):
                return told({"error": {"type": "prompt_no_outputs"}, "node_errors": {}}, 400)
            return told({"prompt_id": "0d6e7bd2-2a7e", "number": 1, "node_errors": {}})
        if parts.path.startswith("/history/"):
            self.looks += 1
            if self.looks < 3:
                return told({})
            outputs = {"9": {"images": [
                {"filename": "preview.png", "subfolder": "", "type": "temp"},
                {"filename": "filigrana_1.png", "subfolder": "a b", "type": "output"}]}}  # fmt: skip
            status = {"status_str": self.changes.get("status", "success"), "completed": True}
            return told({"0d6e7bd2-2a7e": {"outputs": self.changes.get("outputs", outputs), "status": status}})
        if parts.path == "/view":
            assert parse_qs(parts.query) == {"filename": ["filigrana_1.png"], "subfolder": ["a b"], "type": ["output"]}
            return 200, {"Content-Type": "image/png"}, self.picture
        if parts.path == "/queue":
            return told(
                {"queue_running": [[1, self.changes.get("running", "0d6e7bd2-2a7e"), {}, {}, []]], "queue_pending": []}
            )
        if parts.path == "/interrupt":
            return told({})
        return told({}, 404)


def test_a_workflow_is_filled_sent_and_its_picture_fetched() -> None:
    with serving(Comfy(png())) as server:
        made = comfy(server.url).generate(Sampling('a "red" boat %seed%', 7, steps=9, negative_prompt="rain"), quiet)
    sent = server.asked[0][2]["prompt"]
    assert sent["3"]["inputs"] == {"seed": 7, "steps": 9, "cfg": 7.5}
    assert sent["5"]["inputs"] == {"width": 512, "height": 512, "batch_size": 1}
    assert sent["6"]["inputs"]["text"] == 'a "red" boat %seed%, high quality', "a prompt is text, whatever it says"
    assert sent["7"]["inputs"]["text"] == "rain"
    assert np.array_equal(next(iter(made.frames)).rgb, scene(3, 320, 320))
    assert made.sampling["seed"] == 7
    assert WORKFLOW["3"]["inputs"]["seed"] == "%seed%", "the workflow itself stays as it was"  # type: ignore[index]


@pytest.mark.parametrize(
    ("changes", "code"),
    [({"status": "error"}, "generate.remote"), ({"outputs": {}}, "generate.empty"), ({"invalid": True}, "generate.remote"),
     ({"outputs": {"9": {"images": [{"filename": "x.png", "subfolder": "", "type": "temp"}]}}}, "generate.empty")],
)  # fmt: skip
def test_a_workflow_that_fails_is_an_error(changes: Any, code: str) -> None:
    with serving(Comfy(png(), **changes)) as server, pytest.raises(GenerationError) as caught:
        comfy(server.url).generate(Sampling("a boat", 1), quiet)
    assert caught.value.code == code


@pytest.mark.parametrize("running", ["0d6e7bd2-2a7e", "somebody-elses"])
def test_who_stops_waiting_stops_the_drawing_and_nobody_elses(running: str) -> None:
    """Several workers share a server: an interruption is of whatever it draws at that moment."""

    def enough(done: int, total: int) -> None:
        if done:
            raise KeyboardInterrupt

    with serving(Comfy(png(), running=running)) as server, pytest.raises(KeyboardInterrupt):
        comfy(server.url).generate(Sampling("a boat", 1), enough)
    sent = [(path, body) for method, path, body, _ in server.asked if method == "POST"]
    assert ("/queue", {"delete": ["0d6e7bd2-2a7e"]}) in sent
    stopped = [body for path, body in sent if path == "/interrupt"]
    assert stopped == ([{"prompt_id": "0d6e7bd2-2a7e"}] if running == "0d6e7bd2-2a7e" else [])


def test_what_a_workflow_has_no_place_for_is_said() -> None:
    small = {"6": {"class_type": "CLIPTextEncode", "inputs": {"text": "%prompt%"}}}
    with serving(Comfy(png())) as server:
        with pytest.raises(GenerationError, match="negative_prompt"):
            comfy(server.url, small).generate(Sampling("a boat", 1, negative_prompt="rain"), quiet)
        made = comfy(server.url, small).generate(Sampling("a boat", 1), quiet)
        assert "draws its own" in str(made.sampling["seed"])
        with pytest.raises(SettingsError):
            comfy(server.url, {"6": {"class_type": "X", "inputs": {}}})
    with pytest.raises(GenerationError):
        fill({"steps": "%steps%"}, {})


def test_a_model_is_named_by_what_describes_it(tmp_path: Path) -> None:
    other = json.loads(json.dumps(WORKFLOW))
    other["3"]["inputs"]["cfg"] = 3
    digests = {comfy("http://127.0.0.1:1").model.digest, comfy("http://127.0.0.1:1", other).model.digest,
               comfy("http://127.0.0.1:2").model.digest, openai("http://127.0.0.1:1").model.digest}  # fmt: skip
    assert len(digests) == 4
    assert all(len(digest) == 64 for digest in digests)


@pytest.mark.parametrize(
    ("model", "key"),
    [("openai+ftp://x/#m", None), ("openai+https://a:b@x/#m", None), ("openai+https://x/v1", None),
     ("openai+http://example.org/v1#m", "sk-1"), ("comfyui+http://127.0.0.1:1#/nowhere.json", None)],
)  # fmt: skip
def test_a_wrong_setting_is_told(model: str, key: str | None) -> None:
    with pytest.raises(SettingsError):
        remote(load_settings(model=model), key, Limits())


# ── through the chain ────────────────────────────────────────────────────────────────────────────────────────────
def test_what_was_drawn_elsewhere_goes_through_the_whole_chain(make_engine: MakeEngine) -> None:
    with serving(Comfy(png(8))) as server:
        outcome = make_engine(generator=comfy(server.url)).generate(GenerateRequest("a red boat", seed=3))
    assert isinstance(outcome, Release)
    assert outcome.watermark_score is not None


def test_the_setting_makes_the_generator(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file = tmp_path / "portrait.json"
    file.write_text(json.dumps(WORKFLOW))
    monkeypatch.setenv("FILIGRANA_REMOTE_KEY", "sk-secret")
    with Pipeline(data_dir=tmp_path / "data", model=f"comfyui+http://127.0.0.1:1#{file}") as opened:
        assert opened.generator.model.name == "portrait"
        assert "sk-secret" not in repr(opened.installation.settings)
    with Pipeline(data_dir=tmp_path / "data", model="openai+https://api.example.org/v1#gpt-image-1") as opened:
        assert opened.generator.kinds == {"image"}
