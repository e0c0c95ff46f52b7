//! The span that a client says its statement or request belongs to, as W3C's Trace Context writes it.

use opentelemetry::trace::{SpanContext, SpanId, TraceContextExt as _, TraceFlags, TraceId, TraceState};
use tracing::Span;
use tracing_opentelemetry::OpenTelemetrySpanExt as _;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Parent {
    trace: u128,
    span: u64,
    flags: u8,
}

impl Parent {
    /// `version-trace-span-flags`, in hexadecimal digits. None for what is not that: a parent is no reason to refuse a
    /// request.
    pub fn of_header(text: &str) -> Option<Parent> {
        let mut parts = text.trim().split('-');
        let mut part = |digits: usize| {
            let part = parts.next()?;
            let is_plain = part.bytes().all(|byte| byte.is_ascii_digit() || (b'a'..=b'f').contains(&byte));
            (part.len() == digits && is_plain).then_some(part)
        };
        let version = part(2)?;
        let (trace, span) = (u128::from_str_radix(part(32)?, 16).ok()?, u64::from_str_radix(part(16)?, 16).ok()?);
        let flags = u8::from_str_radix(part(2)?, 16).ok()?;
        // version 0 has no more; ff is none
        let ends = version != "00" || parts.next().is_none();
        (ends && version != "ff" && trace != 0 && span != 0).then_some(Parent { trace, span, flags })
    }

    /// Out of a comment in a statement, `traceparent='…'` between `/*` and `*/`, as libraries write it that comment
    /// statements.
    pub fn of_comment(sql: &str) -> Option<Parent> {
        // it stands at one end or the other
        let sql = sql.trim().trim_end_matches(';').trim_end();
        let leading = sql.strip_prefix("/*").and_then(|rest| rest.split_once("*/")).map(|(comment, _)| comment);
        let trailing = sql.strip_suffix("*/").and_then(|rest| rest.rsplit_once("/*")).map(|(_, comment)| comment);
        [trailing, leading].into_iter().flatten().find_map(|comment| {
            let (_, rest) = comment.split_once("traceparent='")?;
            Parent::of_header(rest.split_once('\'')?.0)
        })
    }

    pub(super) fn of(self, span: &Span) {
        let (trace, parent) = (TraceId::from(self.trace), SpanId::from(self.span));
        let context = SpanContext::new(trace, parent, TraceFlags::new(self.flags), true, TraceState::default());
        // fails only where no span is sent
        let _ = span.set_parent(opentelemetry::Context::new().with_remote_span_context(context));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const HEADER: &str = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01";

    #[test]
    fn headers_are_read_or_left_alone() {
        let parent = Parent { trace: 0x0af7_6519_16cd_43dd_8448_eb21_1c80_319c, span: 0xb7ad_6b71_6920_3331, flags: 1 };
        assert_eq!(Parent::of_header(HEADER), Some(parent));
        assert_eq!(Parent::of_header(&HEADER.replacen("00", "42", 1)), Some(parent));
        for wrong in [
            "",
            "00",
            &HEADER.to_uppercase(),
            &format!("{HEADER}-more"),
            &HEADER.replacen("00", "ff", 1),
            "00-00000000000000000000000000000000-b7ad6b7169203331-01",
            "00-0af7651916cd43dd8448eb211c80319c-0000000000000000-01",
            "00-+af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01",
        ] {
            assert_eq!(Parent::of_header(wrong), None, "{wrong}");
        }
    }

    #[test]
    fn comments_have_them_at_either_end() {
        let parent = Parent::of_header(HEADER);
        for sql in [
            format!("SELECT 1 /*traceparent='{HEADER}'*/"),
            format!("SELECT '/*' /* action='a',traceparent='{HEADER}',x='y' */ ;"),
            format!("/* traceparent='{HEADER}' */ SELECT 1"),
        ] {
            assert_eq!(Parent::of_comment(&sql), parent, "{sql}");
        }
        for sql in ["SELECT 1", "SELECT 1 /* traceparent='x' */", &format!("SELECT 'traceparent=''{HEADER}'''")] {
            assert_eq!(Parent::of_comment(sql), None, "{sql}");
        }
    }
}
