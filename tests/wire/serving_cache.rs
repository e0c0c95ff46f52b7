//! The serving cache, as applications see it.

use serde_json::{Value as Json, json};

use crate::features::Served;

pub async fn answers_are_kept_as_long_as_the_service_says(served: &Served) {
    let statuses = json!({"includeServingStatus": true, "includeEffectiveTimes": true});
    let ask = |user: &str, amount: f64, options: Json| {
        json!({
            "workspaceName": "granary", "featureServiceName": "kept", "joinKeyMap": {"user_id": user},
            "requestContextMap": {"amount": amount}, "metadataOptions": statuses, "requestOptions": options,
        })
    };
    let told =
        |answer: &Json| (answer["result"]["features"].clone(), answer["metadata"]["features"][1]["status"].clone());
    let usual = json!({});
    let first = served.answer("get-features", ask("u1", 75.0, usual.clone())).await;
    assert_eq!(told(&first), (json!([true, 70.0]), json!("PRESENT")));
    let second = served.answer("get-features", ask("u1", 60.0, usual.clone())).await;
    assert_eq!(told(&second), (json!([false, 70.0]), json!("CACHED_PRESENT")), "the realtime view is computed anew");
    assert_eq!(second["metadata"]["features"][0]["status"], "PRESENT");
    assert_eq!(second["metadata"]["features"][1].get("effectiveTime"), None);
    served.answer("get-features", ask("new", 1.0, usual.clone())).await;
    let missing = served.answer("get-features", ask("new", 1.0, usual.clone())).await;
    assert_eq!(told(&missing), (json!([null, null]), json!("CACHED_MISSING_DATA")));

    served.run("INSERT INTO tx VALUES ('u1', 1, '2024-01-03 13:00', 30)").await;
    served.run("REFRESH FEATURE VIEW spend FROM '2024-01-03' TO '2024-01-04' OVERWRITE").await;
    let kept = served.answer("get-features", ask("u1", 75.0, usual.clone())).await;
    assert_eq!(told(&kept), (json!([false, 70.0]), json!("CACHED_PRESENT")), "the check sees the new total already");
    let past =
        served.answer("get-features", ask("u1", 75.0, json!({"readFromCache": false, "writeToCache": false}))).await;
    assert_eq!(told(&past), (json!([false, 100.0]), json!("PRESENT")));
    let kept = served.answer("get-features", ask("u1", 75.0, usual.clone())).await;
    assert_eq!(told(&kept).0, json!([false, 70.0]), "it was not written to the cache");
    served.answer("get-features", ask("u1", 75.0, json!({"readFromCache": false}))).await;
    let newer = served.answer("get-features", ask("u1", 75.0, usual.clone())).await;
    assert_eq!(told(&newer), (json!([false, 100.0]), json!("CACHED_PRESENT")));

    served.run("ALTER FEATURE SERVICE kept SET (cache = '2 hours')").await;
    let changed = served.answer("get-features", ask("u1", 75.0, usual.clone())).await;
    assert_eq!(told(&changed).1, json!("PRESENT"), "another definition has a cache of its own");
    served.run("ALTER FEATURE SERVICE kept RESET (cache)").await;
    for _ in 0..2 {
        assert_eq!(told(&served.answer("get-features", ask("u1", 75.0, usual.clone())).await).1, json!("PRESENT"));
    }
    served.run("ALTER FEATURE VIEW spend SET (cache = '1 minute')").await;
    served.answer("get-features", ask("u1", 75.0, usual.clone())).await;
    let of_view = served.answer("get-features", ask("u1", 75.0, usual)).await;
    assert_eq!(told(&of_view).1, json!("CACHED_PRESENT"), "the view's own option is enough");
    served.run("ALTER FEATURE VIEW spend RESET (cache)").await;
}

/// A value that is forgotten is forgotten at once, however long the cache may keep it.
pub async fn what_is_forgotten_is_not_kept(served: &Served) {
    served
        .run("CREATE FEATURE TABLE profile (user_id text, ts timestamptz, plan text) ENTITY customer TIMESTAMP ts")
        .await;
    served.run("CREATE FEATURE SERVICE profiles AS profile, spend (total) WITH (cache = '1 hour')").await;
    served.run("GRANT SELECT ON profiles TO app").await;
    let insert = "INSERT INTO profile VALUES ('u1', '2024-01-01', 'free'), ('u2', '2024-01-01', 'pro')";
    served.run(insert).await;
    let answer = async |user: &str| {
        let params = json!({
            "workspaceName": "granary", "featureServiceName": "profiles", "joinKeyMap": {"user_id": user},
            "metadataOptions": {"includeServingStatus": true},
        });
        let answer = served.answer("get-features", params).await;
        (answer["result"]["features"][0].clone(), answer["metadata"]["features"][0]["status"].clone())
    };
    for user in ["u1", "u2"] {
        assert_eq!(answer(user).await.1, json!("PRESENT"));
        assert_eq!(answer(user).await.1, json!("CACHED_PRESENT"));
    }
    // a newer value waits until the old one is too old
    served.run("INSERT INTO profile VALUES ('u1', '2024-01-02', 'pro')").await;
    assert_eq!(answer("u1").await, (json!("free"), json!("CACHED_PRESENT")));
    // a forgotten one does not
    served.run("DELETE FROM profile WHERE user_id = 'u1'").await;
    assert_eq!(answer("u1").await, (Json::Null, json!("MISSING_DATA")));
    assert_eq!(answer("u1").await, (Json::Null, json!("CACHED_MISSING_DATA")));
    assert_eq!(answer("u2").await.0, json!("pro"));
    served.run("DELETE FROM spend WHERE user_id = 'u2'").await;
    let params = json!({
        "workspaceName": "granary", "featureServiceName": "profiles", "joinKeyMap": {"user_id": "u2"},
    });
    assert_eq!(served.answer("get-features", params).await["result"]["features"], json!(["pro", null]));
    served.run("DROP FEATURE SERVICE profiles").await;
    served.run("DROP FEATURE TABLE profile").await;
}
