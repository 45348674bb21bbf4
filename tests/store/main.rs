//! The store conformance suite, run on every store there is, and what only one of them promises.
#![allow(
    clippy::unwrap_used,
    reason = "a test may stop at the first thing that is not as it should be"
)]

mod bucket;
mod engine_double;
mod folder;
mod on_engine;
mod suite;
mod token_list;
mod token_uses;
mod unconditional;

/// Runs the whole suite on the stores that `$new` makes.
macro_rules! conformance {
    ($store:ident, $new:path) => {
        conformance!($store, $new,
            an_upload_is_seen_only_once_it_is_published
            an_archive_comes_back_byte_by_byte_in_any_range
            an_empty_archive_is_an_archive
            the_facts_are_those_of_the_bytes
            an_upload_that_is_given_up_leaves_nothing
            an_upload_that_is_dropped_leaves_nothing
            the_first_upload_stays_and_a_later_one_learns_its_facts
            of_many_uploads_at_once_exactly_one_is_new_and_whole
            a_sweep_deletes_what_has_expired_and_nothing_else
            a_source_published_after_its_expiry_goes_with_the_next_sweep
            a_download_that_has_begun_ends_although_its_source_is_swept
            an_audit_counts_what_is_whole
            a_record_is_created_once
            a_record_is_replaced_and_deleted
            a_record_that_is_too_long_is_not_written
            records_are_listed_by_kind_and_in_order
        );
    };
    ($store:ident, $new:path, $($promise:ident)*) => {
        mod $store {
            $(
                #[tokio::test]
                async fn $promise() {
                    let (_keeps_it, store) = $new();
                    crate::suite::$promise(&store).await;
                }
            )*
        }
    };
}

conformance!(folder_conforms, crate::folder::new_store);
conformance!(bucket_in_memory_conforms, crate::bucket::new_store);
conformance!(bucket_of_an_engine_conforms, crate::on_engine::new_store);
