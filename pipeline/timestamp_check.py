"""One time-stamp from an authority, to see that it answers: for `doctor`."""

from __future__ import annotations

import hashlib
import secrets

import httpx
from asn1crypto import tsp

from ..errors import TimestampError


def stamp_once(url: str, timeout: float = 10.0) -> str:
    """Asks for a time-stamp over random bytes. Returns the time that it says; raises TimestampError, httpx errors."""
    imprint = hashlib.sha256(secrets.token_bytes(32)).digest()
    request = tsp.TimeStampReq(
        {
            "version": "v1",
            "message_imprint": {"hash_algorithm": {"algorithm": "sha256"}, "hashed_message": imprint},
            "nonce": secrets.randbits(63),
            "cert_req": True,
        }
    )
    response = httpx.post(
        url, content=request.dump(), headers={"Content-Type": "application/timestamp-query"}, timeout=timeout
    )
    response.raise_for_status()
    try:
        answer = tsp.TimeStampResp.load(response.content)
        if answer["status"]["status"].native not in ("granted", "granted_with_mods"):
            raise TimestampError("the time-stamp authority refused")
        info = answer["time_stamp_token"]["content"]["encap_content_info"]["content"].parsed
        if info["message_imprint"]["hashed_message"].native != imprint:
            raise TimestampError("the time-stamp is over something else")
        return f"{info['gen_time'].native:%Y-%m-%dT%H:%M:%SZ}"
    except (ValueError, TypeError, KeyError) as error:
        raise TimestampError("the time-stamp authority's answer cannot be read") from error
