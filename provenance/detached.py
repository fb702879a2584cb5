"""Signing a manifest store over a hash that we computed ourselves, so that the file is never in memory.

c2pa-rs reads a file whole when it signs without embedding, and copies it (measured in docs/signing.md). Its C interface
also takes the finished data hash (C2PA specification 2.4, section 9.2: `c2pa.hash.data` over the whole file, which is
what a sidecar needs); c2pa-python 0.38.1 does not wrap that call, so it is made here on the library that it loaded.
"""

from __future__ import annotations

import ctypes
import hashlib
import json
from pathlib import Path
from typing import Any

import c2pa
from c2pa import c2pa as binding

_FORMAT = b"application/c2pa"
_Bytes = ctypes.POINTER(ctypes.c_ubyte)


def sign_detached(builder: c2pa.Builder, signer: c2pa.Signer, source: Path) -> bytes:
    """The manifest store for ``source``, which is read in blocks. Raises c2pa.C2paError, OSError."""
    with source.open("rb") as stream:
        digest = hashlib.file_digest(stream, "sha256").digest()
    stated = {"name": "jumbf manifest", "alg": "sha256", "hash": list(digest), "pad": ""}
    library, out = _library(), _Bytes()
    with builder._exclusive_native_call(), signer._native_call():
        length = library.c2pa_builder_data_hashed_placeholder(
            builder._handle, ctypes.c_size_t(signer.reserve_size()), _FORMAT, ctypes.byref(out)
        )
        _taken(length, out)
        out = _Bytes()
        length = library.c2pa_builder_sign_data_hashed_embeddable(
            builder._handle, signer._handle, json.dumps(stated).encode(), _FORMAT, None, ctypes.byref(out)
        )
    return _taken(length, out)


def _library() -> Any:
    library = binding._lib
    handle, text = ctypes.POINTER(binding.C2paBuilder), ctypes.c_char_p
    placeholder, sign = library.c2pa_builder_data_hashed_placeholder, library.c2pa_builder_sign_data_hashed_embeddable
    placeholder.argtypes = [handle, ctypes.c_size_t, text, ctypes.POINTER(_Bytes)]
    sign.argtypes = [
        handle,
        ctypes.POINTER(binding.C2paSigner),
        text,
        text,
        ctypes.POINTER(binding.C2paStream),
        ctypes.POINTER(_Bytes),
    ]
    placeholder.restype = sign.restype = ctypes.c_int64
    return library


def _taken(length: int, pointer: Any) -> bytes:
    """The library's bytes as ours; its memory is given back."""
    binding._check_ffi_operation_result(length, "signing without the file failed", check=lambda r: r < 0)
    try:
        return ctypes.string_at(pointer, length)
    finally:
        binding._lib.c2pa_free(pointer)
