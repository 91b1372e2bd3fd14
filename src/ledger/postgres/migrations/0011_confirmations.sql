-- Links that handshakes ask to be visited (kind 4 of an entry). `state` is 0 open, 1 confirmed, 2 given up; the link itself
-- stays while it is open. Times are microseconds since the Unix epoch, UTC; words are bytea, UTF-8.
CREATE TABLE confirmations (
  number     bigint   PRIMARY KEY,
  id         uuid     NOT NULL,
  partner    bytea    NOT NULL,
  endpoint   bytea    NOT NULL,
  asked_at   bigint   NOT NULL,
  until      bigint   NOT NULL,
  link       bytea,
  state      smallint NOT NULL DEFAULT 0,
  tries      bigint   NOT NULL DEFAULT 0,
  tried_at   bigint,
  why        bytea
);
CREATE INDEX open_confirmations ON confirmations (number) WHERE state = 0;
CREATE INDEX confirmations_of_endpoints ON confirmations (partner, endpoint, number);
