//! What every implementation of the records promises, told once and held against each: the double that the simulation
//! uses, SQLite, and PostgreSQL. Every story starts with empty records.

mod acts;
mod commits;
mod confirmations;
mod feed;
mod learning;
mod owners;
mod postgres;
mod publications;
mod published;
mod replays;
mod searches;
mod sqlite;
mod verdicts;
pub(super) mod worked;

use std::{
    any::Any,
    future::{Ready, ready},
    sync::Arc,
};

use douane::{
    ledger::{Records, records::SqliteRecords},
    model::Incarnation,
};
use uuid::Uuid;

use super::records_double::RecordsDouble;

const LEDGER: Incarnation = Incarnation(Uuid::from_u128(7));

/// Records to tell a story with; what they are kept in goes when the story ends.
struct Stage {
    records: Arc<dyn Records>,
    _kept_in: Box<dyn Any + Send>,
}

fn double() -> Ready<Stage> {
    ready(Stage { records: Arc::new(RecordsDouble::new(LEDGER)), _kept_in: Box::new(()) })
}

fn sqlite() -> Ready<Stage> {
    let folder = tempfile::tempdir().expect("a folder");
    let records = SqliteRecords::create(&folder.path().join("records.sqlite"), LEDGER).expect("are made");
    ready(Stage { records: Arc::new(records), _kept_in: Box::new(folder) })
}

async fn postgres() -> Stage {
    let (server, records) = postgres::created().await;
    Stage { records: Arc::new(records), _kept_in: Box::new(server) }
}

macro_rules! on {
    ($module:ident, $stage:ident; $($chapter:ident { $($story:ident)+ })+) => {
        mod $module {
            $(mod $chapter {
                $(#[tokio::test]
                async fn $story() {
                    let stage = super::super::$stage().await;
                    super::super::$chapter::$story(stage.records.as_ref()).await;
                })+
            })+
        }
    };
}

macro_rules! suite {
    ($($stories:tt)+) => {
        on! { in_the_double, double; $($stories)+ }
        on! { in_sqlite, sqlite; $($stories)+ }
        on! { in_postgres, postgres; $($stories)+ }
    };
}

suite! {
    commits {
        number_domain_events_without_gaps_in_the_order_given
        that_are_refused_in_part_leave_nothing
        of_damage_in_what_is_worked_already_change_nothing
        of_a_number_already_worked_are_stale
        whose_cursor_would_go_back_are_stale
        move_each_endpoints_cursor
        may_name_a_cursor_twice_in_its_order
        of_an_event_that_belongs_elsewhere_are_refused
        keep_every_outcome_with_its_reason
        of_damaged_entries_count_one_dead_letter_each
        balance_the_books
        are_kept_as_they_were_worked
        keep_any_words_that_a_partner_may_choose
    }
    verdicts {
        know_no_owner_of_what_was_never_seen
        find_the_latest_owner_with_its_generation
        find_owners_that_could_not_be_translated
        find_the_latest_of_many_ids
        find_bodies_only_where_they_are_remembered
        find_no_body_from_before_the_window
    }
    owners {
        are_paged_in_the_order_of_their_places
        are_those_of_every_endpoint_and_of_nothing_else
        tell_which_endpoints_were_replayed
        of_what_is_committed_meanwhile_are_on_later_pages
        know_which_delivery_has_a_number
    }
    replays {
        know_the_outcome_and_what_was_published
        of_a_conflict_know_what_its_owner_published
        of_a_later_generation_know_only_its_own
        of_places_nobody_knows_are_left_out
        repeat_the_first_bytes_under_a_new_number
        of_a_stranger_are_refused
        change_the_latest_outcome_and_keep_the_books_balanced
        identify_what_the_first_attempt_could_not
        claim_an_id_that_was_not_known_before
        add_items_the_first_attempt_did_not_find
        may_name_a_place_twice
        of_an_unknown_place_are_refused
    }
    feed {
        is_read_in_order_after_a_number
        is_filtered_by_type_and_partner
        ends_an_answer_before_it_grows_too_large
    }
    publications {
        begin_where_the_broker_was_introduced_and_that_is_journalled
        refuse_a_second_introduction
        move_the_cursor_and_keep_dead_letters
        noted_again_close_a_dead_letter
        of_the_feeds_events_keep_the_latest_word
        behind_the_cursor_are_stale
        of_an_unknown_broker_are_refused
    }
    published {
        events_are_found_by_where_they_stand
        positions_that_repeat_are_all_listed_newest_first
        events_are_where_they_were_put_last
        events_of_a_delivery_are_found_with_their_replays
        events_that_were_refused_say_why
        events_page_newest_first_and_then_by_broker
        positions_may_be_any_words
        events_that_are_gone_still_say_what_was_noted
    }
    searches {
        page_newest_first
        page_past_deliveries_of_many_events
        by_endpoint_and_time
        by_external_id_type_and_outcome
        of_one_delivery_alone
        hold_conditions_against_one_event
        of_events_run_oldest_first_after_a_place
        show_a_delivery_by_its_id
        show_what_is_damaged
        find_the_lowest_entry_an_open_dead_letter_needs
    }
    learning {
        arms_an_endpoint_once_and_for_a_while
        keeps_what_was_learnt_and_counts_it_as_worked
        shows_a_secret_once
    }
    confirmations {
        are_open_until_they_are_confirmed_or_given_up
        are_noted_for_the_handshake_that_was_visited
    }
    acts {
        are_journalled_newest_first
        are_kept_in_any_words
        of_retention_are_noted_once_and_never_taken_back
        keep_the_latest_refusals_of_each_endpoint
        hold_the_refusals_of_made_up_endpoints_within_bounds
        filter_refusals
        create_and_revoke_tokens
        keep_desks_and_the_latest_good_one
    }
}
