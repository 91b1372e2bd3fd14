-- Schema 5 of the embedded records: links that handshakes ask to be visited (kind 4 of an entry). `state` is 0 open,
-- 1 confirmed, 2 given up; the link itself stays while it is open.
CREATE TABLE confirmations (
  number     INTEGER PRIMARY KEY,
  id         BLOB NOT NULL,
  partner    TEXT NOT NULL,
  endpoint   TEXT NOT NULL,
  asked_at   INTEGER NOT NULL,
  until      INTEGER NOT NULL,
  link       TEXT,
  state      INTEGER NOT NULL,
  tries      INTEGER NOT NULL,
  tried_at   INTEGER,
  why        TEXT
) STRICT;
CREATE INDEX open_confirmations ON confirmations (number) WHERE state = 0;
CREATE INDEX confirmations_of_endpoints ON confirmations (partner, endpoint, number);
