-- Processes that die at work: what the next one has to know, because what kills one may kill the next.

-- Endpoints whose holder fell silent while it had the lease, until somebody has worked what that may have been working.
CREATE TABLE suspected_endpoints (
  endpoint int PRIMARY KEY
);

-- What is tried alone, and how often a process did not come back from it. Written before each try, so it costs no fsync: what
-- ends a process leaves the server alone, and when that dies too one more process has to find out.
CREATE UNLOGGED TABLE suspects (
  number  bigint NOT NULL,
  ordinal int    NOT NULL,   -- its place in the delivery; -1: the reading of the delivery
  kills   int    NOT NULL,
  PRIMARY KEY (number, ordinal)
) WITH (fillfactor = 50);

CREATE FUNCTION suspect_endpoint() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
  INSERT INTO suspected_endpoints (endpoint) VALUES (OLD.resource) ON CONFLICT DO NOTHING;
  RETURN NULL;
END $$;

-- A trigger, so that it counts whichever release finds the death.
CREATE TRIGGER leases_of_the_dead AFTER UPDATE OF holder ON leases FOR EACH ROW
  WHEN (OLD.kind = 0 AND OLD.holder IS NOT NULL AND NEW.holder IS NULL) EXECUTE FUNCTION suspect_endpoint();

-- One try came back, the next one begins. Returns how often nobody came back from that; NULLs: there was none, there is none.
CREATE FUNCTION try_alone(done_number bigint, done_ordinal int, next_number bigint, next_ordinal int)
RETURNS int LANGUAGE plpgsql AS $$
DECLARE
  before int := 0;
BEGIN
  IF done_number IS NOT NULL THEN
    DELETE FROM suspects s WHERE s.number = done_number AND s.ordinal = done_ordinal AND s.kills <= 1;
    IF NOT FOUND THEN
      UPDATE suspects s SET kills = s.kills - 1 WHERE s.number = done_number AND s.ordinal = done_ordinal;
    END IF;
  END IF;
  IF next_number IS NOT NULL THEN
    INSERT INTO suspects AS s (number, ordinal, kills) VALUES (next_number, next_ordinal, 1)
    ON CONFLICT (number, ordinal) DO UPDATE SET kills = s.kills + 1 RETURNING s.kills - 1 INTO before;
  END IF;
  RETURN before;
END $$;

-- Endpoints were worked to where a process may have died, by whoever holds these epochs; nothing is held against these suspects.
CREATE FUNCTION absolve(
  partners bytea[], names bytea[], epochs bigint[], numbers bigint[], ordinals int[]
) RETURNS void LANGUAGE sql AS $$
  DELETE FROM suspected_endpoints d
  USING unnest(partners, names, epochs) AS w (partner, name, epoch), endpoints e, cursors c
  WHERE e.partner = w.partner AND e.endpoint = w.name AND c.endpoint = e.id AND c.epoch = w.epoch AND d.endpoint = e.id;
  DELETE FROM suspects s USING unnest(numbers, ordinals) AS w (number, ordinal)
  WHERE s.number = w.number AND s.ordinal = w.ordinal;
$$;
