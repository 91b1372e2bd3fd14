-- Keeps a batch as `log_append` does, which the release before calls; but the one lock, on the end of the log, is not held
-- while the disk or a standby is waited for. The first commit gives the number and does not wait; the second waits for all
-- that the server's log (WAL) holds until then, and so the batches of several writers share one sync. What is returned is
-- durable.
--
-- In between, others may read what is not. Nothing can come of that and outlast it: whatever they commit stands behind it
-- in the same WAL. And if the server loses it in a crash, every connection ends, and those made after it begin another tenure.
CREATE PROCEDURE append_batch(
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
  -- Until the first commit.
  PERFORM set_config('synchronous_commit', 'off', true);
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
  -- A commit waits only if it has written something: a message that nobody reads.
  PERFORM pg_logical_emit_message(true, 'douane', '');
  COMMIT;
END $$;
