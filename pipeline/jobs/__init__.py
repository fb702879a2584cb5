"""Durable jobs: a bounded queue in the database, leases, and workers in processes of their own.

What makes a job end once is not the lease but the outbox of the log: see `fence`.
"""
