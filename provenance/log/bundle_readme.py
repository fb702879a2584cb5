"""What README.txt in an auditor's bundle says. Not part of the verifier inside."""

from __future__ import annotations


def readme(origin: str, size: int, entries: int) -> str:
    """Equal arguments give equal words."""
    return f"""What this file is
=================

An auditor's bundle: {entries} entries of the log {origin}, and what shows that they are
in it unchanged. It was made under the log's signed checkpoint over {size} entries.
It is a zip archive, and a program.

How to check it
---------------

You need Python 3.11 or newer and the package `cryptography` (pip install cryptography). No network is used.

    python bundle.pyz --key KEY --checkpoint FILE

KEY is the log's verifier key (name+id+base64). Get it from somewhere else than from this file: without it the bundle is
only checked against the key that it names itself, and anybody can make such a bundle. FILE is a checkpoint of the log
that you kept from earlier: it shows that nothing before it was rewritten since. --witness KEY: the verifier key of a
witness, from elsewhere as well; no other cosignature counts. --asset ID: an asset whose release must be in it. All may
be given several times.

The program in this file came from whoever is being audited. Do not take its word: run the same check from a copy of
Filigrana that you got elsewhere,

    filigrana audit bundle verify bundle.pyz --key KEY --checkpoint FILE

or read filigrana/provenance/log/bundle_verifier.py; it is short. Exit codes: 0 intact, 5 not intact, 1 not
tried, or your checkpoint cannot be compared with it.

What is inside
--------------

SHA256SUMS       the digest of every other file here (sha256sum -c SHA256SUMS)
bundle.json      which entries these are, the proofs, the keys
entries.jsonl    the entries, one a line, byte for byte as they were hashed
checkpoints/     signed checkpoints of the log, oldest to newest, with their cosignatures
records/         decision records: who decided what by which policy, guards and models; signed
manifests/       C2PA manifests of the released files
policies/        the policy packs that the decisions name, where they were at hand
certificates/    certificates of the signer, for reading
filigrana/       the verifier

What it cannot show
-------------------

Entries that are not in it; what happened before anything was written; what was asked (entries carry keyed commitments
to prompts, not prompts); and, without a checkpoint that you or a witness kept, whether the whole log was written anew.
"""
