"""What an installation can show beside a file: its detector, what it keeps of people, its reports and refusals.

Nothing is taken on its word where it can be tried: an erasure is carried out on a log that is made for it, the
service's own description is asked for what it takes, every refusal in the log is looked at.
"""

from __future__ import annotations

import json
from importlib import metadata, resources
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any
from uuid import uuid4

from cryptography import x509
from cryptography.hazmat.primitives import hashes

from ..errors import FiligranaError, KeyStoreError
from ..provenance.log.search import Query
from ..provenance.reports.rules_house import refusal_faults
from ..provenance.scratch import ScratchFolder
from ..provenance.trust import TrustList, TrustLists

if TYPE_CHECKING:
    from .installation import Installation

_MOST_FAULTS = 5


def lists_apart(trust: TrustLists) -> bool:
    """Whether no root stands both on a list of claim signers and on one of time-stamp authorities."""
    return not _fingerprints(trust.claim) & _fingerprints(trust.tsa)


def _fingerprints(lists: tuple[TrustList, ...]) -> set[bytes]:
    found: set[bytes] = set()
    for one in lists:
        found |= {c.fingerprint(hashes.SHA256()) for c in x509.load_pem_x509_certificates(one.pem.encode())}
    return found


def service(opened: Installation) -> dict[str, Any]:
    """What the detector takes, by its own description, and where it is to be found."""
    address = opened.settings.serve_url
    if find_spec("fastapi") is None:
        return {"upload": False, "url": False, "api": False, "address": address}
    from .web.app import create_app

    described = create_app(opened).openapi()
    post = described.get("paths", {}).get("/v1/verify", {}).get("post", {})
    takes = post.get("requestBody", {}).get("content", {})
    form = takes.get("multipart/form-data", {}).get("schema", {}).get("properties", {})
    asked = takes.get("application/json", {}).get("schema", {}).get("properties", {})
    return {"upload": "file" in form, "url": "url" in form or "url" in asked, "api": bool(post), "address": address}


def retention(opened: Installation) -> dict[str, Any]:
    """How long texts are kept by the policy in force, and whether an erasure works: tried on a log of its own."""
    logged, erasure = False, "was not tried"
    try:
        erasure, logged = _trial()
    except (FiligranaError, OSError) as error:
        erasure = f"failed: {getattr(error, 'message', type(error).__name__)}"
    return {"days": opened.pack.document.retention_days, "erasure": erasure, "logged": logged}


def _trial() -> tuple[str, bool]:
    from .installation import Installation
    from .settings import load_settings

    with ScratchFolder() as folder:
        house = Installation(load_settings(data_dir=folder / "data", database=None, log_publish=[]))
        try:
            return _erase(house)
        finally:
            house.close()


def _erase(house: Installation) -> tuple[str, bool]:
    from ..provenance.vault import Vault

    ledger, subject = house.ledger, f"trial-{uuid4().hex}"
    with ledger.change() as transaction:
        text = Vault(transaction.session).seal_text(subject, "a text that is to be forgotten").id
        transaction.append({"type": "note", "time": "1970-01-01T00:00:00Z"})
    index, entry = ledger.erase(subject)
    logged = house.log.entry(index) == entry and entry["type"] == "erase"
    try:
        with ledger.reading() as rows:
            Vault(rows).open_text(text)
    except KeyStoreError as error:
        return ("works" if error.code == "provenance.erased" else error.message), logged
    return "the text can still be read", logged


def refusals(opened: Installation) -> tuple[int, tuple[str, ...]]:
    """Every refusal in the log looked at; without any, the policy's rules."""
    count, faults = 0, list[str]()
    for _, entry in opened.log.search(Query(type="refused")):
        count += 1
        if len(faults) < _MOST_FAULTS:
            faults += refusal_faults(entry)
    document = opened.pack.document
    if not count:
        faults += [f"the rule {rule.id} has no reason" for rule in document.rules if not rule.reason.strip()]
    return count, tuple(faults[:_MOST_FAULTS])


def report_path() -> Path | None:
    """The robustness report of this version, where its sources lie (a wheel has none)."""
    path = Path(str(resources.files("filigrana"))) / "docs" / "robustness" / "report.json"
    return path if path.is_file() else None


def robustness(given: Path | None) -> dict[str, Any]:
    """What a robustness report is of, beside what is in use."""
    path = given or report_path()
    if path is None:
        return {"error": "none lies here: name one with --robustness"}
    try:
        found = json.loads(path.read_text("utf-8"))
        return {
            # Marks of pictures and clips, and the one of sound, which the report keeps beside them.
            "algorithms": sorted({*found["codecs"], *([found["sound"]["codec"]] if found.get("sound") else [])}),
            "version": found["versions"].get("filigrana"),
            "installed": metadata.version("filigrana"),
            "code": found.get("code"),
            "installed_code": _code(),
            "errors": len(found.get("errors") or ()),
            "sections": list(found["settings"]["sections"]),
            "made": found["made"],
            "met": found.get("met") is True,
        }
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        return {"error": f"{path.name} is no robustness report ({type(error).__name__})"}


def _code() -> str | None:
    """The digest of the code that marks and of the code that tests it, where the tests are installed."""
    try:
        from .bench.plan import code_digest
    except ImportError:
        return None
    return code_digest()
