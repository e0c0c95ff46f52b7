//! What a service logs of requests over HTTP, out of the store and out of the cache, beside those of the Postgres port.

use serde_json::json;

use crate::features::Served;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_served_over_http_is_logged_as_it_was_served() {
    let served = Served::start("").await;
    served
        .run(
            "CREATE FEATURE SERVICE logged AS spend, newest AS latest, amount_check WITH (cache = '1 hour', log_sample = 1);
             GRANT SELECT ON logged TO app",
        )
        .await;
    let asked = |user: &str| {
        json!({
            "workspaceName": "granary",
            "featureServiceName": "logged",
            "joinKeyMap": { "user_id": user },
            "requestContextMap": { "amount": 100 },
        })
    };
    // out of the store, then out of the cache
    for _ in 0..2 {
        served.answer("get-features", asked("u1")).await;
    }
    served.answer("get-features", asked("nobody")).await;
    served.sql.query("SELECT spend__total FROM logged WHERE user_id = 'u2' AND amount = 1", &[]).await.expect("a row");
    let rows = served
        .sql
        .query(
            "SELECT _door, user_id, spend__total, spend__n, latest__odd::text, latest__shops, latest__seen = '2024-01-03 12:00',
                    amount_check__is_large, _asked[1], _asked[2], _statuses[1]
             FROM granary.logged_requests('logged') ORDER BY _request_time",
            &[],
        )
        .await
        .expect("the log");
    assert_eq!(rows.len(), 4);
    for row in &rows[..2] {
        assert_eq!((row.get::<_, &str>(0), row.get::<_, &str>(1)), ("http", "u1"));
        assert_eq!((row.get::<_, Option<f64>>(2), row.get::<_, i64>(3)), (Some(70.0), 3));
        assert_eq!((row.get::<_, &str>(4), row.get::<_, Vec<Option<i64>>>(5)), ("NaN", vec![Some(1), None]));
        assert!(row.get::<_, bool>(6));
        assert_eq!((row.get::<_, bool>(7), row.get::<_, bool>(8), row.get::<_, &str>(10)), (true, true, "PRESENT"));
    }
    let unknown = &rows[2];
    assert_eq!((unknown.get::<_, &str>(1), unknown.get::<_, Option<f64>>(2)), ("nobody", None));
    assert_eq!((unknown.get::<_, i64>(3), unknown.get::<_, &str>(10)), (0, "MISSING_DATA"));
    let by_sql = &rows[3];
    assert_eq!((by_sql.get::<_, &str>(0), by_sql.get::<_, Option<f64>>(2)), ("pg", Some(80.0)));
    assert_eq!((by_sql.get::<_, bool>(8), by_sql.get::<_, bool>(9)), (true, false));
    let differences = served.sql.query("VERIFY FEATURE SERVICE logged LOG", &[]).await.expect("a verification");
    assert!(differences.is_empty(), "{differences:?}");
}
