-- Schema 1 of the embedded records. Times are microseconds since the Unix epoch, UTC.
-- A `place` is an external event's entry number << 16 | its ordinal, so that a delivery's events stand together.

CREATE TABLE ledger (incarnation BLOB NOT NULL) STRICT;

-- Words that repeat on every row stand once. All three sets are bounded by configuration, not by what partners send.
CREATE TABLE endpoints (
  id       INTEGER PRIMARY KEY,
  partner  TEXT NOT NULL,
  endpoint TEXT NOT NULL,
  UNIQUE (partner, endpoint)
) STRICT;
CREATE TABLE revisions (id INTEGER PRIMARY KEY, revision TEXT NOT NULL UNIQUE) STRICT;
CREATE TABLE event_types (id INTEGER PRIMARY KEY, name TEXT NOT NULL UNIQUE) STRICT;

-- Every worked entry of the intake log.
CREATE TABLE entries (
  number       INTEGER PRIMARY KEY,
  kind         INTEGER NOT NULL,   -- 0 delivery, 1 replay request, 2 damaged
  received_at  INTEGER NOT NULL,   -- never decreases with the number, so a time is found by bisection, without an index
  endpoint     INTEGER,            -- NULL when damaged
  id           BLOB,               -- the delivery's or the replay's; NULL when damaged
  events       INTEGER NOT NULL,   -- external events identified in it: the left side of the second conservation law
  assurance    INTEGER,            -- from here on: deliveries only
  secret       TEXT,
  size         INTEGER,
  body_sha256  BLOB,
  same_body_as INTEGER
) STRICT;
CREATE INDEX deliveries_by_id ON entries (id) WHERE kind = 0;

-- Every external event with its latest outcome.
CREATE TABLE external_events (
  place           INTEGER PRIMARY KEY,
  endpoint        INTEGER,           -- NULL when damaged
  external_id     TEXT,
  event_type      TEXT,              -- NULL when it could not be identified
  ordering_key    TEXT,
  identity_digest BLOB,
  generation      INTEGER,           -- NULL unless it owns its external id
  owner           INTEGER,           -- the place it was a duplicate of or in conflict with
  outcome         INTEGER NOT NULL,  -- 0 translated, 1 duplicate, 2 conflict, 3 ignored, 4 unmapped, 5 dead letter
  reason          TEXT,
  revision        INTEGER,
  first_event     INTEGER,           -- its domain events are numbered first_event, first_event + 1, …
  domain_events   INTEGER NOT NULL,
  replays         INTEGER NOT NULL   -- how many outcomes were superseded
) STRICT;
CREATE INDEX not_translated ON external_events (outcome, place) WHERE outcome <> 0;

-- The outcomes an event had before a replay changed it.
CREATE TABLE superseded (
  place         INTEGER NOT NULL,
  replay        INTEGER NOT NULL,  -- 1 for what the first replay superseded
  by            INTEGER NOT NULL,  -- the number of the replay's entry
  outcome       INTEGER NOT NULL,
  reason        TEXT,
  revision      INTEGER,
  first_event   INTEGER,
  domain_events INTEGER NOT NULL,
  PRIMARY KEY (place, replay)
) STRICT, WITHOUT ROWID;

-- Where an external id (kind 0: any event, 1: an owner) or a body (kind 2) was seen, by hash: see seen.rs.
CREATE TABLE seen (
  hash  INTEGER NOT NULL,
  kind  INTEGER NOT NULL,
  place INTEGER NOT NULL,
  PRIMARY KEY (hash, kind, place)
) STRICT, WITHOUT ROWID;
CREATE TABLE seen_recently (
  sequence INTEGER PRIMARY KEY,
  hash     INTEGER NOT NULL,
  kind     INTEGER NOT NULL,
  place    INTEGER NOT NULL
) STRICT;

-- The feed.
CREATE TABLE domain_events (
  number        INTEGER PRIMARY KEY,
  id            TEXT NOT NULL,
  event_type    INTEGER NOT NULL,
  partition_key TEXT NOT NULL,
  endpoint      INTEGER NOT NULL,
  made_from     INTEGER NOT NULL,  -- a place
  revision      INTEGER NOT NULL,
  brokers       TEXT,              -- a JSON array; NULL: all
  repeats       INTEGER,           -- the number of the event whose body this one repeats
  body          BLOB               -- NULL when it repeats one
) STRICT;

CREATE TABLE cursors (endpoint INTEGER PRIMARY KEY, through INTEGER NOT NULL) STRICT;

CREATE TABLE brokers (id INTEGER PRIMARY KEY, name TEXT NOT NULL UNIQUE, through INTEGER NOT NULL) STRICT;
CREATE TABLE publications (
  broker   INTEGER NOT NULL,
  event    INTEGER NOT NULL,
  position TEXT,                   -- the broker's own words; NULL when it refused the event
  refused  TEXT,                   -- why it refused it
  PRIMARY KEY (broker, event)
) STRICT, WITHOUT ROWID;
CREATE INDEX refused_publications ON publications (event, broker) WHERE refused IS NOT NULL;

CREATE TABLE journal (
  number  INTEGER PRIMARY KEY AUTOINCREMENT,
  at      INTEGER NOT NULL,
  who     TEXT NOT NULL,
  act     TEXT NOT NULL,
  subject TEXT NOT NULL,
  detail  TEXT NOT NULL            -- a JSON object
) STRICT;

CREATE TABLE refusals (
  number   INTEGER PRIMARY KEY AUTOINCREMENT,
  at       INTEGER NOT NULL,
  partner  TEXT NOT NULL,
  endpoint TEXT NOT NULL,
  code     TEXT NOT NULL,
  status   INTEGER NOT NULL,
  detail   TEXT NOT NULL,
  peer     TEXT,
  size     INTEGER NOT NULL
) STRICT;
CREATE INDEX refusals_by_endpoint ON refusals (partner, endpoint, number);

CREATE TABLE tokens (
  name       TEXT PRIMARY KEY,
  role       TEXT NOT NULL,
  sha256     TEXT NOT NULL,
  created_at INTEGER NOT NULL,
  revoked_at INTEGER
) STRICT;

CREATE TABLE desks (
  partner  TEXT NOT NULL,
  revision TEXT NOT NULL,
  sources  BLOB NOT NULL,
  kept_at  INTEGER NOT NULL,
  PRIMARY KEY (partner, revision)
) STRICT;
CREATE TABLE latest_desks (partner TEXT PRIMARY KEY, revision TEXT NOT NULL) STRICT;
