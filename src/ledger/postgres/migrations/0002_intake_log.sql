-- The intake log. Numbers are given by batch: an entry's number is its batch's first and its place in it.

-- The last number given, when, and which times the partition spans that holds it. The one row that every append changes:
-- its page has room for the versions.
CREATE TABLE log_end (
  last        bigint NOT NULL,
  received_at bigint NOT NULL,
  starts      bigint NOT NULL,
  ends        bigint NOT NULL
) WITH (fillfactor = 10);
INSERT INTO log_end VALUES (0, -9223372036854775808, 0, 0);

-- The highest number in each partition (by where it starts) that no longer holds the last: noted when the log turns to
-- another, which is once a partition and a few times more where clocks disagree.
CREATE TABLE log_turns (starts bigint PRIMARY KEY, last bigint NOT NULL);

-- The first number still kept.
CREATE TABLE log_start (first bigint NOT NULL);
INSERT INTO log_start VALUES (1);

-- Which numbers each batch has, and where its entries are: `written_at` (what the writer's clock said, which decides the
-- partition) and `batch` (drawn by the writer) name it.
CREATE TABLE log_batches (
  last        bigint PRIMARY KEY,
  first       bigint NOT NULL CHECK (first <= last),
  received_at bigint NOT NULL,   -- never decreases along the log
  written_at  bigint NOT NULL,
  batch       bigint NOT NULL,
  bytes       bigint NOT NULL    -- of metadata and bodies
);

-- `checksum` is the CRC-32C of batch, place, length of the metadata, metadata and body. Nothing is compressed: to do so
-- on the road to the 2xx costs more than the space it saves.
CREATE TABLE log_entries (
  written_at bigint NOT NULL,
  batch      bigint NOT NULL,
  place      int    NOT NULL,    -- from 1
  checksum   bigint NOT NULL,
  meta       bytea  NOT NULL,
  body       bytea  NOT NULL,
  PRIMARY KEY (written_at, batch, place)
) PARTITION BY RANGE (written_at);
ALTER TABLE log_entries ALTER meta SET STORAGE EXTERNAL, ALTER body SET STORAGE EXTERNAL;

-- Keeps a batch. Rows first, beside whoever else appends; then the number, whose one lock is held from there through the
-- commit and by nobody but this procedure. It commits by itself because a client could be stopped before the message that
-- would tell the server to: everything after it would wait. What it returns is committed.
CREATE PROCEDURE log_append(
  now bigint, batch_key bigint, size bigint, checksums bigint[], metas bytea[], bodies bytea[],
  INOUT first_given bigint, INOUT accepted_at bigint
) LANGUAGE plpgsql AS $$
DECLARE
  last_given bigint;
  run log_end;
BEGIN
  -- Each set stands in the list and not behind FROM, where it would be written out before it is read.
  INSERT INTO log_entries (written_at, batch, place, checksum, meta, body)
    SELECT now, batch_key, generate_subscripts(metas, 1), unnest(checksums), unnest(metas), unnest(bodies);
  UPDATE log_end SET last = last + cardinality(metas), received_at = greatest(received_at, now)
    RETURNING * INTO run;
  last_given := run.last;
  accepted_at := run.received_at;
  first_given := last_given - cardinality(metas) + 1;
  IF now < run.starts OR now >= run.ends THEN
    INSERT INTO log_turns (starts, last) SELECT run.starts, first_given - 1 WHERE first_given > 1
      ON CONFLICT (starts) DO UPDATE SET last = excluded.last;
    UPDATE log_end SET starts = partitions.starts, ends = partitions.ends FROM partitions
      WHERE partitions.parent = 'log_entries' AND partitions.starts <= now AND now < partitions.ends;
  END IF;
  INSERT INTO log_batches (last, first, received_at, written_at, batch, bytes)
    VALUES (last_given, first_given, accepted_at, now, batch_key, size);
  COMMIT;
END $$;
