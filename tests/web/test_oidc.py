"""People sign in at a real provider on loopback: who is let in with which role, and every forged way back."""

from __future__ import annotations

import base64
import json
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

import httpx
import pytest
from joserfc import jwt
from joserfc.errors import JoseError
from joserfc.jwk import KeySet, RSAKey
from oidc_provider_mock import User, run_server_in_thread

from filigrana.errors import ServiceError, SettingsError
from filigrana.pipeline.installation import Installation
from filigrana.pipeline.settings import load_settings
from filigrana.pipeline.web.console.oidc import Provider, Started, is_safe
from filigrana.pipeline.web.console.sessions import Sessions
from filigrana.tests.serving import installed, running

PEOPLE = [
    User(sub="ruth", claims={"groups": ["editors"]}), User(sub="walt", claims={"groups": ["writers", "editors"]}),
    User(sub="nobody", claims={"groups": ["visitors"]}), User(sub="none", claims={}),
    User(sub="two", claims={"groups": ["editors", "foreign"]}), User(sub="4711", claims={"groups": ["editors"]}),
]  # fmt: skip
ROLES = ["editors=reviewer@press", "writers=creator@press", "foreign=auditor@agency"]


@pytest.fixture(scope="module")
def issuer() -> Iterator[str]:
    with run_server_in_thread(user_claims=PEOPLE) as server:
        yield f"http://localhost:{server.server_port}"


@pytest.fixture(scope="module")
def house(tmp_path_factory: pytest.TempPathFactory, issuer: str) -> Iterator[Installation]:
    opened = installed(
        tmp_path_factory.mktemp("oidc") / "data", oidc_issuer=issuer, oidc_client="filigrana", oidc_secret="hunter22hunter22",
        oidc_roles=ROLES, oidc_people=["4711=rosa"],
    )  # fmt: skip
    opened.access.add("press", "ana", ["creator"])
    yield opened
    opened.close()


@pytest.fixture(scope="module")
def url(house: Installation) -> Iterator[str]:
    with running(house) as found:
        yield found


def browser(url: str) -> httpx.Client:
    return httpx.Client(base_url=url, headers={"Accept": "text/html"}, timeout=30)


def at_provider(place: str, who: str) -> str:
    """Where the provider sends the browser, once this person said yes."""
    answer = httpx.post(place, data={"sub": who})
    assert answer.status_code in (302, 303), answer.text
    return answer.headers["location"]


def come(client: httpx.Client, who: str, wanted: str = "/desk") -> httpx.Response:
    place = client.get("/sign-in/oidc", params={"next": wanted}).headers["location"]
    back = urlsplit(at_provider(place, who))
    return client.get(f"{back.path}?{back.query}")


def test_signing_in_again_is_no_new_allowance(url: str, house: Installation) -> None:
    def key(who: str) -> str:
        with browser(url) as client:
            assert come(client, who, "/create").status_code == 200
            found = Sessions(house).find(client.cookies["filigrana"])
            assert found is not None
            return found.caller.key

    assert key("walt") == key("walt"), "rates, streams and jobs in flight are counted by it"
    assert key("walt") != key("ruth")
    assert len(key("walt")) <= 16, "as jobs keep it"


def test_a_person_signs_in_with_the_roles_of_their_groups(url: str, house: Installation) -> None:
    with browser(url) as client:
        assert "/sign-in/oidc" in client.get("/sign-in").text
        answer = come(client, "ruth")
        assert answer.status_code == 200, answer.text
        assert 'content="0;url=/desk"' in answer.text
        assert client.get("/desk").status_code == 200
        assert client.get("/create").status_code == 403
        assert "oidc:ruth" in client.get("/desk").text
    with browser(url) as client:
        assert come(client, "walt").status_code == 200
        assert client.get("/create").status_code == client.get("/desk").status_code == 200
    entry = [e for _, e in house.log.entries() if e.get("act") == "signed_in"][-1]
    assert entry["by"] == "oidc"
    assert "walt" not in str(entry)


def test_a_linked_account_is_the_person_whom_keys_name(url: str, house: Installation) -> None:
    """So that whoever has both is one person of two, and one alone."""
    with browser(url) as client:
        assert come(client, "4711").status_code == 200
        page = client.get("/desk").text
    assert "rosa" in page
    assert "4711" not in page
    key, _ = house.access.add("press", "rosa", ["reviewer"])
    signed_in, added = (
        next(e for _, e in reversed(list(house.log.entries())) if e.get("act") == act) for act in ("signed_in", "added")
    )
    assert added["key"] == key.id
    assert signed_in["actor"] == added["actor"]


@pytest.mark.parametrize("who", ["nobody", "none", "two"])
def test_who_has_no_role_or_several_tenants_stays_outside(url: str, who: str) -> None:
    with browser(url) as client:
        answer = come(client, who)
        assert answer.status_code == 403
        assert 'data-error="access.role"' in answer.text
        assert client.get("/status").status_code == 200
        assert client.get("/desk").status_code == 303


def test_every_way_back_but_ones_own_is_closed(url: str) -> None:
    with browser(url) as client, browser(url) as victim:
        place = client.get("/sign-in/oidc").headers["location"]
        back = urlsplit(at_provider(place, "ruth"))
        query = parse_qs(back.query)
        # another browser has no cookie for it, or one for another way
        assert victim.get(f"{back.path}?{back.query}").status_code == 403
        victim.get("/sign-in/oidc")
        assert victim.get(f"{back.path}?{back.query}").status_code == 403
        for wrong in ({"state": "x"}, {"code": "made-up"}, {"code": ""}):
            said = {name: values[0] for name, values in query.items()} | wrong
            assert client.get(back.path, params=said).status_code == 403
        assert client.get(back.path).status_code == 403
        assert client.get(f"{back.path}?{back.query}").status_code in (200, 403)
        assert client.get(f"{back.path}?{back.query}").status_code == 403, "a code counts once"
        client.cookies.set("filigrana-oidc", "nonsense")
        assert client.get(f"{back.path}?{back.query}").status_code == 403


def test_what_is_asked_has_pkce_state_and_nonce(url: str) -> None:
    with browser(url) as client:
        answer = client.get("/sign-in/oidc", params={"next": "https://evil.example"})
        asked = {name: values[0] for name, values in parse_qs(urlsplit(answer.headers["location"]).query).items()}
        assert (asked["response_type"], asked["code_challenge_method"]) == ("code", "S256")
        assert asked["redirect_uri"] == f"{url}/sign-in/oidc/callback"
        cookie = answer.headers["set-cookie"]
        assert "HttpOnly" in cookie
        assert "SameSite=lax" in cookie
        carried = Started.parse(client.cookies["filigrana-oidc"])
        assert (carried.state, carried.nonce, carried.wanted) == (asked["state"], asked["nonce"], "/create")
        assert carried.verifier not in answer.headers["location"]


KEY = RSAKey.generate_key(2048, {"kid": "1"})


def token(key: Any = KEY, alg: str = "RS256", **changes: Any) -> str:
    now = int(time.time())
    claims = {"iss": "https://id.example", "aud": "filigrana", "sub": "ruth", "nonce": "n", "iat": now, "exp": now + 60}
    claims = {name: value for name, value in (claims | changes).items() if value is not None}
    return jwt.encode({"alg": alg, "kid": "1"}, claims, key)


@pytest.mark.parametrize(
    "changes",
    [{"iss": "https://evil.example"}, {"aud": "other"}, {"aud": ["filigrana", "other"]}, {"nonce": "m"}, {"nonce": None},
     {"exp": 1}, {"exp": None}, {"sub": None}, {"iat": None}],
)  # fmt: skip
def test_a_token_of_another_issuer_audience_time_or_question_is_none(changes: dict[str, Any]) -> None:
    settings = load_settings(oidc_issuer="https://id.example", oidc_client="filigrana")
    provider = Provider(settings, "https://x/callback")
    keys = KeySet([KEY]).as_dict(private=False)
    assert provider._claims(token(), keys, "n")["sub"] == "ruth"
    with pytest.raises((JoseError, ValueError)):
        provider._claims(token(**changes), keys, "n")


def test_a_token_of_another_key_or_none_at_all_is_none() -> None:
    settings = load_settings(oidc_issuer="https://id.example", oidc_client="filigrana")
    provider = Provider(settings, "https://x/callback")
    keys = KeySet([KEY]).as_dict(private=False)
    head, body, _ = token().split(".")
    unsigned = base64.urlsafe_b64encode(json.dumps({"alg": "none"}).encode()).decode().rstrip("=")
    for forged in (token(RSAKey.generate_key(2048, {"kid": "1"})), f"{unsigned}.{body}.", f"{head}.{body}.AAAA", "x", ""):
        with pytest.raises((JoseError, ValueError)):
            provider._claims(forged, keys, "n")


def test_without_it_nobody_signs_in_this_way(tmp_path: Path) -> None:
    house = installed(tmp_path / "data")
    try:
        with running(house) as url:
            assert httpx.get(f"{url}/sign-in/oidc").status_code == 404
            assert "/sign-in/oidc" not in httpx.get(f"{url}/sign-in").text
    finally:
        house.close()


@pytest.mark.parametrize(
    "wrong", [{"oidc_issuer": "http://id.example"}, {"oidc_roles": ["editors"]}, {"oidc_roles": ["editors=king@press"]}]
)
def test_a_wrong_setting_is_told(wrong: dict[str, Any]) -> None:
    with pytest.raises(SettingsError):
        load_settings(**wrong)


def test_a_provider_that_is_another_or_away_lets_nobody_in(issuer: str) -> None:
    for wrong in (f"{issuer}/", "http://127.0.0.1:1"):
        with pytest.raises(ServiceError) as caught:
            Provider(load_settings(oidc_issuer=wrong, oidc_client="filigrana"), "http://x/callback").start("/desk")
        assert caught.value.code == "access.oidc"
    assert not is_safe("http://id.example/token")
