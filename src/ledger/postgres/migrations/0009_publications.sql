-- Notes where a broker put events, as `note_publications` does, which the release before calls; but hardly ever is an event
-- noted twice, and to be ready for it costs every row half as much again. So it is made ready for when it happens.
CREATE FUNCTION note_placements(
  its_name bytea, cursor bigint, its_epoch bigint, events bigint[], positions bytea[], refusals bytea[]
) RETURNS boolean LANGUAGE plpgsql AS $$
DECLARE
  its_id int;
BEGIN
  UPDATE brokers b SET through = cursor
  WHERE b.name = its_name AND b.through <= cursor AND b.epoch = its_epoch RETURNING b.id INTO its_id;
  IF NOT FOUND THEN
    IF NOT EXISTS (SELECT FROM brokers b WHERE b.name = its_name) THEN
      RETURN false;
    END IF;
    RAISE EXCEPTION 'the cursor of the broker is beyond, or another process has its lease' USING ERRCODE = 'DO001';
  END IF;
  BEGIN
    INSERT INTO publications (event, committed_at, broker, position, refused)
    SELECT w.event, COALESCE(d.committed_at, 0), its_id, w.position, w.refused
    FROM unnest(events, positions, refusals) AS w (event, position, refused)
    LEFT JOIN (SELECT e.number, e.committed_at FROM domain_events e
      WHERE e.number BETWEEN (SELECT min(n) FROM unnest(events) n) AND (SELECT max(n) FROM unnest(events) n)) d
      ON d.number = w.event;
    RETURN true;
  EXCEPTION WHEN unique_violation THEN
    -- What was inserted is undone. The cursor stands where the older function puts it again.
    RETURN note_publications(its_name, cursor, its_epoch, events, positions, refusals);
  END;
END $$;
