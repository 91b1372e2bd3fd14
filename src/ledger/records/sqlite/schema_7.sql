-- Schema 7 of the embedded records: how far hashes are merged, so that no more is read into memory than must be when the
-- records are opened. In seen are the rows of seen_recently through merged_through, and of those through round_began_at the
-- ones whose hash is less than hand.
CREATE TABLE seen_hand (
  hand           INTEGER NOT NULL,
  round_began_at INTEGER NOT NULL,
  merged_through INTEGER NOT NULL
) STRICT;

-- Of an older file nothing is known to be merged.
INSERT INTO seen_hand SELECT -9223372036854775807 - 1, COALESCE(max(sequence), 0), 0 FROM seen_recently;
