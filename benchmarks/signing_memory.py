"""Peak memory and time of signing against the file's size, embedded and as a sidecar.

    python benchmarks/signing_memory.py [--sizes 1,10,100,500]

Each file is signed, and then read, in a process of its own; its peak resident memory before signing (imports and keys)
is taken off. Files are synthetic: noise in a WAV, and an MP4 whose media data is filled up with noise.
"""

from __future__ import annotations

import argparse
import datetime as dt
import json
import os
import resource
import struct
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

MIB = 1 << 20


def wav(path: Path, size: int) -> None:
    with path.open("wb") as out:
        out.write(b"RIFF" + struct.pack("<I", size + 36) + b"WAVEfmt \x10\0\0\0")
        out.write(struct.pack("<HHIIHH", 1, 2, 48_000, 192_000, 4, 16) + b"data" + struct.pack("<I", size))
        noise(out, size)


def mp4(path: Path, size: int) -> None:
    from fractions import Fraction

    import numpy as np

    from filigrana.provenance.media import Frame, encode_clip

    grey = np.full((256, 256, 3), 90, np.uint8)
    encode_clip((Frame(grey, Fraction(n, 10)) for n in range(5)), path, "video/mp4", rate=Fraction(10))
    with path.open("ab") as out:
        out.write(struct.pack(">I4s", size + 8, b"mdat"))
        noise(out, size)


def noise(out: Any, size: int) -> None:
    while size > 0:
        out.write(os.urandom(min(size, MIB)))
        size -= MIB


def peak() -> int:
    """Bytes of resident memory at most so far (Linux counts in KiB)."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024


def child(folder: Path, mime: str, embed: bool) -> None:
    from filigrana.provenance.credentials import read_credentials
    from filigrana.provenance.identity import AssetId
    from filigrana.provenance.keys import KeyStore
    from filigrana.provenance.manifest import Statement, definition
    from filigrana.provenance.signing import FileSigner, sign_file
    from filigrana.provenance.timestamps import loopback_tsa
    from filigrana.provenance.trust import TrustList, TrustLists

    keys = KeyStore(folder / "keys")
    keys.ensure()
    ident = AssetId(7)
    stated = Statement(ident, str(ident), mime, "generated", dt.datetime.now(dt.UTC), "0", {})
    trust = TrustLists(
        (TrustList("development", (keys.development_root() or b"").decode()),),
        (TrustList("development", (keys.tsa_root() or b"").decode()),),
    )
    before, started = peak(), time.perf_counter()
    with loopback_tsa(keys.tsa()) as url:
        store = sign_file(
            folder / "in", folder / "out", mime, definition(stated), FileSigner(keys.claim()), tsa_url=url, embed=embed
        )
    signed, took = peak(), time.perf_counter() - started
    found = read_credentials(folder / "out", mime, trust, manifest_store=None if embed else store)
    assert found.state in ("trusted", "valid"), found
    print(json.dumps({"sign": signed - before, "both": peak() - before, "seconds": took}))


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--sizes", default="1,10,50,100,200,500", help="MiB, separated by commas")
    parser.add_argument("--child", nargs=3)
    options = parser.parse_args()
    if options.child:
        child(Path(options.child[0]), options.child[1], options.child[2] == "embed")
        return
    print("| format | file (MiB) | credentials | peak over start, signing (MiB) | and reading back | seconds |")
    print("|---|---|---|---|---|---|")
    for mime, make in (("audio/wav", wav), ("video/mp4", mp4)):
        for size in (int(text) for text in options.sizes.split(",")):
            for how in ("embed", "sidecar"):
                with tempfile.TemporaryDirectory() as name:
                    make(Path(name) / "in", size * MIB)
                    done = subprocess.run(
                        [sys.executable, __file__, "--child", name, mime, how],
                        capture_output=True,
                        text=True,
                        check=True,
                    )
                told = json.loads(done.stdout)
                kind = "embedded" if how == "embed" else "sidecar"
                print(
                    f"| {mime} | {size} | {kind} | {told['sign'] / MIB:.0f} | {told['both'] / MIB:.0f} "
                    f"| {told['seconds']:.2f} |",
                    flush=True,
                )


if __name__ == "__main__":
    main()
