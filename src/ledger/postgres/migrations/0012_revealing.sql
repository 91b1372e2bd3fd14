-- Which learnt secrets a person was shown, each once. Times are microseconds since the Unix epoch, UTC; words are bytea, UTF-8.
CREATE TABLE revealed_secrets (
  partner     bytea  NOT NULL,
  endpoint    bytea  NOT NULL,
  secret      bytea  NOT NULL,
  revealed_at bigint NOT NULL,
  PRIMARY KEY (partner, endpoint, secret)
);
