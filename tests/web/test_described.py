"""What is asked of the service at random, from its own description: every answer is one that it describes."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import httpx
import pytest
import schemathesis
from hypothesis import HealthCheck, Phase, given, settings
from schemathesis import checks
from schemathesis.specs.openapi import checks as openapi_checks

from filigrana.pipeline.installation import Installation
from filigrana.pipeline.web.app import create_app
from filigrana.tests.serving import installed, running

CHECKS = (
    checks.not_a_server_error,
    openapi_checks.status_code_conformance,
    openapi_checks.content_type_conformance,
    openapi_checks.response_schema_conformance,
    openapi_checks.ignored_auth,
)


@pytest.fixture(scope="module")
def house(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Installation]:
    opened = installed(tmp_path_factory.mktemp("described") / "data", serve_wait=0.05, serve_streams=1000)
    yield opened
    opened.close()


@pytest.fixture(scope="module")
def secret(house: Installation) -> str:
    return house.access.add("press", "ana", ["admin"])[1]


@pytest.fixture(scope="module")
def url(house: Installation, secret: str) -> Iterator[str]:
    with running(house) as found:
        yield found


def test_no_answer_is_described_that_is_never_given(url: str) -> None:
    """A wrong parameter is answered with 400 in our shape, not with FastAPI's 422."""
    told = httpx.get(f"{url}/openapi.json").json()
    answers = {
        f"{method} {path}": set(operation["responses"])
        for path, methods in told["paths"].items()
        for method, operation in methods.items()
        if path.startswith("/v1/")
    }
    assert not [name for name, codes in answers.items() if "422" in codes]
    everywhere = [operation["responses"] for methods in told["paths"].values() for operation in methods.values()]
    assert all({"400", "429", "503"} <= set(codes) for codes in everywhere), "the guards around every route"
    assert "400" in answers["get /v1/jobs/{job_id}"]
    assert "HTTPValidationError" not in str(told)
    assert "ApiKey" in told["components"]["securitySchemes"]


OPERATIONS = [
    (method, path)
    for path, methods in (
        ("/v1/images/generations", ("POST",)),
        ("/v1/videos", ("GET", "POST")),
        ("/v1/videos/{video_id}", ("GET", "DELETE")),
        ("/v1/videos/{video_id}/content", ("GET",)),
        ("/v1/jobs/{job_id}", ("GET", "DELETE")),
        ("/v1/jobs/{job_id}/events", ("GET",)),
        ("/v1/assets/{asset_id}", ("GET",)),
        ("/v1/assets/{asset_id}/content", ("GET",)),
        ("/v1/seal", ("POST",)),
        ("/v1/policies", ("GET",)),
        ("/v1/policies/{policy_id}", ("GET",)),
        ("/v1/reviews", ("GET",)),
        ("/v1/reviews/{request_id}", ("GET",)),
        ("/v1/reviews/{request_id}/content", ("GET",)),
        ("/v1/reviews/{request_id}/decision", ("POST",)),
        ("/v1/reviews/{request_id}/assignment", ("POST",)),
        ("/v1/audit/head", ("GET",)),
        ("/v1/audit/heads", ("GET",)),
        ("/v1/audit/entries", ("GET",)),
        ("/v1/audit/entries/{index}", ("GET",)),
        ("/v1/audit/entries/{index}/proof", ("GET",)),
        ("/v1/audit/consistency", ("GET",)),
        ("/v1/webhooks", ("GET", "POST")),
        ("/v1/webhooks/{webhook_id}", ("DELETE",)),
        ("/v1/webhooks/{webhook_id}/deliveries", ("GET",)),
        ("/healthz", ("GET",)),
        ("/readyz", ("GET",)),
        ("/metrics", ("GET",)),
    )
    for method in methods
]


MEANT = {
    "/v1/images/generations": {200, 504},
    "/v1/videos": {200},
    "/v1/seal": {202, 400},
    "/v1/policies": {200},
    "/v1/webhooks": {200, 201, 400},
    "/healthz": {200},
    "/readyz": {200},
    "/metrics": {200},
    "/v1/reviews": {200},
    "/v1/audit/head": {200},
    "/v1/audit/heads": {200},
    "/v1/audit/entries": {200},
    "/v1/audit/consistency": {200, 400},
    "/v1/audit/entries/{index}": {200, 404},
    "/v1/audit/entries/{index}/proof": {200, 404},
    "/v1/reviews/{request_id}/decision": {400, 404},
    "/v1/reviews/{request_id}/assignment": {400, 404},
}


@pytest.mark.parametrize(("method", "path"), OPERATIONS)
def test_every_answer_is_described(house: Installation, url: str, secret: str, method: str, path: str) -> None:
    operation = schemathesis.openapi.from_dict(create_app(house).openapi())[path][method]
    headers = {"Authorization": f"Bearer {secret}"}
    seen: set[int] = set()

    @settings(
        max_examples=25, deadline=None, derandomize=True, database=None, phases=[Phase.explicit, Phase.generate],
        suppress_health_check=list(HealthCheck),
    )  # fmt: skip
    @given(case=operation.as_strategy())
    def ask(case: Any) -> None:
        answer = case.call(base_url=url, headers=headers, timeout=30)
        seen.add(answer.status_code)
        # 504 is what this server says of every picture, since nobody makes any: it is described, and no fault
        wanted = [check for check in CHECKS if not (answer.status_code == 504 and check is checks.not_a_server_error)]
        case.validate_response(answer, checks=wanted, headers=headers)

    ask()
    # Strategies rarely give a key of ours a body that it takes: what must be reached is an answer that means something.
    assert seen & MEANT.get(path, {404}), seen
