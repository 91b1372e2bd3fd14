-- What both halves of the ledger share. Times are microseconds since the Unix epoch, UTC.

-- One row: whose ledger this is. Drawn here and never again.
CREATE TABLE ledger (incarnation uuid NOT NULL);
INSERT INTO ledger (incarnation) VALUES (gen_random_uuid());

-- The partitions of the tables that grow, and which times each spans: starts included, ends not.
CREATE TABLE partitions (
  parent text   NOT NULL,
  name   text   NOT NULL PRIMARY KEY,
  starts bigint NOT NULL,
  ends   bigint NOT NULL CHECK (starts < ends),
  UNIQUE (parent, starts)
);

-- Makes the partition in which a time lies, unless there is one; returns where it ends. It begins and ends on multiples
-- of `span`, but never within another: the span may have been another one before.
-- It is made beside its parent and then attached, which holds up nobody who reads or writes the parent.
CREATE FUNCTION cover(parent_table text, at bigint, span bigint) RETURNS bigint LANGUAGE plpgsql AS $$
DECLARE
  first bigint;
  beyond bigint;
  partition text;
BEGIN
  PERFORM pg_advisory_xact_lock(7233140, hashtext(parent_table || current_setting('search_path')));
  SELECT ends INTO beyond FROM partitions WHERE parent = parent_table AND starts <= at AND at < ends;
  IF FOUND THEN
    RETURN beyond;
  END IF;
  first := at - ((at % span) + span) % span;
  beyond := first + span;
  SELECT greatest(first, max(ends)) INTO first FROM partitions WHERE parent = parent_table AND ends <= at;
  SELECT least(beyond, min(starts)) INTO beyond FROM partitions WHERE parent = parent_table AND starts > at;
  partition := format('%s_%s', parent_table,
    to_char(to_timestamp(first / 1000000) AT TIME ZONE 'UTC', 'YYYYMMDD_HH24MISS'));
  -- Values of a few kilobytes stay in their row: twice as fast to write as in rows of their own beside it.
  EXECUTE format('CREATE TABLE %I (LIKE %I INCLUDING ALL) WITH (toast_tuple_target = 8160)',
    partition, parent_table);
  EXECUTE format('ALTER TABLE %I ATTACH PARTITION %I FOR VALUES FROM (%s) TO (%s)',
    parent_table, partition, first, beyond);
  INSERT INTO partitions (parent, name, starts, ends) VALUES (parent_table, partition, first, beyond);
  RETURN beyond;
END $$;

-- Drops a partition that was detached before.
CREATE FUNCTION drop_detached(partition text) RETURNS void LANGUAGE plpgsql AS $$
BEGIN
  EXECUTE format('DROP TABLE IF EXISTS %I', partition);
  DELETE FROM partitions WHERE name = partition;
END $$;
