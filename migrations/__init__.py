"""Alembic: the schema of the audit database, its append-only triggers and grants. One head; no entry is
rewritten.
"""
