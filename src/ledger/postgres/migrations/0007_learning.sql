-- Secrets that partners teach in handshakes (kind 3 of an entry), and refusals that can be asked for by the id their
-- answer named. Times are microseconds since the Unix epoch, UTC; words are bytea, UTF-8.
CREATE TABLE armed_endpoints (
  partner     bytea  NOT NULL,
  endpoint    bytea  NOT NULL,
  armed_until bigint NOT NULL,
  PRIMARY KEY (partner, endpoint)
);

-- A copy of what stands in the intake log, which may drop its entries. `sealed` is what the sealing key alone opens.
CREATE TABLE learnt_secrets (
  number     bigint PRIMARY KEY,
  learnt_at  bigint NOT NULL,
  id         uuid   NOT NULL,
  partner    bytea  NOT NULL,
  endpoint   bytea  NOT NULL,
  secret     bytea  NOT NULL,
  sealed     bytea  NOT NULL
);

CREATE FUNCTION keep_learnt_secrets(
  numbers bigint[], times bigint[], ids uuid[], partners bytea[], its_endpoints bytea[], secrets bytea[], seals bytea[]
) RETURNS void LANGUAGE sql AS $$
  INSERT INTO learnt_secrets (number, learnt_at, id, partner, endpoint, secret, sealed)
  SELECT w.* FROM unnest(numbers, times, ids, partners, its_endpoints, secrets, seals) AS w;
$$;

ALTER TABLE refusals ADD COLUMN request bytea;

CREATE FUNCTION keep_named_refusals(
  times bigint[], partners bytea[], its_endpoints bytea[], codes bytea[], statuses int[], details bytea[],
  peers bytea[], sizes bigint[], requests bytea[], keep bigint, most bigint
) RETURNS void LANGUAGE plpgsql AS $$
BEGIN
  LOCK TABLE refusals IN SHARE ROW EXCLUSIVE MODE;
  INSERT INTO refusals (at, partner, endpoint, code, status, detail, peer, size, request)
  SELECT w.* FROM unnest(times, partners, its_endpoints, codes, statuses, details, peers, sizes, requests) AS w;
  WITH n AS MATERIALIZED (
    SELECT d.partner, d.endpoint, (SELECT o.number FROM refusals o
      WHERE o.partner = d.partner AND o.endpoint = d.endpoint ORDER BY o.number DESC LIMIT 1 OFFSET keep) AS through
    FROM (SELECT DISTINCT w.partner, w.endpoint FROM unnest(partners, its_endpoints) AS w (partner, endpoint)) d)
  DELETE FROM refusals r USING n
  WHERE r.partner = n.partner AND r.endpoint = n.endpoint AND r.number <= n.through;
  DELETE FROM refusals r WHERE r.number <= (SELECT o.number FROM refusals o ORDER BY o.number DESC LIMIT 1 OFFSET most);
END $$;
