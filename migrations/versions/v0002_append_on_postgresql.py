"""PostgreSQL: appending is a function, and processes hand their entries to the one that commits."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import postgresql

revision = "0002"
down_revision = "0001"
branch_labels = None
depends_on = None

WRITER = "filigrana_writer"
LOG_LOCK = 7380959347062927205
"""The advisory lock of whoever assigns indexes: ``filigrae`` as 8 bytes."""

FUNCTIONS = {
    # The root over 2**k hashes of 32 bytes: a pairwise reduction, as `merkle.complete_root`.
    "filigrana_root(bytea)": """
CREATE FUNCTION filigrana_root(hashes bytea) RETURNS bytea LANGUAGE plpgsql IMMUTABLE AS $body$
BEGIN
  WHILE length(hashes) > 32 LOOP
    SELECT string_agg(sha256('\\x01'::bytea || substring(hashes FROM pair * 64 + 1 FOR 64)), ''::bytea ORDER BY pair)
      INTO hashes FROM generate_series(0, length(hashes) / 64 - 1) AS pair;
  END LOOP;
  RETURN hashes;
END $body$""",
    # The tiles that entries [low, high) filled, and those above them that these filled in turn.
    "filigrana_fill(bigint, bigint)": """
CREATE FUNCTION filigrana_fill(low bigint, high bigint) RETURNS void LANGUAGE plpgsql AS $body$
DECLARE at bigint; tile bigint; up integer; row_hashes bytea;
BEGIN
  FOR at IN SELECT generate_series(low / 256, high / 256 - 1) LOOP
    SELECT string_agg(leaf_hash, ''::bytea ORDER BY seq) INTO row_hashes
      FROM log_entries WHERE seq >= at * 256 AND seq < at * 256 + 256;
    INSERT INTO log_tiles (level, tile_index, root, hashes) VALUES (0, at, filigrana_root(row_hashes), row_hashes);
    tile := at;
    up := 0;
    WHILE tile % 256 = 255 LOOP
      SELECT string_agg(root, ''::bytea ORDER BY tile_index) INTO row_hashes
        FROM log_tiles WHERE level = up AND tile_index > tile - 256 AND tile_index <= tile;
      tile := tile / 256;
      up := up + 1;
      INSERT INTO log_tiles (level, tile_index, root, hashes)
        VALUES (up, tile, filigrana_root(row_hashes), row_hashes);
    END LOOP;
  END LOOP;
END $body$""",
    # Entries of the caller's own transaction. Returns the first one's index; the lock is held until its end.
    "filigrana_append(bytea[])": """
CREATE FUNCTION filigrana_append(leaves bytea[]) RETURNS bigint LANGUAGE plpgsql AS $body$
DECLARE size bigint;
BEGIN
  PERFORM pg_advisory_xact_lock(LOG_LOCK);
  SELECT coalesce(max(seq) + 1, 0) INTO size FROM log_entries;
  INSERT INTO log_entries (seq, leaf, leaf_hash, created_at)
    SELECT size + place - 1, leaf, sha256('\\x00'::bytea || leaf), clock_timestamp()
      FROM unnest(leaves) WITH ORDINALITY AS given (leaf, place);
  PERFORM filigrana_fill(size, size + cardinality(leaves));
  RETURN size;
END $body$""",
    # Under the lock: one's own leaves, and those of others that are in the queue, in one commit.
    "filigrana_lead(bigint, bytea[])": """
CREATE FUNCTION filigrana_lead(mine bigint, own bytea[]) RETURNS bigint LANGUAGE plpgsql AS $body$
DECLARE size bigint; grown bigint; first bigint;
BEGIN
  SELECT coalesce(max(seq) + 1, 0) INTO size FROM log_entries;
  WITH gone AS (
    DELETE FROM log_queue WHERE handover = mine OR place IN (
      -- Only the newest places: the rest of the index is rows that are long gone.
      SELECT place FROM log_queue WHERE place > (SELECT last_value FROM log_queue_place_seq) - 4096
        ORDER BY place LIMIT 32)
      RETURNING place, handover, leaves),
  taken AS (
    SELECT 0::bigint AS place, mine AS handover, own AS leaves WHERE own IS NOT NULL
    UNION ALL SELECT place, handover, leaves FROM gone WHERE own IS NULL OR handover <> mine),
  written AS (
    INSERT INTO log_entries (seq, leaf, leaf_hash, created_at)
      SELECT size + row_number() OVER (ORDER BY taken.place, given.place) - 1, leaf,
             sha256('\\x00'::bytea || leaf), clock_timestamp()
        FROM taken, unnest(leaves) WITH ORDINALITY AS given (leaf, place)
      RETURNING seq)
  INSERT INTO log_handovers (handover, first_seq, committed_at)
    SELECT handover, size + sum(cardinality(leaves)) OVER (ORDER BY place) - cardinality(leaves), clock_timestamp()
      FROM taken;
  SELECT first_seq INTO first FROM log_handovers WHERE handover = mine;
  IF first IS NULL THEN
    RAISE EXCEPTION 'nothing was handed over under this number' USING ERRCODE = 'no_data_found';
  END IF;
  SELECT max(seq) + 1 INTO grown FROM log_entries;
  PERFORM filigrana_fill(size, grown);
  IF random() < 0.004 THEN
    -- Callers that lost their connection ask within a minute; what nobody waits for was never acknowledged.
    DELETE FROM log_handovers WHERE committed_at < clock_timestamp() - interval '1 hour';
    DELETE FROM log_queue WHERE place < (SELECT last_value FROM log_queue_place_seq) - 1000000;
  END IF;
  RETURN first;
END $body$""",
    # Leads at once where the lock is free; else puts the leaves into the queue and returns NULL.
    "filigrana_hand_over(bigint, bytea[])": """
CREATE FUNCTION filigrana_hand_over(mine bigint, own bytea[]) RETURNS bigint LANGUAGE plpgsql AS $body$
BEGIN
  IF pg_try_advisory_xact_lock(LOG_LOCK) THEN
    RETURN filigrana_lead(mine, own);
  END IF;
  INSERT INTO log_queue (handover, leaves) VALUES (mine, own);
  RETURN NULL;
END $body$""",
    # Waits for the lock: then the leaves are in already, or it is one's turn to lead.
    "filigrana_turn(bigint, bytea[])": """
CREATE FUNCTION filigrana_turn(mine bigint, own bytea[]) RETURNS bigint LANGUAGE plpgsql AS $body$
DECLARE first bigint;
BEGIN
  PERFORM pg_advisory_xact_lock(LOG_LOCK);
  SELECT first_seq INTO first FROM log_handovers WHERE handover = mine;
  IF first IS NOT NULL THEN
    RETURN first;
  END IF;
  RETURN filigrana_lead(mine, own);
END $body$""",
}


def upgrade() -> None:
    """SQLite has one writer at a time and one process's queue in front of it: nothing to hand over."""
    if op.get_bind().dialect.name != "postgresql":
        return
    # Unlogged: it costs no flush, and what a crash of the server empties was never acknowledged.
    op.create_table(
        "log_queue",
        sa.Column("place", sa.BigInteger(), sa.Identity(always=True)),
        sa.Column("handover", sa.BigInteger(), nullable=False),
        sa.Column("leaves", postgresql.ARRAY(sa.LargeBinary()), nullable=False),
        sa.PrimaryKeyConstraint("place", name="pk_log_queue"),
        sa.UniqueConstraint("handover", name="uq_log_queue_handover"),
        prefixes=["UNLOGGED"],
    )
    # Written with the entries, so that who lost its connection can ask what became of them.
    op.create_table(
        "log_handovers",
        sa.Column("handover", sa.BigInteger(), autoincrement=False),
        sa.Column("first_seq", sa.BigInteger(), nullable=False),
        sa.Column("committed_at", sa.DateTime(timezone=True), nullable=False),
        sa.PrimaryKeyConstraint("handover", name="pk_log_handovers"),
    )
    for body in FUNCTIONS.values():
        op.execute(body.replace("LOG_LOCK", str(LOG_LOCK)))
    found = sa.text("SELECT 1 FROM pg_roles WHERE rolname = :name")
    if op.get_bind().execute(found, {"name": WRITER}).first():
        op.execute(f"GRANT SELECT, INSERT, DELETE ON log_queue, log_handovers TO {WRITER}")
        op.execute(f"GRANT SELECT ON SEQUENCE log_queue_place_seq TO {WRITER}")


def downgrade() -> None:
    if op.get_bind().dialect.name == "postgresql":
        for signature in reversed(FUNCTIONS):
            op.execute(f"DROP FUNCTION {signature}")
        op.drop_table("log_handovers")
        op.drop_table("log_queue")
