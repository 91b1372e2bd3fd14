-- A publication is found by where its broker put it. Only the beginning of a position stands in the index, which takes no
-- long words; the rest is compared. Whoever notes publications waits while it is built, and nobody else does.
CREATE INDEX publications_by_position ON publications (substring(position FROM 1 FOR 512), event)
  WHERE position IS NOT NULL;
