-- Schema 6 of the embedded records: which learnt secrets a person was shown, each once.
CREATE TABLE revealed_secrets (
  partner     TEXT NOT NULL,
  endpoint    TEXT NOT NULL,
  secret      TEXT NOT NULL,
  revealed_at INTEGER NOT NULL,
  PRIMARY KEY (partner, endpoint, secret)
) STRICT, WITHOUT ROWID;
