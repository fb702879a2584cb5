"""Trusted time (RFC 3161): a small time-stamp authority on loopback for development, and the port for a real one.

The development authority answers on 127.0.0.1 in a thread of this process, with its own key under its own root. It
says nothing that a stranger should believe, and verification says `development` wherever it counts.
"""

from __future__ import annotations

import datetime as dt
import hashlib
import secrets
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

from asn1crypto import algos, cms, core, tsp
from asn1crypto import x509 as asn1_x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec

from ..errors import TimestampError
from .keys import TsaKey

_POLICY = "1.3.6.1.4.1.62558.99.1"
_MAX_REQUEST = 64 << 10
_HASHES = {"sha256": 32, "sha384": 48, "sha512": 64}


def answer(request: bytes, tsa: TsaKey, now: dt.datetime) -> bytes:
    """The DER TimeStampResp for a DER TimeStampReq. A request that is not understood gets a rejection, no error."""
    try:
        query = tsp.TimeStampReq.load(request, strict=True)
        imprint = query["message_imprint"]
        algorithm = imprint["hash_algorithm"]["algorithm"].native
        if _HASHES.get(algorithm) != len(imprint["hashed_message"].native):
            raise ValueError("hash algorithm")
        nonce = query["nonce"].native
    except (ValueError, TypeError, KeyError):
        # asn1crypto insists on a token, which a rejection has not (RFC 3161, 2.4.2): the outer SEQUENCE by hand.
        status = tsp.PKIStatusInfo({"status": "rejection", "fail_info": {"bad_request"}}).dump()
        return bytes([0x30, len(status)]) + bytes(status)
    info: dict[str, Any] = {
        "version": "v1",
        "policy": _POLICY,
        "message_imprint": imprint,
        "serial_number": secrets.randbits(63) | 1 << 62,
        "gen_time": now.astimezone(dt.UTC).replace(microsecond=0),
        "accuracy": {"seconds": 1},
        "ordering": False,
    }
    if nonce is not None:
        info["nonce"] = nonce
    token_info = tsp.TSTInfo(info)
    certificate = asn1_x509.Certificate.load(tsa.pair.certificate.public_bytes(serialization.Encoding.DER))
    attributes = cms.CMSAttributes(
        [
            {"type": "content_type", "values": ["tst_info"]},
            {"type": "message_digest", "values": [hashlib.sha256(token_info.dump()).digest()]},
            {"type": "signing_time", "values": [cms.Time({"utc_time": info["gen_time"]})]},
            {
                "type": "signing_certificate_v2",
                "values": [tsp.SigningCertificateV2({"certs": [_ess_id(certificate)]})],
            },
        ]
    )
    signature = tsa.pair.key.sign(attributes.untag().dump(), ec.ECDSA(hashes.SHA256()))
    signed = cms.SignedData(
        {
            "version": "v3",
            "digest_algorithms": [{"algorithm": "sha256"}],
            "encap_content_info": {
                "content_type": "tst_info",
                "content": core.ParsableOctetString(token_info.dump()),
            },
            "certificates": [certificate],
            "signer_infos": [
                {
                    "version": "v1",
                    "sid": {
                        "issuer_and_serial_number": {
                            "issuer": certificate.issuer,
                            "serial_number": certificate.serial_number,
                        }
                    },
                    "digest_algorithm": {"algorithm": "sha256"},
                    "signed_attrs": attributes,
                    "signature_algorithm": {"algorithm": "sha256_ecdsa"},
                    "signature": signature,
                }
            ],
        }
    )
    response = tsp.TimeStampResp(
        {
            "status": {"status": "granted"},
            "time_stamp_token": {"content_type": "signed_data", "content": signed},
        }
    )
    return bytes(response.dump())


def _ess_id(certificate: asn1_x509.Certificate) -> tsp.ESSCertIDv2:
    return tsp.ESSCertIDv2(
        {
            "hash_algorithm": algos.DigestAlgorithm({"algorithm": "sha256"}),
            "cert_hash": hashlib.sha256(certificate.dump()).digest(),
            "issuer_serial": {
                "issuer": [asn1_x509.GeneralName("directory_name", certificate.issuer)],
                "serial_number": certificate.serial_number,
            },
        }
    )


class _Handler(BaseHTTPRequestHandler):
    tsa: TsaKey

    def do_POST(self) -> None:  # the name is http.server's
        length = int(self.headers.get("Content-Length") or 0)
        if not 0 < length <= _MAX_REQUEST:
            self.send_error(413)
            return
        body = answer(self.rfile.read(length), self.tsa, dt.datetime.now(dt.UTC))
        self.send_response(200)
        self.send_header("Content-Type", "application/timestamp-reply")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002  the signature is http.server's
        """Nothing: standard error belongs to the program."""


@contextmanager
def loopback_tsa(tsa: TsaKey) -> Iterator[str]:
    """Runs the development authority while the block lasts, and yields its URL on 127.0.0.1."""
    handler = type("Handler", (_Handler,), {"tsa": tsa, "timeout": 10})
    try:
        server = ThreadingHTTPServer(("127.0.0.1", 0), handler)
    except OSError as error:
        raise TimestampError(f"the development time-stamp authority cannot listen: {error.strerror}") from error
    thread = threading.Thread(target=server.serve_forever, args=(0.02,), name="filigrana-tsa", daemon=True)
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_address[1]}"
    finally:
        server.shutdown()
        server.server_close()
        thread.join(timeout=5)
