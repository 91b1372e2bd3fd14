-- Sharing the work: which processes there are, and which of them works what. Only this server's clock says what is over.

-- A process that works a part of the ledger. What it holds lasts as long as its membership: to renew one is to renew all.
CREATE TABLE members (
  id         uuid        PRIMARY KEY,
  translates boolean     NOT NULL,   -- whether it takes endpoints
  brokers    bytea[]     NOT NULL,   -- the brokers it takes, by name
  expires_at timestamptz NOT NULL
);

-- What is held, and what a member held when it died. What was given up has no row.
CREATE TABLE leases (
  kind     smallint NOT NULL,   -- 0 endpoint, 1 broker
  resource int      NOT NULL,   -- its id
  holder   uuid,                -- NULL: it died
  epoch    bigint   NOT NULL,   -- the one it was taken by; no holder before had it
  PRIMARY KEY (kind, resource)
) WITH (fillfactor = 50);

-- Which member may work what.
CREATE VIEW workable AS
  SELECT 0::smallint AS kind, c.endpoint AS resource, m.id AS member FROM members m, cursors c WHERE m.translates
  UNION ALL
  SELECT 1::smallint, b.id, m.id FROM members m JOIN brokers b ON b.name = ANY (m.brokers);

-- The leases by name; a broker has no partner.
CREATE VIEW named_leases AS
  SELECT l.kind, l.resource, l.holder, l.epoch, COALESCE(e.partner, '') AS partner, COALESCE(e.endpoint, b.name) AS name
  FROM leases l LEFT JOIN endpoints e ON l.kind = 0 AND e.id = l.resource
  LEFT JOIN brokers b ON l.kind = 1 AND b.id = l.resource;

-- Makes endpoints known before their first entry: each has a cursor, and so can be leased. Nothing of a new one is in the
-- log yet, so its cursor begins at the end of it.
CREATE FUNCTION register_endpoints(partners bytea[], names bytea[]) RETURNS void LANGUAGE plpgsql AS $$
BEGIN
  INSERT INTO endpoints (partner, endpoint)
  SELECT w.partner, w.name FROM unnest(partners, names) AS w (partner, name)
  WHERE NOT EXISTS (SELECT FROM endpoints e WHERE e.partner = w.partner AND e.endpoint = w.name)
  ORDER BY w.partner, w.name ON CONFLICT DO NOTHING;
  INSERT INTO cursors (endpoint, through, epoch)
  SELECT e.id, (SELECT last FROM log_end), 0
  FROM unnest(partners, names) AS w (partner, name)
  JOIN endpoints e ON e.partner = w.partner AND e.endpoint = w.name
  ORDER BY e.id ON CONFLICT DO NOTHING;
END $$;

-- So many of a kind everybody gets who takes as much as this member does.
CREATE FUNCTION least_share(its_id uuid, its_kind smallint) RETURNS bigint LANGUAGE sql STABLE AS $$
  SELECT count(DISTINCT w.resource) / greatest(count(DISTINCT w.member), 1) FROM workable w
  WHERE w.kind = its_kind
    AND w.resource IN (SELECT m.resource FROM workable m WHERE m.kind = its_kind AND m.member = its_id);
$$;

-- A new epoch: from here on nobody commits by an older one. NULL while a commit is under way: it is taken another time, so
-- that a holder that was stopped in the middle of one delays nothing else.
CREATE FUNCTION raise_epoch(its_kind smallint, its_resource int) RETURNS bigint LANGUAGE plpgsql AS $$
DECLARE
  raised bigint;
BEGIN
  IF its_kind = 0 THEN
    UPDATE cursors c SET epoch = c.epoch + 1 WHERE c.endpoint =
      (SELECT k.endpoint FROM cursors k WHERE k.endpoint = its_resource FOR UPDATE SKIP LOCKED)
    RETURNING c.epoch INTO raised;
  ELSE
    UPDATE brokers b SET epoch = b.epoch + 1 WHERE b.id =
      (SELECT k.id FROM brokers k WHERE k.id = its_resource FOR UPDATE SKIP LOCKED)
    RETURNING b.epoch INTO raised;
  END IF;
  RETURN raised;
END $$;

-- Takes what nobody holds: up to the least share at once, and beyond it while nobody who could take the same holds less.
-- So nothing stays free for long, whatever each member takes. Returns how many of them were a dead member's.
CREATE FUNCTION take_leases(its_id uuid, its_kind smallint) RETURNS bigint LANGUAGE plpgsql AS $$
DECLARE
  own bigint := (SELECT count(*) FROM leases l WHERE l.holder = its_id AND l.kind = its_kind);
  share bigint := least_share(its_id, its_kind);
  inherited bigint := 0;
  raised bigint;
  it record;
BEGIN
  FOR it IN
    WITH o AS MATERIALIZED (
      SELECT m.id, count(l.resource) AS load FROM members m
      LEFT JOIN leases l ON l.holder = m.id AND l.kind = its_kind GROUP BY m.id)
    SELECT w.resource, min(o.load) FILTER (WHERE o.id <> its_id) AS lowest
    FROM workable w JOIN o ON o.id = w.member
    WHERE w.kind = its_kind AND NOT EXISTS (SELECT FROM leases l
      WHERE l.kind = w.kind AND l.resource = w.resource AND l.holder IS NOT NULL)
    GROUP BY w.resource HAVING bool_or(o.id = its_id) ORDER BY w.resource
  LOOP
    CONTINUE WHEN own >= share AND own > it.lowest;
    raised := raise_epoch(its_kind, it.resource);
    CONTINUE WHEN raised IS NULL;
    inherited := inherited + (SELECT count(*) FROM leases l WHERE l.kind = its_kind AND l.resource = it.resource);
    INSERT INTO leases (kind, resource, holder, epoch) VALUES (its_kind, it.resource, its_id, raised)
    ON CONFLICT (kind, resource) DO UPDATE SET holder = excluded.holder, epoch = excluded.epoch;
    own := own + 1;
  END LOOP;
  RETURN inherited;
END $$;

-- What a member should leave to another, who could work it and holds two less or fewer.
CREATE FUNCTION surplus_leases(its_id uuid, its_kind smallint) RETURNS SETOF int LANGUAGE plpgsql STABLE AS $$
DECLARE
  own bigint := (SELECT count(*) FROM leases l WHERE l.holder = its_id AND l.kind = its_kind);
  share bigint := least_share(its_id, its_kind);
  it record;
BEGIN
  FOR it IN
    WITH o AS MATERIALIZED (
      SELECT m.id, count(l.resource) AS load FROM members m
      LEFT JOIN leases l ON l.holder = m.id AND l.kind = its_kind GROUP BY m.id)
    SELECT l.resource, min(o.load) AS lowest FROM leases l
    JOIN workable w ON w.kind = l.kind AND w.resource = l.resource AND w.member <> its_id
    JOIN o ON o.id = w.member
    WHERE l.holder = its_id AND l.kind = its_kind GROUP BY l.resource ORDER BY l.resource DESC
  LOOP
    CONTINUE WHEN own <= share OR it.lowest > own - 2;
    RETURN NEXT it.resource;
    own := own - 1;
  END LOOP;
END $$;

-- A member says that it is alive, and gives up what it no longer works; it keeps the rest and takes its share. Returns all it
-- holds, and of that what it should stop to work and give up the next time. It commits by itself, because a client could
-- be stopped before the message that would tell the server to.
CREATE PROCEDURE renew_leases(
  its_id uuid, lasts bigint, can_translate boolean, its_brokers bytea[],
  given_partners bytea[], given_names bytea[], given_epochs bigint[],
  INOUT partners bytea[], INOUT names bytea[], INOUT epochs bigint[], INOUT spare boolean[], INOUT taken_over bigint
) LANGUAGE plpgsql AS $$
DECLARE
  moment timestamptz;
BEGIN
  -- One after another, so that nobody counts what another is taking.
  PERFORM pg_advisory_xact_lock(7233141, hashtext(current_setting('search_path')));
  moment := clock_timestamp();
  INSERT INTO members (id, translates, brokers, expires_at)
  VALUES (its_id, can_translate, its_brokers, moment + lasts * interval '1 microsecond')
  ON CONFLICT (id) DO UPDATE
  SET translates = excluded.translates, brokers = excluded.brokers, expires_at = excluded.expires_at;
  UPDATE leases l SET holder = NULL FROM members m WHERE m.id = l.holder AND m.expires_at < moment;
  DELETE FROM members m WHERE m.expires_at < moment;
  DELETE FROM leases l
  USING named_leases n JOIN unnest(given_partners, given_names, given_epochs) AS g (partner, name, epoch)
    ON n.partner = g.partner AND n.name = g.name AND n.epoch = g.epoch
  WHERE n.holder = its_id AND l.kind = n.kind AND l.resource = n.resource;
  taken_over := take_leases(its_id, 0::smallint) + take_leases(its_id, 1::smallint);
  SELECT array_agg(n.partner), array_agg(n.name), array_agg(n.epoch), array_agg(s.resource IS NOT NULL)
  INTO partners, names, epochs, spare
  FROM named_leases n LEFT JOIN (
    SELECT 0::smallint AS kind, r AS resource FROM surplus_leases(its_id, 0::smallint) r
    UNION ALL SELECT 1::smallint, r FROM surplus_leases(its_id, 1::smallint) r) s
  ON s.kind = n.kind AND s.resource = n.resource
  WHERE n.holder = its_id;
  COMMIT;
END $$;

-- A member gives up all it holds, and is no member any more.
CREATE PROCEDURE leave_leases(its_id uuid) LANGUAGE plpgsql AS $$
BEGIN
  PERFORM pg_advisory_xact_lock(7233141, hashtext(current_setting('search_path')));
  DELETE FROM leases l WHERE l.holder = its_id;
  DELETE FROM members m WHERE m.id = its_id;
  COMMIT;
END $$;
