"""A key in a PKCS#11 token: an HSM, a smart card, a cloud HSM's library, or SoftHSM2 in tests.

The key is named by a URI of RFC 7512: ``pkcs11:token=NAME;object=LABEL;id=%01?module-path=/usr/lib/….so``, with the PIN
from the setting `key_passphrase`, or from a file of its owner's alone in ``pin-source=file:/…``. The key never leaves
the token: what goes there is a digest (the data itself for Ed25519), what comes back a bare signature.
"""

from __future__ import annotations

import threading
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import parse_qsl, unquote, unquote_to_bytes

from cryptography import x509

from ...errors import KeyStoreError, ManifestError, SettingsError
from ..keys import read_private
from .algorithms import Algorithm, algorithm_of, der_of, digest_of

_PATH = frozenset({"token", "object", "id", "serial", "type"})
_QUERY = frozenset({"module-path", "pin-source"})


@dataclass(frozen=True)
class TokenUri:
    """``id``: the object's CKA_ID. ``pin_source``: a file, or None where the setting has the PIN."""

    module: str
    token: str | None
    serial: str | None
    label: str | None
    id: bytes | None
    pin_source: Path | None

    @classmethod
    def parse(cls, text: str) -> TokenUri:
        """Raises SettingsError. A PIN in the URI is refused: settings are shown, and logged."""
        scheme, _, rest = text.partition(":")
        path, _, query = rest.partition("?")
        parts = dict(part.partition("=")[::2] for part in path.split(";") if part)
        asked = dict(parse_qsl(query, keep_blank_values=True))
        unknown = sorted((set(parts) - _PATH) | (set(asked) - _QUERY))
        if scheme != "pkcs11" or unknown:
            raise SettingsError(f"the signer's PKCS#11 URI is not understood: {', '.join(unknown) or 'no scheme'}")
        if "module-path" not in asked or not ({"object", "id"} & set(parts)):
            raise SettingsError("a PKCS#11 URI names object or id, and ?module-path=")
        source = asked.get("pin-source")
        return cls(
            asked["module-path"],
            unquote(parts["token"]) if "token" in parts else None,
            unquote(parts["serial"]) if "serial" in parts else None,
            unquote(parts["object"]) if "object" in parts else None,
            unquote_to_bytes(parts["id"]) if "id" in parts else None,
            None if source is None else Path(source.removeprefix("file:")),
        )


class Pkcs11Signer:
    """Safe for threads: one session, one signature at a time. After a failure the next call logs in again."""

    def __init__(self, uri: TokenUri, chain_pem: str, pin: str | None = None) -> None:
        self._uri, self._chain, self._pin = uri, chain_pem, pin
        self._lock = threading.Lock()
        self._session: Any = None
        self._key: Any = None
        self._algorithm = algorithm_of(x509.load_pem_x509_certificates(chain_pem.encode())[0].public_key())

    @property
    def chain_pem(self) -> str:
        return self._chain

    @property
    def algorithm(self) -> Algorithm:
        return self._algorithm

    def sign(self, data: bytes) -> bytes:
        """Raises ManifestError where the token is gone or refuses."""
        import pkcs11

        with self._lock:
            try:
                if self._key is None:
                    self._open(pkcs11)
                return self._signed(pkcs11, data)
            except (ManifestError, KeyStoreError):
                self._close()
                raise
            except Exception as error:  # the module is a vendor's: whatever it throws, there is no signature
                self._close()
                raise ManifestError(
                    f"the PKCS#11 token did not sign ({type(error).__name__})", code="provenance.signer"
                ) from error

    def _signed(self, pkcs11: Any, data: bytes) -> bytes:
        mechanism, message = pkcs11.Mechanism, digest_of(self._algorithm, data)
        if self._algorithm == "ed25519":
            return bytes(self._key.sign(message, mechanism=mechanism.EDDSA))
        if self._algorithm == "ps256":
            form = (mechanism.SHA256, pkcs11.MGF.SHA256, 32)
            return bytes(self._key.sign(message, mechanism=mechanism.RSA_PKCS_PSS, mechanism_param=form))
        return der_of(bytes(self._key.sign(message, mechanism=mechanism.ECDSA)))

    def _open(self, pkcs11: Any) -> None:
        library = pkcs11.lib(self._uri.module)
        wanted = {"token_label": self._uri.token, "token_serial": self._serial()}
        token = library.get_token(**{name: value for name, value in wanted.items() if value is not None})
        pin = self._pin
        if self._uri.pin_source is not None:
            pin = read_private(self._uri.pin_source).decode().strip()
        try:
            self._session = token.open(user_pin=pin)
        except pkcs11.exceptions.UserAlreadyLoggedIn:
            # A login is the whole process's (PKCS#11 3.0, 2.4): another signer here did it.
            self._session = token.open()
        which = {"label": self._uri.label, "id": self._uri.id}
        self._key = self._session.get_key(
            object_class=pkcs11.ObjectClass.PRIVATE_KEY,
            **{name: value for name, value in which.items() if value is not None},
        )

    def _serial(self) -> bytes | None:
        return None if self._uri.serial is None else self._uri.serial.encode()

    def close(self) -> None:
        """Ends the session; the next signature opens another."""
        with self._lock:
            self._close()

    def _close(self) -> None:
        session, self._session, self._key = self._session, None, None
        if session is not None:
            try:
                session.close()
            except Exception:  # noqa: BLE001  a session of a token that is gone
                return


def open_pkcs11(uri: str, chain_pem: str, pin: str | None) -> Pkcs11Signer:
    """Raises SettingsError for a URI that is none, and where the library is not installed."""
    try:
        import pkcs11  # noqa: F401  only whether it is there
    except ImportError:
        raise SettingsError("PKCS#11 is not installed", hint="pip install 'filigrana[hsm]'") from None
    return Pkcs11Signer(TokenUri.parse(uri), chain_pem, pin)
