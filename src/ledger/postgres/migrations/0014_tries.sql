-- A try that is told again, because the answer to it was lost, is the same try.

-- The tries among `kills` that were told with an id; the release before tells none.
ALTER TABLE suspects ADD COLUMN tries bigint[] NOT NULL DEFAULT '{}';

-- As `try_alone`, which the release before calls; but told twice it does no more than once.
CREATE FUNCTION note_try(
  done_number bigint, done_ordinal int, done_id bigint, next_number bigint, next_ordinal int, next_id bigint
) RETURNS int LANGUAGE plpgsql AS $$
DECLARE
  before int := 0;
BEGIN
  IF done_number IS NOT NULL THEN
    DELETE FROM suspects s WHERE s.number = done_number AND s.ordinal = done_ordinal
      AND done_id = ANY (s.tries) AND s.kills <= 1;
    IF NOT FOUND THEN
      UPDATE suspects s SET kills = s.kills - 1, tries = array_remove(s.tries, done_id)
        WHERE s.number = done_number AND s.ordinal = done_ordinal AND done_id = ANY (s.tries);
    END IF;
  END IF;
  IF next_number IS NOT NULL THEN
    INSERT INTO suspects AS s (number, ordinal, kills, tries) VALUES (next_number, next_ordinal, 1, ARRAY[next_id])
    ON CONFLICT (number, ordinal) DO UPDATE SET
      kills = s.kills + (next_id <> ALL (s.tries))::int,
      tries = array_remove(s.tries, next_id) || next_id
    RETURNING s.kills - 1 INTO before;
  END IF;
  RETURN before;
END $$;
