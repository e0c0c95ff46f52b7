//! What no good client of the feature server sends: each is refused with a status that says whose fault it is, and the
//! server goes on.

use serde_json::{Value as Json, json};
use tokio::io::AsyncWriteExt;

use crate::client::within;
use crate::features::{Connection, Served, fraud};

const PATH: &str = "/api/v1/feature-service/get-features";

fn body_of(params: &Json) -> String {
    json!({ "params": params }).to_string()
}

impl Served {
    fn authorization(&self) -> String {
        format!("Tecton-key {}", self.key)
    }

    /// Status and SQLSTATE of what comes of this body.
    async fn refused(&self, body: &[u8]) -> (u16, String) {
        let (status, refused) = self.send(&[("Authorization", &self.authorization())], "get-features", body).await;
        (status, refused["sqlstate"].as_str().unwrap_or_default().to_owned())
    }

    async fn goes_on(&self) {
        assert_eq!(self.post("get-features", fraud("u1")).await.0, 200);
    }
}

pub async fn bodies_that_are_not_what_they_should_be(served: &Served) {
    let good = body_of(&fraud("u1"));
    let put = |from: &str, to: &str| {
        assert!(good.contains(from), "{from}");
        good.replace(from, to).into_bytes()
    };
    let nested = format!("{}1{}", "[".repeat(100_000), "]".repeat(100_000));
    let objects = format!("{}1{}", "{\"a\":".repeat(100_000), "}".repeat(100_000));
    let mut bad_text = put("u1", "u1\u{1}");
    let place = bad_text.iter().position(|byte| *byte == 1).expect("the mark");
    bad_text[place] = 0xff;
    let cases = [
        ("deep arrays", put("\"u1\"", &nested), "22P02"),
        ("deep objects", put("\"u1\"", &objects), "22P02"),
        ("a body that is an array of many", nested.into_bytes(), "22P02"),
        ("invalid UTF-8", bad_text, "22P02"),
        ("half a surrogate", put("u1", "\\ud800"), "22P02"),
        ("a NUL in a text", put("u1", "a\\u0000b"), "22021"),
        ("a control character", put("u1", "a\nb"), "22P02"),
        ("more than JSON", [good.as_bytes(), b"{}"].concat(), "22P02"),
        ("single quotes", good.replace('"', "'").into_bytes(), "22P02"),
        ("a field twice", put("\"joinKeyMap\":", "\"workspaceName\":\"w\",\"joinKeyMap\":"), "22P02"),
        ("a field in both spellings", put("\"joinKeyMap\":", "\"join_key_map\":{},\"joinKeyMap\":"), "22P02"),
        ("a key twice", put("\"user_id\":", "\"user_id\":\"u2\",\"user_id\":"), "22P02"),
        ("a request column twice", put("\"amount\":75", "\"amount\":75,\"amount\":80"), "22P02"),
        ("a number beyond all", put("75", "1e400"), "22P02"),
        ("a number that is none", put("75", "NaN"), "22P02"),
        ("an object for a number", put("75", "{}"), "42804"),
        ("a number for an object", put("{\"user_id\":\"u1\"}", "7"), "22P02"),
        ("a body in another form", b"params=1&user_id=u1".to_vec(), "22P02"),
        ("a compressed body", b"\x1f\x8b\x08\0\0\0\0\0\0\x03".to_vec(), "22P02"),
    ];
    for (what, body, sqlstate) in cases {
        assert_eq!(served.refused(&body).await, (400, sqlstate.to_owned()), "{what}");
    }
    // numbers of the wrong size for what they are
    let numbers = [
        (json!({"user_id": "u1", "shop_id": 9.5}), "22P02"),
        (json!({"user_id": "u1", "shop_id": "9223372036854775808"}), "22003"),
        (json!({"user_id": "u1", "shop_id": 1e300}), "22P02"),
    ];
    for (keys, sqlstate) in numbers {
        let params = json!({"workspaceName": "granary", "featureServiceName": "visits", "joinKeyMap": keys});
        let (status, refused) = served.post("get-features", params).await;
        assert_eq!((status, &refused["sqlstate"]), (400, &json!(sqlstate)), "{keys}: {refused}");
    }
    // a key that nobody can have
    let long = served.answer("get-features", fraud(&"x".repeat(1 << 20))).await;
    assert_eq!(long["result"]["features"][5], Json::Null);
    // what a body is called is nobody's business
    for content_type in ["text/plain", "application/x-www-form-urlencoded", "application/json; charset=utf-16", ""] {
        let headers = [("Authorization", served.authorization()), ("Content-Type", content_type.to_owned())];
        let headers: Vec<(&str, &str)> = headers.iter().map(|(name, value)| (*name, value.as_str())).collect();
        assert_eq!(served.send(&headers, "get-features", good.as_bytes()).await.0, 200, "{content_type}");
    }
    served.goes_on().await;
}

pub async fn heads_that_are_not_what_they_should_be(served: &Served) {
    let good = body_of(&fraud("u1"));
    let length = good.len();
    let key = served.authorization();
    let ask = async |head: String| {
        let mut connection = Connection::open(&served.server).await;
        // the server may answer and close before it has read all
        let _ = connection.0.get_mut().write_all(head.as_bytes()).await;
        let _ = connection.0.get_mut().write_all(good.as_bytes()).await;
        within("an answer", connection.status()).await
    };
    let post =
        |headers: &str| format!("POST {PATH} HTTP/1.1\r\nhost: granary\r\nauthorization: {key}\r\n{headers}\r\n");
    let of_length = format!("content-length: {length}\r\n");
    assert_eq!(ask(post(&of_length)).await, Some(200));
    let many: String = (0..5_000).map(|number| format!("x-{number}: y\r\n")).collect();
    let long = format!("x-long: {}\r\n", "y".repeat(1 << 20));
    let cases = [
        ("many headers", post(&format!("{many}{of_length}")), Some(431)),
        ("a long header", post(&format!("{long}{of_length}")), Some(431)),
        ("a long path", format!("POST /{} HTTP/1.1\r\nhost: granary\r\n\r\n", "y".repeat(1 << 20)), Some(431)),
        ("two lengths", post(&format!("{of_length}content-length: 1\r\n")), Some(400)),
        ("a negative length", post("content-length: -1\r\n"), Some(400)),
        ("a length beyond all", post("content-length: 99999999999999999999999\r\n"), Some(400)),
        ("an unknown encoding", post("transfer-encoding: lzma\r\n"), Some(400)),
        ("a header without a name", post(&format!(": y\r\n{of_length}")), Some(400)),
        ("a version that is none", format!("POST {PATH} HTTP/7.0\r\n\r\n"), Some(400)),
        ("another protocol", "SSH-2.0-OpenSSH_9.2\r\n\r\n".to_owned(), Some(400)),
        ("encryption", "\u{16}\u{3}\u{1}\u{2}\0\u{1}\0\r\n\r\n".to_owned(), Some(400)),
    ];
    for (what, head, expected) in cases {
        assert_eq!(ask(head).await, expected, "{what}");
        served.goes_on().await;
    }
    // a client that leaves in the middle
    for part in [10, 60, 150] {
        let mut connection = Connection::open(&served.server).await;
        let all = format!("{}{good}", post(&of_length));
        connection.0.get_mut().write_all(&all.as_bytes()[..part]).await.expect("is sent");
        drop(connection);
    }
    served.goes_on().await;
}

/// Clients that begin a request and send no more of it keep nobody waiting, and are told when their time is over.
pub async fn slow_clients_have_their_time(served: &Served) {
    let key = served.authorization();
    let mut slow = Vec::new();
    for _ in 0..50 {
        let mut connection = Connection::open(&served.server).await;
        let head =
            format!("POST {PATH} HTTP/1.1\r\nhost: granary\r\nauthorization: {key}\r\ncontent-length: 100\r\n\r\n{{");
        connection.0.get_mut().write_all(head.as_bytes()).await.expect("is sent");
        slow.push(connection);
    }
    for _ in 0..20 {
        served.goes_on().await;
    }
    for mut connection in slow {
        let (status, body) = within("an end", connection.response()).await;
        let refused: Json = serde_json::from_str(&body).expect("JSON");
        assert_eq!((status, &refused["sqlstate"]), (408, &json!("57014")), "{refused}");
    }
}

/// More keys than an answer may have, and more time than there is.
pub async fn queries_of_too_much_are_refused(served: &Served) {
    served.run("CREATE FEATURE TABLE wide (user_id text, shop_id bigint, ts timestamptz, v int) ENTITY customer, shop TIMESTAMP ts").await;
    served
        .run("INSERT INTO wide SELECT CASE WHEN i <= 10001 THEN 'many' ELSE 'few' END, i, timestamptz '2024-01-01', 1 FROM generate_series(1, 10101) AS g(i)")
        .await;
    served
        .run("CREATE REALTIME FEATURE VIEW slow REQUEST (word text, times bigint) AS SELECT length(md5(repeat(word, times))) AS hashed")
        .await;
    served.run("CREATE FEATURE SERVICE slowly AS slow, visits").await;
    served.run("GRANT SELECT ON wide, slowly TO app").await;
    let query = |keys: Json| json!({"workspaceName": "granary", "featureServiceName": "wide", "joinKeyMap": keys});
    let few = served.answer("query-features", query(json!({"user_id": "few"}))).await;
    assert_eq!(few["results"].as_array().map(Vec::len), Some(100));
    let (status, refused) = served.post("query-features", query(json!({"user_id": "many"}))).await;
    assert_eq!((status, &refused["sqlstate"]), (400, &json!("53400")), "{refused}");
    let one = served.answer("query-features", query(json!({"user_id": "many", "shop_id": 7}))).await;
    assert_eq!(one["results"], json!([{"features": ["1"], "joinKeys": []}]));
    assert_eq!(served.answer("query-features", query(json!({"user_id": null}))).await["results"], json!([]));
    for (keys, named) in [(json!({}), "key"), (json!({"who": "u1"}), "who"), (json!({"shop_id": "x"}), "shop_id")] {
        let (status, refused) = served.post("query-features", query(keys.clone())).await;
        let message = refused["message"].as_str().expect("a message");
        assert!(status == 400 && message.contains(named), "{keys}: {status} {refused}");
    }
    let rows = json!({"workspaceName": "granary", "featureServiceName": "wide", "requestData": []});
    assert_eq!(served.post("query-features", rows).await.0, 400);

    // far more than can be done in the time, which ends the request unless it may be answered in part
    let ask = |times: i64, options: Json| {
        json!({
            "workspaceName": "granary", "featureServiceName": "slowly", "joinKeyMap": {"user_id": "u1"},
            "requestContextMap": {"word": "abcdefgh", "times": times}, "requestOptions": options,
            "metadataOptions": {"includeServingStatus": true},
        })
    };
    let quick = served.answer("query-features", ask(1, json!({}))).await;
    assert_eq!(quick["results"][1], json!({"features": ["32", "1"], "joinKeys": ["2"]}));
    let late = served.answer("query-features", ask(30_000_000, json!({"latencyBudgetMs": 100}))).await;
    assert_eq!(late["results"][1], json!({"features": [null, null], "joinKeys": ["2"]}));
    assert_eq!(late["metadata"]["features"][0]["status"], json!(["TIME_OUT", "TIME_OUT"]));
    let (status, refused) = served.post("query-features", ask(30_000_000, json!({}))).await;
    assert_eq!((status, &refused["sqlstate"]), (504, &json!("57014")), "{refused}");
    served.goes_on().await;
}
