-- Times never decrease along the log, so an entry is found by its time through the numbers' own index; one by time cost every
-- entry as much as that. While processes of the release before run, their searches by time read whole partitions.
DROP INDEX entries_by_time;

-- Where a time begins: at `lowest` at the earliest, and at `highest` at the latest, the first entry that is known to be accepted
-- then or later, NULL when none is. Between the two lie damaged entries only, whose times are guesses. By halves.
CREATE FUNCTION entries_since(its_time bigint, OUT lowest bigint, OUT highest bigint) LANGUAGE plpgsql STABLE AS $$
DECLARE
  beyond bigint := 1 + COALESCE((SELECT e.number FROM entries e WHERE e.kind <> 2 ORDER BY e.number DESC LIMIT 1), 0);
  middle bigint;
  met record;
BEGIN
  lowest := COALESCE((SELECT e.number FROM entries e ORDER BY e.number LIMIT 1), 0);
  WHILE lowest < beyond LOOP
    middle := lowest + (beyond - lowest) / 2;
    SELECT e.number, e.received_at INTO met FROM entries e
    WHERE e.number >= middle AND e.number < beyond AND e.kind <> 2 ORDER BY e.number LIMIT 1;
    IF NOT FOUND THEN
      beyond := middle;
    ELSIF met.received_at < its_time THEN
      lowest := met.number + 1;
    ELSE
      highest := met.number;
      beyond := middle;
    END IF;
  END LOOP;
END $$;
