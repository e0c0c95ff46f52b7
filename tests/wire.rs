//! The wire protocol from a client's side, over raw sockets, against the real server. What is expected holds of
//! PostgreSQL too: a scenario knows no more than an address and who may log in.

#[path = "wire/abuse.rs"]
mod abuse;
#[path = "wire/alerts.rs"]
mod alerts;
#[path = "wire/cancel.rs"]
mod cancel;
#[path = "wire/client.rs"]
mod client;
#[path = "wire/copy.rs"]
mod copy;
#[path = "wire/copy_out.rs"]
mod copy_out;
#[path = "wire/corpus.rs"]
mod corpus;
#[path = "wire/cursors.rs"]
mod cursors;
#[path = "wire/entrance.rs"]
mod entrance;
#[path = "wire/explain.rs"]
mod explain;
#[path = "wire/feature_abuse.rs"]
mod feature_abuse;
#[path = "wire/features.rs"]
mod features;
#[path = "wire/flight.rs"]
mod flight;
#[path = "wire/full_disk.rs"]
mod full_disk;
#[path = "wire/fuzz.rs"]
mod fuzz;
#[path = "wire/hostile.rs"]
mod hostile;
#[path = "wire/http.rs"]
mod http;
#[path = "wire/ingest.rs"]
mod ingest;
#[path = "wire/jobs.rs"]
mod jobs;
#[path = "wire/jobs_api.rs"]
mod jobs_api;
#[path = "wire/large.rs"]
mod large;
#[path = "wire/limits.rs"]
mod limits;
#[path = "wire/login.rs"]
mod login;
#[path = "wire/maintenance.rs"]
mod maintenance;
#[path = "wire/openlineage.rs"]
mod openlineage;
#[path = "wire/queries.rs"]
mod queries;
#[path = "it/random.rs"]
mod random;
#[path = "wire/request_log.rs"]
mod request_log;
#[path = "wire/rights.rs"]
mod rights;
#[path = "clients/server.rs"]
mod server;
#[path = "wire/serving_cache.rs"]
mod serving_cache;
#[path = "wire/spill.rs"]
mod spill;
#[path = "wire/traces.rs"]
mod traces;
#[path = "wire/transactions.rs"]
mod transactions;

use client::Target;
use server::{PASSWORD, Server, USER};

fn target(server: &Server) -> Target {
    Target { address: server.address, user: USER.to_owned(), password: PASSWORD.to_owned(), database: USER.to_owned() }
}

/// One test a file: its scenarios, one after the other, against one server.
macro_rules! scenarios {
    ($($subject:ident: $($name:ident),*;)*) => {
        $(#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
        async fn $subject() {
            let server = Server::start(&[]);
            let mut failed = Vec::new();
            $(if tokio::spawn($subject::$name(target(&server))).await.is_err() {
                failed.push(stringify!($name));
            })*
            assert!(failed.is_empty(), "failed: {failed:#?}");
        })*
    };
}

scenarios! {
    login:
        encryption_is_refused_and_the_login_goes_on,
        a_newer_minor_protocol_is_negotiated,
        an_older_major_protocol_is_refused,
        a_startup_without_user_is_refused,
        a_wrong_password_and_an_unknown_user_look_the_same,
        an_unknown_users_salt_does_not_change,
        a_huge_message_before_the_login_is_refused,
        an_unknown_sasl_mechanism_is_refused;
    queries:
        simple_statements_are_answered_one_by_one,
        an_error_position_counts_from_the_start_of_the_text,
        an_empty_query_has_its_own_answer,
        any_max_rows_is_safe,
        a_portal_goes_on_where_it_stopped,
        a_portal_lives_as_long_as_its_transaction,
        a_finished_portal_gives_no_more,
        a_pipeline_goes_on_after_its_sync,
        after_an_error_messages_are_discarded,
        an_error_is_sent_without_waiting_for_sync,
        names_must_exist_and_be_new,
        formats_must_fit,
        parameters_must_fit,
        closing_is_always_complete,
        deallocate_forgets_statements,
        long_pipelines_and_long_texts_are_answered,
        described_statements_tell_their_types;
    copy:
        rows_come_in_by_either_protocol,
        a_failed_copy_keeps_nothing_and_the_connection_goes_on,
        rows_that_do_not_fit_are_left_out,
        rows_come_in_binary,
        a_client_that_leaves_keeps_nothing,
        other_messages_end_a_copy,
        many_rows_come_in_a_few_at_a_time,
        many_rows_come_into_both_stores_of_a_feature_table;
    copy_out:
        rows_go_out_by_either_protocol,
        binary_rows_are_framed_as_postgres_frames_them,
        what_goes_out_binary_comes_in_again,
        an_error_ends_the_rows,
        a_copy_can_be_cancelled_and_left,
        options_are_refused_as_postgres_refuses_them;
    cursors:
        rows_are_fetched_either_way,
        a_cursor_lives_as_long_as_its_transaction_or_is_held,
        a_cursor_that_cannot_go_back_says_so,
        binary_cursors_are_binary_in_simple_queries,
        a_cursor_is_described_as_a_portal,
        two_portals_take_turns,
        statements_are_prepared_by_sql;
    hostile:
        malformed_bodies_are_errors,
        malformed_frames_end_the_connection,
        an_unknown_message_type_ends_the_connection,
        copy_messages_outside_of_copy_are_ignored,
        function_calls_are_answered;
    abuse:
        ten_thousand_keys_are_one_lookup,
        values_that_are_no_keys_are_told_apart,
        casts_of_keys_are_looked_up_too,
        a_key_longer_than_any_is_nobodys,
        a_view_may_have_300_columns,
        a_view_may_go_between_prepare_and_execute;
    rights:
        a_right_that_ends_ends_prepared_statements;
    entrance:
        silence_has_its_time,
        a_slow_reader_is_not_waited_for_longer_than_its_statement_may_take,
        administrators_stop_statements_and_connections;
    transactions:
        transaction_status_is_shown,
        a_failed_transaction_refuses,
        settings_are_reported,
        serializable_transactions_are_as_one_after_the_other,
        tables_are_swapped_beside_each_other,
        notifications_come_at_the_commit,
        who_does_not_read_is_not_notified_for_ever,
        errors_say_what_they_are_about;
    cancel:
        a_running_statement_can_be_cancelled,
        streaming_rows_can_be_cancelled,
        a_cancel_needs_the_secret,
        a_late_cancel_hits_nothing,
        a_terminate_after_a_statement_lets_it_end;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn flight_clients_are_served() {
    let server = Server::start(&["--flight-listen", "127.0.0.1:0"]);
    let (address, target) = (server.flight_address(), target(&server));
    flight::who_is_not_known_is_refused(address, &target).await;
    flight::statements_are_answered_in_arrow(address, &target).await;
    flight::statements_are_prepared(address, &target).await;
    flight::transactions_are_all_or_nothing(address, &target).await;
    flight::tables_are_made_of_rows(address, &target).await;
    flight::policies_hold(address, &target).await;
    flight::sessions_are_seen_and_ended(address, &target).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn encryption_is_had_and_asked_for() {
    let folder = tempfile::tempdir().expect("a folder");
    let (certificate, key) = entrance::certificate(folder.path());
    let rules = folder.path().join("hba");
    std::fs::write(&rules, "hostssl all all 127.0.0.0/8 scram-sha-256\n").expect("it can be written");
    let rules = rules.to_str().expect("a plain path");
    let server = Server::start(&["--tls-cert", &certificate, "--tls-key", &key, "--hba", rules]);
    entrance::encryption_is_had_and_asked_for(target(&server)).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn rules_decide_by_their_order() {
    let folder = tempfile::tempdir().expect("a folder");
    let rules = folder.path().join("hba");
    let text = "host all eve all reject\nhost all ada 127.0.0.1/32 trust\nhost all all all scram-sha-256\n";
    std::fs::write(&rules, text).expect("it can be written");
    let server = Server::start(&["--hba", rules.to_str().expect("a plain path")]);
    entrance::rules_decide_by_their_order(target(&server)).await;
}

/// A server with settings of its own.
fn server_with(settings: &str) -> Server {
    let file = tempfile::NamedTempFile::new().expect("a file");
    std::fs::write(file.path(), settings).expect("it can be written");
    Server::start(&["--config", file.path().to_str().expect("a plain path")])
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn stopping_ends_the_idle_and_lets_the_running_finish() {
    let server = server_with("");
    limits::stopping_ends_the_idle_and_lets_the_running_finish(target(&server), || server.terminate()).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn stopping_cancels_what_runs_too_long() {
    let server = server_with("drain_timeout_seconds = 1");
    limits::stopping_cancels_what_runs_too_long(target(&server), || server.terminate()).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn load_balancers_learn_when_the_server_drains() {
    let server = Server::start(&["--http", "127.0.0.1:0"]);
    http::load_balancers_learn_when_the_server_drains(target(&server), server.http_address(), || server.terminate())
        .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn http_has_seats_too() {
    let server = server_with("http = '127.0.0.1:0'\nhttp_max_connections = 1");
    http::one_client_too_many_is_sent_away(server.http_address()).await;
}

/// One server, since what it serves takes a while to be made.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn applications_get_their_features() {
    let served = features::Served::start("").await;
    features::vectors_have_values_and_what_is_known_of_them(&served).await;
    features::batches_and_queries_have_many(&served).await;
    features::mistakes_are_told_apart(&served).await;
    features::windows_end_where_a_request_says(&served).await;
    features::long_requests_are_refused_and_the_server_goes_on(&served).await;
    features::a_connection_takes_many_requests(&served).await;
    features::a_change_of_the_catalog_is_noticed(&served).await;
    serving_cache::answers_are_kept_as_long_as_the_service_says(&served).await;
    features::what_happened_is_counted(&served).await;
    serving_cache::what_is_forgotten_is_not_kept(&served).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn applications_that_abuse_the_server_do_not_move_it() {
    let served = features::Served::start("").await;
    feature_abuse::bodies_that_are_not_what_they_should_be(&served).await;
    feature_abuse::heads_that_are_not_what_they_should_be(&served).await;
    feature_abuse::slow_clients_have_their_time(&served).await;
    feature_abuse::queries_of_too_much_are_refused(&served).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn applications_push_their_events() {
    let pushed = ingest::Pushed::start().await;
    ingest::what_is_answered_is_seen(&pushed).await;
    ingest::records_that_do_not_fit_are_told_one_by_one(&pushed).await;
    ingest::who_may_not_push_is_refused(&pushed).await;
    ingest::bodies_that_are_not_what_they_should_be(&pushed).await;
    ingest::what_happened_is_counted(&pushed).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn features_that_take_too_long_are_left_out() {
    features::what_is_not_ready_in_time_is_left_out(features::Served::start("http_max_requests = 1").await).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn refusals_are_logged_and_secrets_never() {
    rights::refusals_are_logged_and_secrets_never().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_full_disk_is_an_error_and_not_the_end() {
    full_disk::a_full_disk_is_an_error_and_not_the_end().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_stream_goes_on_when_there_is_room_again() {
    full_disk::a_stream_goes_on_when_there_is_room_again().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_join_beyond_its_memory_goes_to_disk_and_answers_the_same() {
    spill::a_join_beyond_its_memory_goes_to_disk_and_answers_the_same().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_cancelled_join_gives_its_disk_back() {
    spill::a_cancelled_join_gives_its_disk_back().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_key_with_more_rows_than_memory_is_answered_time_by_time() {
    spill::a_key_with_more_rows_than_memory_is_answered_time_by_time().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn one_client_too_many_is_told_so_and_cancels_still_work() {
    let server = server_with("max_connections = 2");
    limits::one_client_too_many_is_told_so_and_cancels_still_work(target(&server)).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_login_has_its_time() {
    let server = server_with("login_timeout_seconds = 1");
    limits::a_login_has_its_time(target(&server)).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn statements_of_ten_megabytes_need_little_memory() {
    let server = server_with("");
    abuse::ten_megabytes_are_taken_or_refused(target(&server)).await;
    let peak = server.peak_memory_kb();
    assert!(peak < 700_000, "{peak} kB");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn three_million_rows_need_little_memory() {
    let server = server_with("");
    limits::three_million_rows_need_little_memory(target(&server), || server.memory_kb()).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn strangers_break_nothing() {
    let server = server_with("memory_limit = '256MiB'");
    fuzz::strangers_break_nothing(&server, target(&server)).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_idle_and_the_slow_hold_little() {
    let server = server_with("max_connections = 1100\nmemory_limit = '256MiB'");
    limits::the_idle_and_the_slow_hold_little(target(&server), || server.memory_kb()).await;
}
