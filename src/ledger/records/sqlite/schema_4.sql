-- Schema 4 of the embedded records: secrets that partners teach in handshakes (kind 3 of an entry), and refusals that
-- can be asked for by the id their answer named.
CREATE TABLE armed_endpoints (
  partner     TEXT NOT NULL,
  endpoint    TEXT NOT NULL,
  armed_until INTEGER NOT NULL,
  PRIMARY KEY (partner, endpoint)
) STRICT, WITHOUT ROWID;

-- A copy of what stands in the intake log, which may drop its entries. `sealed` is what the sealing key alone opens.
CREATE TABLE learnt_secrets (
  number     INTEGER PRIMARY KEY,
  learnt_at  INTEGER NOT NULL,
  id         BLOB NOT NULL,
  partner    TEXT NOT NULL,
  endpoint   TEXT NOT NULL,
  secret     TEXT NOT NULL,
  sealed     TEXT NOT NULL
) STRICT;

ALTER TABLE refusals ADD COLUMN request TEXT;
