//! Who moved which cursor: PostgreSQL itself notes it, in the transaction that moves it. So a commit by a replica whose lease
//! had passed to another cannot hide.

use crate::servers::postgres::Postgres;

/// Notes every move from now on.
pub fn begin(postgres: &Postgres) {
    postgres.sql(
        "CREATE TABLE public.moves (
           nth bigserial PRIMARY KEY, who text NOT NULL, cursor text NOT NULL, through bigint NOT NULL, epoch bigint NOT NULL
         );
         CREATE FUNCTION public.note_move() RETURNS trigger LANGUAGE plpgsql AS $$
         DECLARE
           cursor text := TG_TABLE_NAME || ' ' || CASE WHEN TG_TABLE_NAME = 'cursors'
             THEN to_jsonb(NEW) ->> 'endpoint' ELSE to_jsonb(NEW) ->> 'id' END;
         BEGIN
           IF TG_OP = 'INSERT' OR NEW.through <> OLD.through THEN
             INSERT INTO public.moves (who, cursor, through, epoch)
             VALUES (current_setting('application_name'), cursor, NEW.through, NEW.epoch);
           END IF;
           RETURN NULL;
         END $$;
         CREATE TRIGGER moved AFTER INSERT OR UPDATE ON douane.cursors FOR EACH ROW EXECUTE FUNCTION public.note_move();
         CREATE TRIGGER moved AFTER INSERT OR UPDATE ON douane.brokers FOR EACH ROW EXECUTE FUNCTION public.note_move();",
    );
}

/// The latest move.
pub fn now(postgres: &Postgres) -> u64 {
    postgres.sql("SELECT coalesce(max(nth), 0) FROM public.moves").parse().expect("a number")
}

/// How many cursors another replica than this has moved since then.
pub fn moved_by_others(postgres: &Postgres, than: &str, since: u64) -> usize {
    let moved = postgres.sql(&format!(
        "SELECT count(DISTINCT cursor) FROM public.moves WHERE nth > {since} AND who <> '{than}'"
    ));
    moved.parse().expect("a number")
}

/// A cursor never goes back, an epoch never either, and in one epoch one replica alone moves a cursor.
pub fn nobody_moved_what_was_not_theirs(postgres: &Postgres) {
    let back = postgres.sql(
        "SELECT * FROM (SELECT *, lag(through) OVER run AS was_through, lag(epoch) OVER run AS was_epoch FROM public.moves
           WINDOW run AS (PARTITION BY cursor ORDER BY nth)) AS moves
         WHERE through < was_through OR epoch < was_epoch ORDER BY nth LIMIT 10",
    );
    assert_eq!(back, "", "a cursor went back");
    let shared = postgres.sql(
        "SELECT cursor, epoch, array_agg(DISTINCT who) FROM public.moves GROUP BY cursor, epoch
         HAVING count(DISTINCT who) > 1 LIMIT 10",
    );
    assert_eq!(shared, "", "two replicas moved a cursor in one epoch");
}
