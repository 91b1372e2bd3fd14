-- Names the key that this ledger's credentials are sealed with; noted by the first process that seals.
ALTER TABLE ledger ADD COLUMN sealing_key text;
