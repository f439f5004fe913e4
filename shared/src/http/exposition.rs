//! The formats of `/metrics`: `OpenMetrics` for clients that ask for it, and Prometheus' older text format for all others.

/// A text format of metrics.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Exposition {
    /// `OpenMetrics` 1.0.
    OpenMetrics,
    /// The text format 0.0.4, which every tool reads.
    Text,
}

impl Exposition {
    /// Chooses by the value of `Accept`: `OpenMetrics` if it is named and not rated below plain text.
    pub fn accepted(accept: Option<&str>) -> Self {
        let accept = accept.unwrap_or_default();
        let open = quality(accept, "application/openmetrics-text");
        let text = quality(accept, "text/plain");
        if open > 0.0 && open >= text {
            Self::OpenMetrics
        } else {
            Self::Text
        }
    }

    /// The media type of the answer.
    pub const fn content_type(self) -> &'static str {
        match self {
            Self::OpenMetrics => "application/openmetrics-text; version=1.0.0; charset=utf-8",
            Self::Text => "text/plain; version=0.0.4; charset=utf-8",
        }
    }

    /// Converts metrics from `OpenMetrics`, in which they are encoded.
    pub fn of(self, open_metrics: String) -> String {
        match self {
            Self::OpenMetrics => open_metrics,
            Self::Text => plain(&open_metrics),
        }
    }
}

/// Returns the highest quality that a list of media types gives to `wanted`; 0 if it is not named.
fn quality(accept: &str, wanted: &str) -> f32 {
    let named = accept.split(',').filter_map(|range| {
        let mut parts = range.split(';').map(str::trim);
        let name = parts.next()?;
        name.eq_ignore_ascii_case(wanted).then(|| {
            let rated = parts.find_map(|part| part.strip_prefix("q=")?.parse().ok());
            rated.unwrap_or(1.0)
        })
    });
    named.fold(0.0, f32::max)
}

/// The same samples in the text format 0.0.4: counters are described under the name of their sample, and there are
/// neither units nor an end.
fn plain(open_metrics: &str) -> String {
    let mut text = String::with_capacity(open_metrics.len() + open_metrics.len() / 16);
    let mut lines = open_metrics.lines().peekable();
    while let Some(line) = lines.next() {
        let help = line
            .strip_prefix("# HELP ")
            .and_then(|it| it.split_once(' '));
        let kind = line
            .strip_prefix("# TYPE ")
            .and_then(|it| it.split_once(' '));
        if let Some((name, words)) = help {
            let next = lines.peek().and_then(|next| next.strip_prefix("# TYPE "));
            let described = next.and_then(|next| next.split_once(' '));
            let suffix = described.map_or("", |(_, kind)| suffix(kind));
            push(&mut text, &["# HELP ", name, suffix, " ", words]);
        } else if let Some((name, kind)) = kind {
            let suffix = suffix(kind);
            let kind = match kind {
                "unknown" => "untyped",
                "info" => "gauge",
                other => other,
            };
            push(&mut text, &["# TYPE ", name, suffix, " ", kind]);
        } else if !line.starts_with("# UNIT ") && line != "# EOF" {
            push(&mut text, &[line]);
        }
    }
    text
}

fn suffix(kind: &str) -> &'static str {
    match kind {
        "counter" => "_total",
        "info" => "_info",
        _ => "",
    }
}

fn push(text: &mut String, parts: &[&str]) {
    for part in parts {
        text.push_str(part);
    }
    text.push('\n');
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_format_is_the_one_that_is_asked_for() {
        let prometheus = "application/openmetrics-text;version=1.0.0;escaping=allow-utf-8;q=0.5,\
                          application/openmetrics-text;version=0.0.1;q=0.4,text/plain;version=0.0.4;q=0.2,*/*;q=0.1";
        for open in [
            prometheus,
            "application/openmetrics-text",
            "Application/OpenMetrics-Text; version=1.0.0",
        ] {
            assert_eq!(
                Exposition::accepted(Some(open)),
                Exposition::OpenMetrics,
                "{open}"
            );
        }
        for text in [
            "",
            "*/*",
            "text/plain;version=0.0.4",
            "text/html, */*;q=0.8",
            "application/openmetrics-text;q=0",
            "text/plain, application/openmetrics-text;q=0.5",
        ] {
            assert_eq!(Exposition::accepted(Some(text)), Exposition::Text, "{text}");
        }
        assert_eq!(Exposition::accepted(None), Exposition::Text);
    }

    #[test]
    fn the_older_format_has_the_same_samples() {
        let open = "# HELP a Counts # TYPE x.\n# TYPE a counter\na_total{b=\"c\"} 1\n\
                    # HELP d_seconds Takes.\n# TYPE d_seconds histogram\n# UNIT d_seconds seconds\n\
                    d_seconds_bucket{le=\"+Inf\"} 1\n# HELP e Is.\n# TYPE e gauge\ne 2\n\
                    # HELP f Version.\n# TYPE f info\nf_info{v=\"1\"} 1\n# TYPE g unknown\ng 3\n# EOF\n";
        assert_eq!(
            Exposition::Text.of(open.to_owned()),
            "# HELP a_total Counts # TYPE x.\n# TYPE a_total counter\na_total{b=\"c\"} 1\n\
             # HELP d_seconds Takes.\n# TYPE d_seconds histogram\nd_seconds_bucket{le=\"+Inf\"} 1\n\
             # HELP e Is.\n# TYPE e gauge\ne 2\n# HELP f_info Version.\n# TYPE f_info gauge\nf_info{v=\"1\"} 1\n\
             # TYPE g untyped\ng 3\n"
        );
        assert_eq!(Exposition::OpenMetrics.of(open.to_owned()), open);
    }
}
