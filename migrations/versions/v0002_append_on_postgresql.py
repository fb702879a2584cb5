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

OLDER = ("filigrana_append_only()", "filigrana_dense()")
PRIVATE = {
    "subject_keys": ("subject", "key"),
    "sealed_texts": ("subject", "nonce", "ciphertext", "commitment"),
    "tenant_keys": ("key",),
}
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
    # Under the lock: one's own leaves, and the given rows of the queue. Returns the first index of one's own.
    "filigrana_write(bigint, bytea[], bigint[])": """
CREATE FUNCTION filigrana_write(mine bigint, own bytea[], places bigint[]) RETURNS bigint LANGUAGE plpgsql AS $body$
DECLARE size bigint; grown bigint; first bigint;
BEGIN
  SELECT coalesce(max(seq) + 1, 0) INTO size FROM log_entries;
  WITH gone AS (
    DELETE FROM log_queue WHERE place = ANY (places) RETURNING place, handover, leaves),
  taken AS (
    SELECT 0::bigint AS place, mine AS handover, own AS leaves WHERE own IS NOT NULL
    -- A sender that lost its connection may have queued what it has sent again since, and what is in by now.
    UNION ALL SELECT place, handover, leaves FROM gone
      WHERE (own IS NULL OR handover <> mine)
        AND NOT EXISTS (SELECT 1 FROM log_handovers AS done WHERE done.handover = gone.handover)),
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
  RETURN first;
END $body$""",
    # Under the lock: with others' leaves where that works, without them where not.
    "filigrana_lead(bigint, bytea[])": """
CREATE FUNCTION filigrana_lead(mine bigint, own bytea[]) RETURNS bigint LANGUAGE plpgsql AS $body$
DECLARE first bigint; place_of_mine bigint; others bigint[]; newest bigint;
BEGIN
  SELECT last_value INTO newest FROM log_queue_place_seq;
  SELECT place INTO place_of_mine FROM log_queue WHERE handover = mine;
  -- Only the newest places: the rest of the index is rows that are long gone. And not more than 8 MiB of them.
  SELECT array_agg(place) INTO others FROM (
    SELECT place, bytes, sum(bytes) OVER (ORDER BY place) AS total FROM (
      SELECT place, bytes FROM log_queue
        WHERE place > newest - 4096 AND handover <> mine ORDER BY place LIMIT 32) AS few) AS summed
    WHERE total - bytes < 8388608;
  IF others IS NULL THEN
    first := filigrana_write(mine, own, ARRAY[place_of_mine]);
  ELSE
    BEGIN
      first := filigrana_write(mine, own, others || place_of_mine);
    EXCEPTION WHEN OTHERS THEN
      -- One of them cannot be written. Each sender, when its turn comes, finds its leaves gone and leads with them.
      DELETE FROM log_queue WHERE place = ANY (others);
      first := filigrana_write(mine, own, ARRAY[place_of_mine]);
    END;
  END IF;
  IF random() < 0.004 THEN
    -- Callers that lost their connection ask within a minute; what nobody waits for was never acknowledged.
    DELETE FROM log_handovers WHERE handover IN (
      SELECT handover FROM log_handovers WHERE committed_at < clock_timestamp() - interval '1 hour'
        ORDER BY committed_at LIMIT 5000);
    DELETE FROM log_queue WHERE place < newest - 1000000;
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
  INSERT INTO log_queue (handover, leaves, bytes)
    SELECT mine, own, sum(length(leaf)) FROM unnest(own) AS given (leaf);
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
        sa.Column("bytes", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("place", name="pk_log_queue"),
        sa.UniqueConstraint("handover", name="uq_log_queue_handover"),
        sa.CheckConstraint(
            "cardinality(leaves) > 0 AND array_position(leaves, NULL) IS NULL", name=op.f("ck_log_queue_leaves")
        ),
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
    op.create_index("ix_log_handovers_committed_at", "log_handovers", ["committed_at"])
    for body in FUNCTIONS.values():
        op.execute(body.replace("LOG_LOCK", str(LOG_LOCK)))
    # Without this, a temporary table of the same name would stand in for the log's own.
    schema = op.get_bind().execute(sa.text("SELECT quote_ident(current_schema())")).scalar()
    for signature in (*OLDER, *FUNCTIONS):
        op.execute(f"ALTER FUNCTION {signature} SET search_path = pg_catalog, {schema}, pg_temp")
    # What a column's statistics show of keys and names would outlive their erasure.
    for table, columns in PRIVATE.items():
        for column in columns:
            op.execute(f"ALTER TABLE {table} ALTER COLUMN {column} SET STATISTICS 0")
    found = sa.text("SELECT 1 FROM pg_roles WHERE rolname = :name")
    if op.get_bind().execute(found, {"name": WRITER}).first():
        op.execute(f"GRANT SELECT, INSERT, DELETE ON log_queue, log_handovers TO {WRITER}")
        op.execute(f"GRANT SELECT ON SEQUENCE log_queue_place_seq TO {WRITER}")
        for signature in (*OLDER, *FUNCTIONS):
            op.execute(f"GRANT EXECUTE ON FUNCTION {signature} TO {WRITER}")
        version = op.get_bind().execute(sa.text("SHOW server_version_num")).scalar()
        if int(version or 0) >= 170000:
            op.execute(f"GRANT MAINTAIN ON {', '.join(PRIVATE)} TO {WRITER}")  # to vacuum after an erasure


def downgrade() -> None:
    if op.get_bind().dialect.name == "postgresql":
        for signature in reversed(FUNCTIONS):
            op.execute(f"DROP FUNCTION {signature}")
        op.drop_table("log_handovers")
        op.drop_table("log_queue")
        for signature in OLDER:
            op.execute(f"ALTER FUNCTION {signature} RESET search_path")
