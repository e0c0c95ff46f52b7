//! How fast it is, for who asks: INGEST_LOG_FIGURES=/a/folder/on/the/disk cargo test --lib ingest_log -- --nocapture figures

use super::*;
use crate::time::Stopwatch;

#[test]
fn figures() {
    let Some(disk) = std::env::var_os("INGEST_LOG_FIGURES") else { return };
    for (payload_bytes, events) in [(100, 1), (5_000, 100), (1_000_000, 10_000)] {
        for threads in [1, 8, 64] {
            let folder = tempfile::tempdir_in(&disk).expect("a folder");
            let log = IngestLog::open(Options::new(folder.path(), STREAM), 0, nobody()).expect("opens");
            let each = if payload_bytes < 1_000_000 { 2000 } else { 200 } / threads;
            let payload = Bytes::from(vec![7; payload_bytes]);
            let watch = Stopwatch::start();
            let mut times: Vec<Duration> = std::thread::scope(|scope| {
                let threads: Vec<_> = (0..threads)
                    .map(|_| {
                        scope.spawn(|| {
                            let append = || {
                                let watch = Stopwatch::start();
                                block_on(log.append(payload.clone(), count(events), 0)).expect("appends");
                                watch.elapsed()
                            };
                            std::iter::repeat_with(append).take(each.max(8)).collect::<Vec<_>>()
                        })
                    })
                    .collect();
                threads.into_iter().flat_map(|thread| thread.join().expect("no panic")).collect()
            });
            let seconds = watch.elapsed().as_secs_f64();
            times.sort_unstable();
            let counts = log.counts();
            eprintln!(
                "{payload_bytes:>8} bytes, {threads:>2} threads: {:>8.0} appends/s, {:>8.0} events/s, {:>6.1} MB/s, \
                 {:>6.1} appends a sync, p50 {:?}, p99 {:?}",
                counts.entries as f64 / seconds,
                counts.events as f64 / seconds,
                counts.bytes as f64 / seconds / 1e6,
                counts.entries as f64 / counts.syncs as f64,
                times[times.len() / 2],
                times[times.len() * 99 / 100],
            );
            let watch = Stopwatch::start();
            let read = log.read(0).expect("begins").map(|entry| entry.expect("reads").payload.len()).sum::<usize>();
            eprintln!("{:>65.0} MB/s read back", read as f64 / watch.elapsed().as_secs_f64() / 1e6);
        }
    }
}
