//! Servers that stop, are full, or have no time: each scenario has a server of its own.

use crate::cancel::cancel;
use crate::client::{
    Client, SHORT_STATEMENT, SLOW_STATEMENT, Target, bind, execute, parse, series, sync, until_active, within,
};

/// A server that is told to stop by `stop` while its drain timeout is long: the idle are sent away, what runs ends.
pub async fn stopping_ends_the_idle_and_lets_the_running_finish(target: Target, stop: impl FnOnce()) {
    let mut idle = Client::login(&target).await;
    let mut in_transaction = Client::login(&target).await;
    in_transaction.query("BEGIN").await;
    let mut opening = Client::open(&target).await;
    opening.start(&target, 3 << 16).await;
    opening.next().await;
    let mut running = Client::login(&target).await;
    running.send_query(SHORT_STATEMENT).await;
    until_active(&mut idle, running.process_id).await;
    stop();
    idle.expect_end(Some("57P01")).await;
    in_transaction.expect_end(Some("57P01")).await;
    opening.expect_end(Some("57P01")).await;
    let replies = running.until_ready().await;
    assert_eq!(replies[2..], ["C SELECT 1", "Z I"]);
    running.expect_end(Some("57P01")).await;
}

/// A server that is told to stop by `stop` and has a short drain timeout: what still runs is cancelled.
pub async fn stopping_cancels_what_runs_too_long(target: Target, stop: impl FnOnce()) {
    let mut watcher = Client::login(&target).await;
    let mut running = Client::login(&target).await;
    running.send_query(SLOW_STATEMENT).await;
    until_active(&mut watcher, running.process_id).await;
    stop();
    let mut last = running.next().await;
    if last.tag == b'T' {
        // a row description may come before the statement runs
        last = running.next().await;
    }
    assert_eq!(last.shown(), "E 57P01");
    assert_eq!(running.try_next().await, None);
}

/// A server that lets two clients in.
pub async fn one_client_too_many_is_told_so_and_cancels_still_work(target: Target) {
    let mut one = Client::login(&target).await;
    let mut two = Client::login(&target).await;
    let mut three = Client::open(&target).await;
    three.start(&target, 3 << 16).await;
    three.expect_end(Some("53300")).await;
    one.send_query(SLOW_STATEMENT).await;
    until_active(&mut two, one.process_id).await;
    cancel(&target, one.process_id, one.secret).await;
    assert_eq!(one.until_ready().await.last().map(String::as_str), Some("Z I"));
    two.hang_up().await;
    let free_seat = async {
        loop {
            let mut next = Client::open(&target).await;
            next.start(&target, 3 << 16).await;
            match next.authenticate(&target.password).await.shown().as_str() {
                "Z I" => break,
                refused => assert_eq!(refused, "E 53300"),
            }
        }
    };
    within("a free seat", free_seat).await;
}

/// A server whose start-up timeout is well below half a minute.
pub async fn a_login_has_its_time(target: Target) {
    let mut silent = Client::open(&target).await;
    let mut half = Client::open(&target).await;
    half.start(&target, 3 << 16).await;
    half.next().await;
    assert_eq!(silent.try_next().await, None);
    assert_eq!(half.try_next().await, None);
}

/// Any server; `memory_kb` tells how much memory it has now.
pub async fn three_million_rows_need_little_memory(target: Target, memory_kb: impl Fn() -> u64) {
    let mut client = Client::login(&target).await;
    let before = memory_kb();
    let messages = [parse("", &series(3_000_000), &[]), bind("", ""), execute("", i32::MAX), sync()];
    client.raw(&messages.concat()).await;
    assert_eq!(client.take(3).await, ["1", "2", "D 1"]);
    let mut rows = 1_u32;
    loop {
        let reply = client.next().await;
        match reply.tag {
            b'D' => rows += 1,
            b'C' => assert_eq!(reply.shown(), "C SELECT 3000000"),
            b'Z' => break,
            _ => panic!("{reply:?}"),
        }
    }
    assert_eq!(rows, 3_000_000);
    let grown = memory_kb().saturating_sub(before);
    assert!(grown < 100_000, "{grown} kB");
}

/// A server that lets many in: those that say nothing, and those that do not read what they asked for, hold little, and
/// others are answered meanwhile.
pub async fn the_idle_and_the_slow_hold_little(target: Target, memory_kb: impl Fn() -> u64) {
    const IDLE: usize = 1_000;
    const SLOW: usize = 10;
    let mut other = Client::login(&target).await;
    other.query("SELECT 1").await;
    let before = memory_kb();
    let mut idle = Vec::new();
    for _ in 0..IDLE {
        idle.push(Client::login(&target).await);
    }
    let grown = memory_kb().saturating_sub(before);
    assert!(grown < 200 * IDLE as u64, "{grown} kB for {IDLE} idle clients");
    let mut slow = Vec::new();
    for nth in 0..SLOW {
        let mut client = Client::login(&target).await;
        let rows = "SELECT repeat('x', 1000) FROM generate_series(1, 3000000)";
        let sql = if nth % 2 == 0 { rows.to_owned() } else { format!("COPY ({rows}) TO STDOUT (FORMAT binary)") };
        client.send_query(&sql).await;
        // the first row: from here on it does not read
        client.take(2).await;
        slow.push(client);
    }
    for _ in 0..100 {
        assert_eq!(other.query("SELECT 1").await, ["T", "D 1", "C SELECT 1", "Z I"]);
    }
    let grown = memory_kb().saturating_sub(before);
    assert!(grown < 500_000, "{grown} kB with {SLOW} slow clients, who asked for 3 GB each");
    for client in &mut idle {
        assert_eq!(client.query("SELECT 1").await, ["T", "D 1", "C SELECT 1", "Z I"]);
    }
}
