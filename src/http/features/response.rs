//! Answers in the form that feature server clients read. Values are copied as the JSON that they are.

use std::time::Duration;

use serde_json::{Map, Value as Json, json};

use super::answer::{Answer, Found};
use super::bound::{BoundFeature, BoundService};
use super::json::{put_json, put_list, put_timestamp, put_value, type_json};
use super::request::{MetadataOptions, Params};
use crate::row::Value;

/// Everything that an answer is made of.
pub struct Response<'a> {
    pub bound: &'a BoundService,
    pub answer: &'a Answer,
    pub metadata: MetadataOptions,
    /// counts that are NULL are told as zero
    pub has_zero_counts: bool,
    /// in the server, so far
    pub elapsed: Duration,
}

/// What an answer is about.
#[derive(Clone, Copy)]
enum Rows<'a> {
    One,
    /// `keys`: the numbers of those whose values stand beside the features
    Many {
        keys: &'a [usize],
    },
}

impl<'a> Response<'a> {
    pub fn new(bound: &'a BoundService, answer: &'a Answer, params: &Params, elapsed: Duration) -> Response<'a> {
        Response {
            bound,
            answer,
            metadata: params.metadata_options,
            has_zero_counts: params.request_options.has_zero_counts(),
            elapsed,
        }
    }

    /// One feature vector.
    pub fn single(&self) -> Vec<u8> {
        let mut out = b"{\"result\":".to_vec();
        self.put_row(&mut out, 0, None);
        self.put_metadata(&mut out, Rows::One, |out| self.put_slo_info(out, self.row_bytes(0)));
        out.push(b'}');
        out
    }

    /// Many of them.
    pub fn batch(&self, rows: usize) -> Vec<u8> {
        let mut out = b"{\"result\":".to_vec();
        put_list(&mut out, 0..rows, |out, row| self.put_row(out, row, None));
        let slo_info = |out: &mut Vec<u8>| {
            put_list(out, 0..rows, |out, row| self.put_slo_info(out, self.row_bytes(row)));
            out.extend_from_slice(b",\"batchSloInfo\":");
            self.put_slo_info(out, (0..rows).map(|row| self.row_bytes(row)).sum());
        };
        self.put_metadata(&mut out, Rows::Many { keys: &[] }, slo_info);
        out.push(b'}');
        out
    }

    /// One for each of `keys`, with the values of the keys numbered `shown`.
    pub fn rows_of_keys(&self, keys: &[Vec<Option<Value>>], shown: &[usize]) -> Vec<u8> {
        let mut out = b"{\"results\":".to_vec();
        put_list(&mut out, keys.iter().enumerate(), |out, (row, keys)| self.put_row(out, row, Some((keys, shown))));
        let bytes = (0..keys.len()).map(|row| self.row_bytes(row)).sum();
        self.put_metadata(&mut out, Rows::Many { keys: shown }, |out| self.put_slo_info(out, bytes));
        out.push(b'}');
        out
    }

    fn row_bytes(&self, row: usize) -> usize {
        let fragments = self.answer.parts.iter().filter_map(|part| part.get(row)?.fragment.as_ref());
        fragments.map(|fragment| fragment.n_bytes()).sum()
    }

    fn put_row(&self, out: &mut Vec<u8>, row: usize, keys: Option<(&[Option<Value>], &[usize])>) {
        out.extend_from_slice(b"{\"features\":");
        put_list(out, &self.bound.features, |out, feature| {
            let fragment = self.answer.parts[feature.part][row].fragment.as_ref();
            let value = fragment.map_or(&b"null"[..], |fragment| fragment.value(feature.index));
            let is_zero = self.has_zero_counts && feature.is_count && fragment.is_some() && value == b"null";
            out.extend_from_slice(if is_zero { b"\"0\"" } else { value });
        });
        if let Some((values, shown)) = keys {
            out.extend_from_slice(b",\"joinKeys\":");
            put_list(out, shown, |out, key| {
                put_value(out, values[*key].as_ref(), &self.bound.keys[*key].data_type);
            });
        }
        out.push(b'}');
    }

    /// Nothing, if nothing was asked for.
    fn put_metadata(&self, out: &mut Vec<u8>, rows: Rows<'_>, put_slo_info: impl FnOnce(&mut Vec<u8>)) {
        let options = &self.metadata;
        let is_partial = !self.answer.is_complete();
        if !options.has_features() && !options.include_slo_info && !is_partial {
            return;
        }
        out.extend_from_slice(b",\"metadata\":{");
        let mut separator: &[u8] = b"";
        let mut next = |out: &mut Vec<u8>, name: &str| {
            out.extend_from_slice(separator);
            separator = b",";
            put_name(out, name);
        };
        if options.has_features() {
            next(out, "features");
            put_list(out, &self.bound.features, |out, feature| self.put_feature(out, feature, rows));
            if let Rows::Many { keys: keys @ [_, ..] } = rows {
                next(out, "joinKeys");
                put_list(out, keys, |out, key| put_json(out, &column_json(&self.bound.keys[*key])));
            }
        }
        if options.include_slo_info {
            next(out, "sloInfo");
            put_slo_info(out);
        }
        if is_partial {
            next(out, "partialResults");
            out.extend_from_slice(b"true");
        }
        out.push(b'}');
    }

    /// With a status for each row, if there can be several.
    fn put_feature(&self, out: &mut Vec<u8>, feature: &BoundFeature, rows: Rows<'_>) {
        let options = &self.metadata;
        let found = &self.answer.parts[feature.part];
        let mut separator: &[u8] = b"";
        let mut next = |out: &mut Vec<u8>, name: &str| {
            out.extend_from_slice(separator);
            separator = b",";
            put_name(out, name);
        };
        out.push(b'{');
        if options.include_names {
            next(out, "name");
            put_json(out, &feature.name);
        }
        if options.include_effective_times {
            // a value out of the cache is as old as the cache allows, whatever it was made of
            let times = found.iter().filter(|found| !found.is_cached).filter_map(|found| found.fragment.as_ref());
            if let Some(newest) = times.filter_map(|fragment| fragment.effective_us(feature.index)).max() {
                next(out, "effectiveTime");
                put_timestamp(out, newest);
            }
        }
        if options.include_data_types {
            next(out, "dataType");
            put_json(out, &feature.data_type);
        }
        if options.include_serving_status {
            next(out, "status");
            match (rows, found.as_slice()) {
                (Rows::One, [only]) => put_json(out, status(only, feature.index)),
                (_, found) => put_list(out, found, |out, found| put_json(out, status(found, feature.index))),
            }
        }
        if options.include_feature_descriptions {
            next(out, "description");
            put_json(out, feature.description.as_deref().unwrap_or_default());
        }
        if options.include_feature_tags {
            next(out, "tags");
            put_json(out, &feature.tags);
        }
        out.push(b'}');
    }

    fn put_slo_info(&self, out: &mut Vec<u8>, bytes: usize) {
        let seconds = self.elapsed.as_secs_f64();
        put_json(
            out,
            &json!({
                "sloEligible": true,
                "sloServerTimeSeconds": seconds,
                "sloIneligibilityReasons": [],
                "serverTimeSeconds": seconds,
                "storeMaxLatency": self.answer.store_time.as_secs_f64(),
                "storeResponseSizeBytes": bytes,
            }),
        );
    }
}

fn status(found: &Found, feature: usize) -> &'static str {
    let Some(fragment) = &found.fragment else { return "TIME_OUT" };
    match (fragment.is_present(feature), found.is_cached) {
        (true, false) => "PRESENT",
        (false, false) => "MISSING_DATA",
        (true, true) => "CACHED_PRESENT",
        (false, true) => "CACHED_MISSING_DATA",
    }
}

/// What a service takes and gives.
pub fn metadata_of(bound: &BoundService) -> Json {
    let features = bound.features.iter().map(|feature| {
        let mut shown = Map::new();
        shown.insert("name".to_owned(), json!(feature.name));
        shown.insert("dataType".to_owned(), feature.data_type.clone());
        if let Some(description) = &feature.description {
            shown.insert("description".to_owned(), json!(description));
        }
        if !feature.tags.is_empty() {
            shown.insert("tags".to_owned(), json!(feature.tags));
        }
        Json::Object(shown)
    });
    json!({
        "featureServiceType": "DEFAULT",
        "inputJoinKeys": bound.keys.iter().map(column_json).collect::<Vec<_>>(),
        "inputRequestContextKeys": bound.request.iter().map(column_json).collect::<Vec<_>>(),
        "featureValues": features.collect::<Vec<_>>(),
    })
}

fn column_json(column: &granary_catalog::Column) -> Json {
    json!({"name": column.name, "dataType": type_json(&column.data_type)})
}

fn put_name(out: &mut Vec<u8>, name: &str) {
    put_json(out, name);
    out.push(b':');
}
