"""The audit log: a record that nobody can rewrite unseen.

Pure core, no IO (an auditor's reading list): :mod:`.canonical`, :mod:`.merkle`, :mod:`.note`, :mod:`.proof`.
On the database: :mod:`.tiles`, :mod:`.sequencer`, :mod:`.checkpoints`, :mod:`.audit`; keys: :mod:`.signer`.

Nothing is imported here, so that checking a proof needs `cryptography` alone.
"""
