"""Small model folders, and signatures over them that are made here without the code under test."""

from __future__ import annotations

import base64
import hashlib
import json
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec

FILES = {
    "model_index.json": b'{"_class_name": "StableDiffusionPipeline", "_diffusers_version": "0.42.1"}\n',
    "unet/config.json": b"{}\n",
    "unet/diffusion_pytorch_model.safetensors": b"\x02\0\0\0\0\0\0\0{}",
    "vae/diffusion_pytorch_model.safetensors": b"\x02\0\0\0\0\0\0\0{}",
    "tokenizer/vocab.txt": b"a\nb\n",
    "README.md": b"# tiny\n",
}


def small_model(folder: Path) -> Path:
    """A folder that looks like a pipeline's, of a few bytes; it can be registered, and not loaded."""
    for name, data in FILES.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(data)
    return folder


def new_key(curve: ec.EllipticCurve | None = None) -> ec.EllipticCurvePrivateKey:
    return ec.generate_private_key(curve or ec.SECP256R1())


def public_pem(key: ec.EllipticCurvePrivateKey) -> str:
    form = serialization.PublicFormat.SubjectPublicKeyInfo
    return key.public_key().public_bytes(serialization.Encoding.PEM, form).decode()


def statement(folder: Path, leave_out: Iterable[str] = (), **changes: Any) -> dict[str, Any]:
    names = sorted(path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file())
    names = [name for name in names if name not in {"model.sig", *leave_out}]
    digests = {name: hashlib.sha256((folder / name).read_bytes()).hexdigest() for name in names}
    whole = hashlib.sha256(b"".join(bytes.fromhex(one) for one in digests.values())).hexdigest()
    return {
        "_type": "https://in-toto.io/Statement/v1",
        "subject": [{"name": folder.name, "digest": {"sha256": whole}}],
        "predicateType": "https://model_signing/signature/v1.0",
        "predicate": {
            "serialization": {"method": "files", "hash_type": "sha256", "allow_symlinks": False, "ignore_paths": []},
            "resources": [{"name": n, "algorithm": "sha256", "digest": d} for n, d in digests.items()],
        },
    } | changes


def bundle(said: dict[str, Any], key: ec.EllipticCurvePrivateKey, **material: Any) -> dict[str, Any]:
    kind, payload = "application/vnd.in-toto+json", json.dumps(said).encode()
    pae = b"DSSEv1 " + f"{len(kind)} {kind} {len(payload)} ".encode() + payload
    algorithm = {256: hashes.SHA256(), 384: hashes.SHA384(), 521: hashes.SHA512()}[key.curve.key_size]
    hint = hashlib.sha256(public_pem(key).encode()).hexdigest()
    return {
        "mediaType": "application/vnd.dev.sigstore.bundle.v0.3+json",
        "verificationMaterial": {"publicKey": {"hint": hint}, "tlogEntries": []} | material,
        "dsseEnvelope": {
            "payload": base64.b64encode(payload).decode(),
            "payloadType": kind,
            "signatures": [{"sig": base64.b64encode(key.sign(pae, ec.ECDSA(algorithm))).decode(), "keyid": ""}],
        },
    }


def sign(folder: Path, key: ec.EllipticCurvePrivateKey, leave_out: Iterable[str] = (), **changes: Any) -> Path:
    path = folder / "model.sig"
    path.write_text(json.dumps(bundle(statement(folder, leave_out, **changes), key)))
    return path
