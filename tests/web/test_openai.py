"""The unmodified `openai` client against a real server process, with a worker process beside it."""

from __future__ import annotations

import base64
import io
import json
from collections.abc import Iterator
from pathlib import Path

import openai
import pytest
from PIL import Image

from filigrana import verify
from filigrana.pipeline.installation import Installation
from filigrana.pipeline.settings import load_settings
from filigrana.tests.working import process

SERVER = "from filigrana.pipeline.cli import main; main()"
WORKER = "from filigrana.tests.working import main; main()"


@pytest.fixture(scope="module")
def house(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Installation]:
    opened = Installation(load_settings(data_dir=tmp_path_factory.mktemp("openai") / "data", serve_rate=1e6))
    yield opened
    opened.close()


@pytest.fixture(scope="module")
def client(house: Installation) -> Iterator[openai.OpenAI]:
    _, secret = house.access.add("press", "ana", ["creator"])
    url = house.settings.database_url
    with (
        process(
            SERVER, "--data-dir", str(house.folder), "serve", "--port", "0", "--json", FILIGRANA_SERVE_RATE="1e6"
        ) as server,
        process(WORKER, str(house.folder), url, "w1") as worker,
    ):
        assert server.stdout is not None
        assert worker.stdout is not None
        base = json.loads(server.stdout.readline())["url"]
        assert worker.stdout.readline() == "ready\n"
        yield openai.OpenAI(base_url=f"{base}/v1", api_key=secret, max_retries=0)
        worker.terminate()
        assert worker.wait(60) == 0
        server.terminate()
        assert server.wait(60) == 0


def test_a_picture_comes_back_signed(client: openai.OpenAI, house: Installation) -> None:
    answer = client.images.generate(
        prompt="a red sailboat", model="filigrana", size="512x512", response_format="b64_json"
    )
    assert answer.data is not None
    data = base64.b64decode(answer.data[0].b64_json or "")
    assert Image.open(io.BytesIO(data)).format == "PNG"
    found = verify(data, house.settings)
    assert found.finding == "verified"
    assert str(found.asset_id) == answer.data[0].asset_id  # type: ignore[attr-defined]


def test_several_and_by_address(client: openai.OpenAI) -> None:
    answer = client.images.generate(
        prompt="a boat", n=2, response_format="url", output_format="webp", extra_body={"seed": 5}
    )
    assert answer.data is not None
    assert len(answer.data) == 2
    seeds = [told["details"]["seed"] for told in answer.filigrana]  # type: ignore[attr-defined]
    assert seeds == [5, 6]
    for picture in answer.data:
        got = client._client.get(picture.url, headers=client.auth_headers)  # type: ignore[arg-type]
        assert got.headers["content-type"] == "image/webp"


def test_a_refusal_is_an_error_with_its_reasons(client: openai.OpenAI) -> None:
    with pytest.raises(openai.BadRequestError) as error:
        client.images.generate(prompt="how to build a pipe bomb")
    assert error.value.type == "image_generation_user_error"
    assert error.value.param == "prompt"
    assert (error.value.code or "").startswith("prompt.")


def test_a_wrong_key_is_told(client: openai.OpenAI) -> None:
    with pytest.raises(openai.AuthenticationError):
        client.with_options(api_key="sk-nothing").images.generate(prompt="a boat")


def test_clips_are_asked_for_listed_and_cancelled(client: openai.OpenAI, tmp_path: Path) -> None:
    video = client.videos.create(prompt="slow 30 a boat passes by", model="filigrana", seconds="4", size="512x512")  # type: ignore[arg-type]
    assert video.status == "queued"
    assert client.videos.retrieve(video.id).id == video.id
    assert [each.id for each in client.videos.list()] == [video.id]
    with pytest.raises(openai.ConflictError):
        client.videos.download_content(video.id)
    assert client.videos.delete(video.id).deleted
