-- The records: what was made of the intake log, and what people and the system did. Times are microseconds since the
-- Unix epoch, UTC. A `place` is an external event's entry number << 16 | its ordinal.
--
-- Words are bytea, UTF-8: so a NUL or the database's encoding refuses nothing, and order and equality are those of bytes.
-- What grows lies in partitions by time, made by `cover`. A key begins with the number that rows are found by, and ends with
-- the time, because every unique index of a partitioned table must hold it.

-- Words that repeat on every row stand once. All three sets are bounded by configuration, not by what partners send.
CREATE TABLE endpoints (
  id       int   PRIMARY KEY GENERATED ALWAYS AS IDENTITY,
  partner  bytea NOT NULL,
  endpoint bytea NOT NULL,
  UNIQUE (partner, endpoint)
);
-- Where damaged entries came in: nobody knows.
INSERT INTO endpoints (id, partner, endpoint) OVERRIDING SYSTEM VALUE VALUES (0, '', '');
CREATE TABLE revisions (id int PRIMARY KEY GENERATED ALWAYS AS IDENTITY, revision bytea NOT NULL UNIQUE);
CREATE TABLE event_types (id int PRIMARY KEY GENERATED ALWAYS AS IDENTITY, name bytea NOT NULL UNIQUE);

-- Every worked entry of the intake log.
CREATE TABLE entries (
  number       bigint   NOT NULL,
  received_at  bigint   NOT NULL,   -- never decreases with the number, but for damaged entries
  endpoint     int      NOT NULL,
  kind         smallint NOT NULL,   -- 0 delivery, 1 replay request, 2 damaged
  assurance    smallint,            -- deliveries only, as secret, size, body_sha256 and same_body_as
  remembered   boolean  NOT NULL,   -- whether the same body is looked for
  identified   int      NOT NULL,   -- external events found in it: the left side of the second conservation law
  id           uuid,                -- the delivery's or the replay's; NULL when damaged
  size         bigint,
  same_body_as bigint,
  body_sha256  bytea,
  secret       bytea,
  PRIMARY KEY (number, received_at)
) PARTITION BY RANGE (received_at);
CREATE INDEX entries_by_time ON entries (received_at, number);
CREATE INDEX entries_by_endpoint ON entries (endpoint, number);
CREATE INDEX deliveries_by_id ON entries (id) WHERE kind = 0;
CREATE INDEX deliveries_by_body ON entries (body_sha256, number) WHERE remembered;

-- The numbers worked as damaged, each once: readers that meet the same damage guess different times, and a unique index
-- cannot span partitions.
CREATE TABLE damaged (number bigint PRIMARY KEY, received_at bigint NOT NULL);

-- Every external event with its latest outcome.
CREATE TABLE external_events (
  place           bigint   NOT NULL,
  received_at     bigint   NOT NULL,  -- as its entry's
  endpoint        int      NOT NULL,
  outcome         smallint NOT NULL,  -- 0 translated, 1 duplicate, 2 conflict, 3 ignored, 4 unmapped, 5 dead letter
  domain_events   int      NOT NULL,  -- how many it became by this outcome
  replays         int      NOT NULL,  -- how many outcomes were superseded
  revision        int,
  generation      bigint,             -- NULL unless it owns its external id
  owner           bigint,             -- the place it was a duplicate of or in conflict with
  external_id     bytea,
  event_type      bytea,              -- NULL when it could not be identified
  ordering_key    bytea,
  identity_digest bytea,
  reason          bytea,
  PRIMARY KEY (place, received_at)
) PARTITION BY RANGE (received_at);
-- Only those that own nothing: the others are found among the owners.
CREATE INDEX external_events_by_id ON external_events (external_id) WHERE generation IS NULL AND external_id IS NOT NULL;
CREATE INDEX external_events_by_outcome ON external_events (endpoint, outcome, place);
CREATE INDEX external_events_by_type ON external_events (endpoint, event_type, place) WHERE event_type IS NOT NULL;

-- The outcomes an event had before a replay changed it.
CREATE TABLE superseded (
  place         bigint   NOT NULL,
  received_at   bigint   NOT NULL,  -- as the event's, so that they go together
  replay        int      NOT NULL,  -- 1 for what the first replay superseded
  outcome       smallint NOT NULL,
  domain_events int      NOT NULL,
  revision      int,
  by            bigint   NOT NULL,  -- the number of the replay's entry
  reason        bytea,
  PRIMARY KEY (place, replay, received_at)
) PARTITION BY RANGE (received_at);

-- The owners of external ids: what verdicts ask, and searches. One table, because an id is looked for without its time; rows
-- may go when they are older than the partner's window and their events are gone, and not before.
CREATE TABLE owners (
  endpoint        int    NOT NULL,
  external_id     bytea  NOT NULL,
  place           bigint NOT NULL,
  received_at     bigint NOT NULL,
  generation      bigint NOT NULL,
  identity_digest bytea  NOT NULL,
  PRIMARY KEY (endpoint, external_id, place)
);

-- The feed.
CREATE TABLE domain_events (
  number        bigint NOT NULL,
  committed_at  bigint NOT NULL,
  event_type    int    NOT NULL,
  endpoint      int    NOT NULL,
  made_by       bigint NOT NULL,    -- the place whose outcome it is part of
  made_from     bigint NOT NULL,    -- the place it says that it was made from
  revision      int    NOT NULL,
  size          int    NOT NULL,    -- bytes of the body that is served
  repeats       bigint,             -- the number of the event whose body this one repeats
  id            bytea  NOT NULL,
  partition_key bytea  NOT NULL,
  brokers       bytea,              -- a JSON array; NULL: all
  body          bytea,              -- NULL when it repeats one
  PRIMARY KEY (number, committed_at)
) PARTITION BY RANGE (committed_at);
CREATE INDEX domain_events_by_place ON domain_events (made_by, number);
CREATE INDEX domain_events_by_type ON domain_events (event_type, number);
CREATE INDEX domain_events_by_endpoint ON domain_events (endpoint, number);

-- The highest number of a domain event. Its row is locked from the moment a commit takes its numbers until that commit
-- ends, so numbers become visible in order and none is skipped.
CREATE TABLE event_counter (last bigint NOT NULL) WITH (fillfactor = 10);
INSERT INTO event_counter (last) VALUES (0);

-- How far each endpoint has been worked, and by leave of which epoch.
CREATE TABLE cursors (
  endpoint int    PRIMARY KEY,
  through  bigint NOT NULL,
  epoch    bigint NOT NULL
) WITH (fillfactor = 50);

CREATE TABLE brokers (
  id      int    PRIMARY KEY GENERATED ALWAYS AS IDENTITY,
  through bigint NOT NULL,
  epoch   bigint NOT NULL DEFAULT 0,
  name    bytea  NOT NULL UNIQUE
) WITH (fillfactor = 50);
CREATE TABLE publications (
  event        bigint NOT NULL,
  committed_at bigint NOT NULL,     -- as the event's, so that they go together; 0 when the event is gone
  broker       int    NOT NULL,
  position     bytea,               -- the broker's own words; NULL when it refused the event
  refused      bytea,               -- why it refused it
  PRIMARY KEY (event, broker, committed_at)
) PARTITION BY RANGE (committed_at);
CREATE TABLE publications_of_what_is_gone PARTITION OF publications FOR VALUES FROM (MINVALUE) TO (1);
CREATE INDEX refused_publications ON publications (event, broker) WHERE refused IS NOT NULL;

CREATE SEQUENCE journal_numbers;
CREATE TABLE journal (
  number  bigint NOT NULL,
  at      bigint NOT NULL,
  who     bytea  NOT NULL,
  act     bytea  NOT NULL,
  subject bytea  NOT NULL,
  detail  bytea  NOT NULL,          -- a JSON object
  PRIMARY KEY (number, at)
) PARTITION BY RANGE (at);

-- Not partitioned: only so many are kept.
CREATE TABLE refusals (
  number   bigint PRIMARY KEY GENERATED ALWAYS AS IDENTITY,
  at       bigint NOT NULL,
  size     bigint NOT NULL,
  status   int    NOT NULL,
  partner  bytea  NOT NULL,
  endpoint bytea  NOT NULL,
  code     bytea  NOT NULL,
  detail   bytea  NOT NULL,
  peer     bytea
);
CREATE INDEX refusals_by_endpoint ON refusals (partner, endpoint, number);

CREATE TABLE tokens (
  name       bytea  PRIMARY KEY,
  role       bytea  NOT NULL,
  sha256     bytea  NOT NULL,
  created_at bigint NOT NULL,
  revoked_at bigint
);

CREATE TABLE desks (
  partner  bytea  NOT NULL,
  revision bytea  NOT NULL,
  sources  bytea  NOT NULL,
  kept_at  bigint NOT NULL,
  PRIMARY KEY (partner, revision)
);
CREATE TABLE latest_desks (partner bytea PRIMARY KEY, revision bytea NOT NULL);

-- Through which number retention may drop payloads.
CREATE TABLE retention (dropped_through bigint NOT NULL);
INSERT INTO retention (dropped_through) VALUES (0);

-- What follows are the steps of one transaction of stage 1, in this order. DO001 says that the commit is behind, DO002 that
-- its data is refused.

-- Moves cursors, which never go back, and only by leave of the present epoch.
CREATE FUNCTION advance_cursors(its_endpoints int[], throughs bigint[], epochs bigint[]) RETURNS void
LANGUAGE plpgsql AS $$
DECLARE
  moved bigint;
BEGIN
  -- In one order everywhere, so that no two commits wait for each other.
  INSERT INTO cursors AS known (endpoint, through, epoch)
  SELECT * FROM unnest(its_endpoints, throughs, epochs) AS w (endpoint, through, epoch) ORDER BY w.endpoint
  ON CONFLICT (endpoint) DO UPDATE SET through = excluded.through
  WHERE excluded.through >= known.through AND excluded.epoch = known.epoch;
  GET DIAGNOSTICS moved = ROW_COUNT;
  IF moved < cardinality(its_endpoints) THEN
    RAISE EXCEPTION 'the cursor of an endpoint is beyond, or another process has its lease' USING ERRCODE = 'DO001';
  END IF;
END $$;

CREATE FUNCTION keep_entries(
  numbers bigint[], kinds smallint[], times bigint[], its_endpoints int[], ids uuid[], counts int[],
  assurances smallint[], secrets bytea[], sizes bigint[], bodies bytea[], same_bodies bigint[], remember boolean[]
) RETURNS void LANGUAGE plpgsql AS $$
BEGIN
  -- Not ON CONFLICT: that costs half as much again for every row.
  INSERT INTO entries (number, kind, received_at, endpoint, id, identified, assurance, secret, size, body_sha256,
    same_body_as, remembered)
  SELECT * FROM unnest(numbers, kinds, times, its_endpoints, ids, counts, assurances, secrets, sizes, bodies,
    same_bodies, remember);
  IF EXISTS (SELECT FROM damaged WHERE number = ANY (numbers)) THEN
    RAISE EXCEPTION 'a damaged entry was already worked' USING ERRCODE = 'DO001';
  END IF;
EXCEPTION WHEN unique_violation THEN
  RAISE EXCEPTION 'an entry was already worked' USING ERRCODE = 'DO001';
END $$;

CREATE FUNCTION keep_events(
  places bigint[], times bigint[], its_endpoints int[], external_ids bytea[], event_types bytea[],
  ordering_keys bytea[], digests bytea[], generations bigint[], its_owners bigint[], outcomes smallint[],
  reasons bytea[], its_revisions int[], counts int[]
) RETURNS void LANGUAGE plpgsql AS $$
BEGIN
  INSERT INTO external_events (place, received_at, endpoint, external_id, event_type, ordering_key, identity_digest,
    generation, owner, outcome, reason, revision, domain_events, replays)
  SELECT w.*, 0 FROM unnest(places, times, its_endpoints, external_ids, event_types, ordering_keys, digests,
    generations, its_owners, outcomes, reasons, its_revisions, counts) AS w;
  INSERT INTO owners (place, received_at, endpoint, external_id, identity_digest, generation)
  SELECT * FROM unnest(places, times, its_endpoints, external_ids, digests, generations)
    AS w (place, received_at, endpoint, external_id, identity_digest, generation)
  WHERE w.external_id IS NOT NULL AND w.generation IS NOT NULL;
END $$;

-- Whoever comes first works damage; for all others it is done.
CREATE FUNCTION keep_damage(
  numbers bigint[], times bigint[], counts int[], places bigint[], outcomes smallint[], reasons bytea[]
) RETURNS void LANGUAGE plpgsql AS $$
DECLARE
  w record;
BEGIN
  FOR w IN SELECT * FROM unnest(numbers, times, counts) AS w (number, received_at, identified) LOOP
    CONTINUE WHEN EXISTS (SELECT FROM entries e WHERE e.number = w.number);
    INSERT INTO damaged (number, received_at) VALUES (w.number, w.received_at) ON CONFLICT DO NOTHING;
    CONTINUE WHEN NOT FOUND;
    INSERT INTO entries (number, kind, received_at, endpoint, identified, remembered)
    VALUES (w.number, 2, w.received_at, 0, w.identified, false);
    INSERT INTO external_events (place, received_at, endpoint, outcome, reason, domain_events, replays)
    SELECT e.place, w.received_at, 0, e.outcome, e.reason, 0, 0
    FROM unnest(places, outcomes, reasons) AS e (place, outcome, reason) WHERE e.place >> 16 = w.number;
  END LOOP;
END $$;

-- Gives earlier events a new outcome, one after another: a replay may name a place twice. A place that has no row yet gets
-- one. What was identified stays, but where nothing was, or where the event claims its id only now.
CREATE FUNCTION work_again(
  bys bigint[], identified boolean[], places bigint[], its_endpoints int[], external_ids bytea[], event_types bytea[],
  ordering_keys bytea[], digests bytea[], generations bigint[], its_owners bigint[], outcomes smallint[],
  reasons bytea[], its_revisions int[], counts int[]
) RETURNS void LANGUAGE plpgsql AS $$
DECLARE
  w record;
  was external_events;
  at bigint;
BEGIN
  FOR w IN SELECT * FROM unnest(bys, identified, places, its_endpoints, external_ids, event_types, ordering_keys,
    digests, generations, its_owners, outcomes, reasons, its_revisions, counts)
    AS w (work, identified, place, endpoint, external_id, event_type, ordering_key, identity_digest, generation, owner,
      outcome, reason, revision, domain_events)
  LOOP
    SELECT * INTO was FROM external_events e WHERE e.place = w.place FOR UPDATE;
    IF NOT FOUND THEN
      UPDATE entries e SET identified = e.identified + 1 WHERE e.number = w.place >> 16 AND e.kind = 0
      RETURNING e.received_at INTO at;
      IF NOT FOUND THEN
        RAISE EXCEPTION '%.% is not a place of a worked delivery', w.place >> 16, w.place & 65535
        USING ERRCODE = 'DO002';
      END IF;
      PERFORM keep_events(ARRAY[w.place], ARRAY[at], ARRAY[w.endpoint], ARRAY[w.external_id], ARRAY[w.event_type],
        ARRAY[w.ordering_key], ARRAY[w.identity_digest], ARRAY[w.generation], ARRAY[w.owner], ARRAY[w.outcome],
        ARRAY[w.reason], ARRAY[w.revision], ARRAY[w.domain_events]);
      CONTINUE;
    END IF;
    INSERT INTO superseded (place, received_at, replay, by, outcome, reason, revision, domain_events)
    VALUES (was.place, was.received_at, was.replays + 1, w.work, was.outcome, was.reason, was.revision,
      was.domain_events);
    UPDATE external_events e SET outcome = w.outcome, reason = w.reason, revision = w.revision,
      domain_events = w.domain_events, owner = COALESCE(w.owner, e.owner), replays = e.replays + 1
    WHERE e.place = was.place AND e.received_at = was.received_at;
    CONTINUE WHEN NOT w.identified OR (was.external_id IS NOT NULL AND w.generation IS NULL);
    UPDATE external_events e SET external_id = w.external_id, event_type = w.event_type,
      ordering_key = w.ordering_key, identity_digest = w.identity_digest, generation = w.generation
    WHERE e.place = was.place AND e.received_at = was.received_at;
    DELETE FROM owners o
    WHERE o.endpoint = was.endpoint AND o.external_id = was.external_id AND o.place = was.place;
    INSERT INTO owners (endpoint, external_id, place, received_at, generation, identity_digest)
    SELECT was.endpoint, w.external_id, was.place, was.received_at, w.generation, w.identity_digest
    WHERE w.external_id IS NOT NULL AND w.generation IS NOT NULL;
  END LOOP;
END $$;

-- Numbers domain events in the order given, the last step before COMMIT. Returns the highest number.
CREATE FUNCTION keep_domain_events(
  at bigint, ids bytea[], types int[], partition_keys bytea[], its_endpoints int[], made_bys bigint[],
  made_froms bigint[], its_revisions int[], for_brokers bytea[], its_repeats bigint[], sizes int[], bodies bytea[]
) RETURNS bigint LANGUAGE plpgsql AS $$
DECLARE
  count bigint := cardinality(ids);
  highest bigint;
BEGIN
  IF count = 0 THEN
    RETURN (SELECT last FROM event_counter);
  END IF;
  UPDATE event_counter SET last = last + count RETURNING last INTO highest;
  INSERT INTO domain_events (number, committed_at, id, event_type, partition_key, endpoint, made_by, made_from,
    revision, brokers, repeats, size, body)
  SELECT highest - count + w.nth, at, w.id, w.type, w.partition_key, w.endpoint, w.made_by, w.made_from, w.revision,
    w.brokers, w.repeats, w.size, w.body
  FROM unnest(ids, types, partition_keys, its_endpoints, made_bys, made_froms, its_revisions, for_brokers,
    its_repeats, sizes, bodies) WITH ORDINALITY
    AS w (id, type, partition_key, endpoint, made_by, made_from, revision, brokers, repeats, size, body, nth);
  RETURN highest;
END $$;

-- The transaction of stage 2: notes where a broker put events, and moves its cursor. False when nobody knows the broker.
CREATE FUNCTION note_publications(
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
  INSERT INTO publications (event, committed_at, broker, position, refused)
  SELECT w.event, COALESCE(d.committed_at, 0), its_id, w.position, w.refused
  FROM (SELECT DISTINCT ON (w.event) * FROM unnest(events, positions, refusals) WITH ORDINALITY
    AS w (event, position, refused, nth) ORDER BY w.event, w.nth DESC) w
  LEFT JOIN (SELECT e.number, e.committed_at FROM domain_events e
    WHERE e.number BETWEEN (SELECT min(n) FROM unnest(events) n) AND (SELECT max(n) FROM unnest(events) n)) d
    ON d.number = w.event
  ON CONFLICT (event, broker, committed_at) DO UPDATE SET position = excluded.position, refused = excluded.refused;
  RETURN true;
END $$;

-- Keeps refusals, the latest `keep` of each endpoint and `most` in all. One process at a time, so that no two wait for each
-- other's rows.
CREATE FUNCTION keep_refusals(
  times bigint[], partners bytea[], its_endpoints bytea[], codes bytea[], statuses int[], details bytea[],
  peers bytea[], sizes bigint[], keep bigint, most bigint
) RETURNS void LANGUAGE plpgsql AS $$
BEGIN
  LOCK TABLE refusals IN SHARE ROW EXCLUSIVE MODE;
  INSERT INTO refusals (at, partner, endpoint, code, status, detail, peer, size)
  SELECT w.* FROM unnest(times, partners, its_endpoints, codes, statuses, details, peers, sizes) AS w;
  WITH n AS MATERIALIZED (
    SELECT d.partner, d.endpoint, (SELECT o.number FROM refusals o
      WHERE o.partner = d.partner AND o.endpoint = d.endpoint ORDER BY o.number DESC LIMIT 1 OFFSET keep) AS through
    FROM (SELECT DISTINCT w.partner, w.endpoint FROM unnest(partners, its_endpoints) AS w (partner, endpoint)) d)
  DELETE FROM refusals r USING n
  WHERE r.partner = n.partner AND r.endpoint = n.endpoint AND r.number <= n.through;
  DELETE FROM refusals r WHERE r.number <= (SELECT o.number FROM refusals o ORDER BY o.number DESC LIMIT 1 OFFSET most);
END $$;
