"""The audit log: a record that nobody can rewrite unseen.

Pure core, no IO (an auditor's reading list): :mod:`.canonical`, :mod:`.merkle`, :mod:`.note`, :mod:`.proof`.
On the database: :mod:`.tiles`, :mod:`.sequencer`, :mod:`.checkpoints`, :mod:`.audit`; keys: :mod:`.signer`.
The log for those without its database: :mod:`.site` (static files), :mod:`.site_reader` (checks those),
:mod:`.publishing` (checkpoints elsewhere), :mod:`.bundle` (one file for an auditor; :mod:`.bundle_verifier` is pure).

Nothing is imported here, so that checking a proof needs `cryptography` alone.
"""
