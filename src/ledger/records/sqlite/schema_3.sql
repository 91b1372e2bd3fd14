-- Schema 3 of the embedded records: a publication is found by where its broker put it.
CREATE INDEX publications_by_position ON publications (broker, position, event) WHERE position IS NOT NULL;
