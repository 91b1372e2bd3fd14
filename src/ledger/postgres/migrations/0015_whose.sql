-- A batch says whose its entries are: a process that works some endpoints reads their entries and nothing else.

-- For each place, in order: `endpoints`, the first eight bytes of the SHA-256 of `partner/endpoint`; `lengths`, the bytes of
-- metadata and body. `whose_checksum`: the CRC-32C of the batch's key and of these. NULL in batches of the release before:
-- those are read whole.
ALTER TABLE log_batches ADD COLUMN endpoints bigint[], ADD COLUMN lengths int[], ADD COLUMN whose_checksum bigint;

-- As `append_batch`, which the release before calls, and with whose its entries are.
CREATE PROCEDURE append_entries(
  now bigint, batch_key bigint, size bigint, whose bigint[], lengths int[], whose_checksum bigint,
  checksums bigint[], metas bytea[], bodies bytea[], INOUT first_given bigint, INOUT accepted_at bigint
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
  INSERT INTO log_batches (last, first, received_at, written_at, batch, bytes, endpoints, lengths, whose_checksum)
    VALUES (last_given, first_given, accepted_at, now, batch_key, size, whose, lengths, whose_checksum);
  COMMIT;
  -- A commit waits only if it has written something: a message that nobody reads.
  PERFORM pg_logical_emit_message(true, 'douane', '');
  COMMIT;
END $$;
