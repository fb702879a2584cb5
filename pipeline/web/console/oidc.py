"""Signing in by OpenID Connect: authorization code with PKCE, state and nonce; the ID token is checked here.

Who may do what follows from one claim: the setting ``oidc_roles`` says which group has which role in which tenant.
Whoever is in none of them stays outside. A person's subject is ``oidc:`` and the provider's own, so that nobody can be
named there like the holder of an API key here; the setting ``oidc_people`` links an account to such a holder, if they
are one person.
"""

from __future__ import annotations

import base64
import json
import secrets
from dataclasses import asdict, dataclass
from typing import Any
from urllib.parse import urlsplit

import httpx

from ....errors import ServiceError, SettingsError
from ...access import ROLES, Caller, scopes_of
from ...review_case import ACCOUNT, spelled
from ...settings import Settings

ALGORITHMS = ["RS256", "RS384", "RS512", "PS256", "PS384", "PS512", "ES256", "ES384", "ES512", "EdDSA"]
"""Signatures by the provider's own key: never `none`, never a shared secret."""
LEEWAY = 60
SECONDS = 10.0
_MOST = 1 << 20
_LOCAL = ("127.0.0.1", "localhost", "::1")


@dataclass(frozen=True)
class Started:
    """What the browser carries to the provider and back, in a cookie of its own. ``wanted``: the page to go to."""

    state: str
    nonce: str
    verifier: str
    wanted: str

    def text(self) -> str:
        return base64.urlsafe_b64encode(json.dumps(asdict(self)).encode()).decode()

    @classmethod
    def parse(cls, text: str) -> Started:
        """Raises ServiceError for what is none."""
        try:
            said = json.loads(base64.urlsafe_b64decode(text))
            return cls(*(str(said[name]) for name in ("state", "nonce", "verifier", "wanted")))
        except (ValueError, KeyError, TypeError):
            raise _failed("start again") from None


class Provider:
    """The provider that the settings name."""

    def __init__(self, settings: Settings, callback: str) -> None:
        if settings.oidc_issuer is None or settings.oidc_client is None:
            raise ServiceError("nobody signs in this way here", status=404, code="service.not_found")
        self._settings, self._callback, self._issuer = settings, callback, settings.oidc_issuer

    def start(self, wanted: str) -> tuple[str, Started]:
        """Where the browser goes, and what it carries. Raises ServiceError."""
        started = Started(secrets.token_urlsafe(24), secrets.token_urlsafe(24), secrets.token_urlsafe(48), wanted)
        with self._client() as client:
            found = self._described()
            url, _ = client.create_authorization_url(
                found["authorization_endpoint"],
                state=started.state,
                nonce=started.nonce,
                code_verifier=started.verifier,
            )
        return str(url), started

    def finish(self, url: str, state: str, started: Started) -> Caller:
        """Who came back. ``url``: with which address. Raises ServiceError (403) for whoever may not in."""
        if not secrets.compare_digest(state.encode(), started.state.encode()):
            raise _failed("the answer is to another question")
        from authlib.common.errors import AuthlibBaseError
        from joserfc.errors import JoseError

        try:
            with self._client() as client:
                found = self._described()
                token = client.fetch_token(
                    found["token_endpoint"], authorization_response=url, code_verifier=started.verifier,
                    state=started.state,
                )  # fmt: skip
                keys = self._json(found["jwks_uri"])
            claims = self._claims(str(token.get("id_token") or ""), keys, started.nonce)
        except (httpx.HTTPError, AuthlibBaseError, JoseError, ValueError, KeyError) as error:
            raise _failed(type(error).__name__) from None
        return self._caller(claims)

    def _claims(self, token: str, keys: Any, nonce: str) -> dict[str, Any]:
        from joserfc import jwt
        from joserfc.jwk import KeySet

        client = str(self._settings.oidc_client)
        claims = dict(jwt.decode(token, KeySet.import_key_set(keys), algorithms=ALGORITHMS).claims)
        jwt.JWTClaimsRegistry(
            leeway=LEEWAY,
            iss={"essential": True, "value": self._issuer},
            aud={"essential": True, "value": client},
            nonce={"essential": True, "value": nonce},
            exp={"essential": True},
            iat={"essential": True},
            sub={"essential": True},
        ).validate(claims)
        audience = claims["aud"]
        if isinstance(audience, list) and len(audience) > 1 and claims.get("azp") != client:
            raise ValueError("a token for several, of which we are not the one")
        return claims

    def _caller(self, claims: dict[str, Any]) -> Caller:
        told = claims.get(self._settings.oidc_claim)
        groups = {str(each) for each in told} if isinstance(told, list) else {str(told)} if told else set()
        found = [role for group, role in (parse_role(text) for text in self._settings.oidc_roles) if group in groups]
        if not found:
            raise ServiceError("your account has no role here", status=403, code="access.role")
        tenants = {tenant for _, tenant in found}
        if len(tenants) > 1:
            raise ServiceError("your account has roles in several tenants", status=403, code="access.role")
        # Linked, it is the person whom keys name so: one person with a key and an account never counts as two.
        account = str(claims["sub"])
        subject = parse_people(self._settings.oidc_people).get(account, f"{ACCOUNT}{account}")
        if len(subject) > 128 or "/" in subject or not subject.isprintable():
            raise ServiceError("your account's name cannot be used here", status=403, code="access.role")
        return Caller("oidc", tenants.pop(), subject, frozenset(scopes_of(role for role, _ in found)))

    def _client(self) -> Any:
        try:
            from authlib.integrations.httpx_client import OAuth2Client
        except ModuleNotFoundError as error:
            raise SettingsError(
                f"signing in by OpenID Connect needs the package {error.name}",
                code="settings.extra",
                hint="Run `pip install 'filigrana[oidc]'`.",
            ) from error
        secret = self._settings.oidc_secret
        return OAuth2Client(
            self._settings.oidc_client, None if secret is None else secret.get_secret_value(),
            scope="openid profile", redirect_uri=self._callback, code_challenge_method="S256", timeout=SECONDS,
            trust_env=False, token_endpoint_auth_method="none" if secret is None else "client_secret_basic",
        )  # fmt: skip

    def _described(self) -> dict[str, str]:
        """The provider's own description; every address in it as safe as the issuer's."""
        found = self._json(f"{self._issuer.rstrip('/')}/.well-known/openid-configuration")
        if not isinstance(found, dict) or found.get("issuer") != self._issuer:
            raise _failed("the provider calls itself otherwise")
        for name in ("authorization_endpoint", "token_endpoint", "jwks_uri"):
            if not is_safe(str(found.get(name) or "")):
                raise _failed("the provider's addresses are not safe")
        return found

    def _json(self, url: str) -> Any:
        try:
            answer = httpx.get(url, timeout=SECONDS, trust_env=False)
            if answer.status_code != 200 or len(answer.content) > _MOST:
                raise _failed("the provider does not answer")
            return answer.json()
        except (httpx.HTTPError, ValueError):
            raise _failed("the provider does not answer") from None


def parse_role(text: str) -> tuple[str, tuple[str, str]]:
    """From `GROUP=ROLE@TENANT`. Raises ValueError."""
    group, equals, rest = text.partition("=")
    role, at, tenant = rest.partition("@")
    if not (equals and at and group and tenant) or role not in ROLES:
        raise ValueError(f"a role is given as GROUP=ROLE@TENANT, ROLE being {', '.join(ROLES)}")
    return group, (role, tenant)


def parse_people(texts: list[str]) -> dict[str, str]:
    """From `SUB=SUBJECT` each: the provider's name for an account, and the subject of that person's keys. Raises
    ValueError."""
    found: dict[str, str] = {}
    for text in texts:
        account, equals, subject = text.rpartition("=")
        good = equals and account and 1 <= len(subject) <= 128 and "/" not in subject and subject.isprintable()
        if not good or spelled(subject).startswith(ACCOUNT):
            raise ValueError("an account is linked as SUB=SUBJECT, as in `248289761001=ana`")
        if account in found:
            raise ValueError(f"the account {account[:40]} is linked twice")
        found[account] = subject
    return found


def is_safe(url: str) -> bool:
    """https, or this very machine."""
    parts = urlsplit(url)
    return parts.scheme == "https" or (parts.scheme == "http" and parts.hostname in _LOCAL)


def _failed(why: str) -> ServiceError:
    return ServiceError(f"signing in failed: {why}", status=403, code="access.oidc")
