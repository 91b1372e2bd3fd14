-- Schema 2 of the embedded records: through which number retention may drop payloads. One row, written before the files
-- go, so that a log that begins later than it says is damage.
CREATE TABLE retention (dropped_through INTEGER NOT NULL) STRICT;

-- Before this schema, only the journal says what was dropped.
INSERT INTO retention (dropped_through)
SELECT COALESCE(max(json_extract(detail, '$.first_left')), 1) - 1 FROM journal WHERE act = 'retention.dropped';
