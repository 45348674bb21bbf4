//! The store conformance suite, run on every store there is, and what only one of them promises.
#![allow(
    clippy::unwrap_used,
    reason = "a test may stop at the first thing that is not as it should be"
)]

mod api_tokens;
mod attempts;
mod bucket;
mod bucket_transfers;
mod documents;
mod folder;
mod journals;
mod object_store_double;
mod on_moto;
mod on_seaweedfs;
mod parts_in_turn;
mod pins;
mod suite;
mod unconditional;

/// Runs the whole suite on the stores that `$new` makes.
macro_rules! conformance {
    ($store:ident, $new:path) => {
        conformance!($store, $new,
            suite::an_upload_is_seen_only_once_it_is_published
            suite::an_archive_comes_back_byte_by_byte_in_any_range
            suite::the_facts_are_those_of_the_bytes
            suite::an_upload_that_is_given_up_leaves_nothing
            suite::an_upload_that_is_dropped_leaves_nothing
            suite::the_first_upload_stays_and_a_later_one_learns_its_facts
            suite::of_many_uploads_at_once_exactly_one_is_new_and_whole
            suite::a_sweep_deletes_what_has_expired_and_nothing_else
            suite::a_source_published_after_its_expiry_goes_with_the_next_sweep
            suite::a_download_that_has_begun_ends_although_its_source_is_swept
            suite::an_audit_counts_what_is_whole
            attempts::parts_of_any_length_become_one_archive_with_the_facts_of_its_bytes
            attempts::what_was_not_committed_is_sent_again
            attempts::a_commit_that_nobody_waited_for_loses_nothing
            attempts::a_length_that_becomes_known_stays_known
            attempts::a_new_beginning_replaces_the_one_before
            attempts::a_cancelled_attempt_leaves_nothing
            attempts::whoever_publishes_first_stays_be_it_in_parts_or_whole
            attempts::an_end_that_is_not_noted_is_unknown_to_who_resumes
            attempts::an_attempt_goes_when_its_source_expires
            attempts::an_audit_counts_what_can_go_on
            documents::a_document_is_created_only_where_none_is
            documents::what_was_read_is_what_is_replaced
            documents::an_update_is_made_of_what_is_there
            documents::a_deleted_document_stays_deleted
            documents::a_document_may_be_as_long_as_the_limit
            documents::documents_are_listed_in_order_and_in_pages
            journals::bytes_are_appended_at_the_end_and_nowhere_else
            journals::the_same_bytes_again_change_nothing
            journals::of_many_appends_at_one_place_one_is_done_and_the_others_learn_of_it
            journals::a_journal_is_read_from_any_offset_in_pieces_of_any_length
            journals::each_journal_has_its_own_bytes
            journals::a_deleted_journal_leaves_nothing
            journals::an_append_may_be_as_long_as_the_limit
            pins::a_pinned_archive_stays_beyond_its_expiry_until_it_is_unpinned
            pins::a_pin_ends_by_its_deadline
            pins::of_several_pins_the_last_one_counts
            pins::what_is_not_there_cannot_be_pinned
            pins::a_pin_that_is_gone_can_be_taken_away_again
        );
    };
    ($store:ident, $new:path, $($suite:ident::$promise:ident)*) => {
        mod $store {
            $(
                #[tokio::test]
                async fn $promise() {
                    let (_keeps_it, store) = $new();
                    crate::$suite::$promise(&store).await;
                }
            )*
        }
    };
}

conformance!(folder_conforms, crate::folder::new_store);
conformance!(bucket_in_memory_conforms, crate::bucket::new_store);
conformance!(bucket_of_seaweedfs_conforms, crate::on_seaweedfs::new_store);
conformance!(bucket_of_moto_conforms, crate::on_moto::new_store);
