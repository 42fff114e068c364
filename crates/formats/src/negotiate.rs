//! What a client's headers ask for: the dialect of the page and whether it may be compressed.

/// A form of the page of metrics.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub enum Dialect {
    /// Prometheus text format 0.0.4.
    #[default]
    Text,
    /// OpenMetrics 1.0.0.
    OpenMetrics,
}

impl Dialect {
    /// The value of `Content-Type`.
    pub fn content_type(self) -> &'static str {
        match self {
            Dialect::Text => "text/plain; version=0.0.4; charset=utf-8",
            Dialect::OpenMetrics => "application/openmetrics-text; version=1.0.0; charset=utf-8",
        }
    }

    /// The dialect that a value of `Accept` likes best; the first of several equally liked. Text where nothing
    /// is asked for, or nothing that is spoken here: a page that a person can read is better than a refusal.
    pub fn negotiate(accept: &str) -> Dialect {
        let mut best = (0, Dialect::Text);
        for (media, parameters) in entries(accept) {
            let Some(dialect) = spoken(media, parameters) else { continue };
            let liking = quality(parameters);
            if liking > best.0 {
                best = (liking, dialect);
            }
        }
        best.1
    }
}

/// May the answer be compressed with gzip, by this value of `Accept-Encoding`? What names gzip decides; without it `*` does.
pub fn accepts_gzip(accept_encoding: &str) -> bool {
    let mut any = false;
    for (coding, parameters) in entries(accept_encoding) {
        let wanted = quality(parameters) > 0;
        if coding.eq_ignore_ascii_case("gzip") || coding.eq_ignore_ascii_case("x-gzip") {
            return wanted;
        }
        any |= coding == "*" && wanted;
    }
    any
}

/// How an answer is compressed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Coding {
    /// gzip.
    Gzip,
    /// Zstandard.
    Zstd,
}

impl Coding {
    /// Which one is liked best, by this value of `Accept-Encoding`; of two that are liked as much zstd, which is
    /// quicker and smaller. It has to be named: `*` stands for what everybody knows.
    pub fn negotiate(accept_encoding: &str) -> Option<Self> {
        let liked = |names: &[&str]| {
            let mut named = entries(accept_encoding)
                .filter(|(coding, _)| names.iter().any(|name| coding.eq_ignore_ascii_case(name)));
            named.next().map(|(_, parameters)| quality(parameters))
        };
        let zstd = liked(&["zstd"]).filter(|quality| *quality > 0);
        let gzip = liked(&["gzip", "x-gzip"]).unwrap_or(0);
        match zstd {
            Some(zstd) if zstd >= gzip => Some(Self::Zstd),
            _ => accepts_gzip(accept_encoding).then_some(Self::Gzip),
        }
    }

    /// As `Content-Encoding` says it.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Gzip => "gzip",
            Self::Zstd => "zstd",
        }
    }
}

/// The comma-separated entries of a header, each with what follows its first semicolon.
fn entries(header: &str) -> impl Iterator<Item = (&str, &str)> {
    header.split(',').map(|entry| {
        let (value, parameters) = entry.split_once(';').unwrap_or((entry, ""));
        (value.trim(), parameters)
    })
}

/// The value of a parameter of a media type, without quotes.
pub(crate) fn parameter<'a>(parameters: &'a str, wanted: &str) -> Option<&'a str> {
    let mut pairs = parameters.split(';').filter_map(|parameter| parameter.split_once('='));
    let (_, value) = pairs.find(|(name, _)| name.trim().eq_ignore_ascii_case(wanted))?;
    Some(value.trim().trim_matches('"'))
}

/// How much an entry is liked, in thousandths; one that cannot be read is not wanted.
fn quality(parameters: &str) -> u16 {
    let Some(text) = parameter(parameters, "q") else { return 1_000 };
    match text.parse::<f64>() {
        Ok(q) if (0.0..=1.0).contains(&q) => (q * 1_000.0) as u16,
        _ => 0,
    }
}

fn spoken(media: &str, parameters: &str) -> Option<Dialect> {
    let version = parameter(parameters, "version");
    match media.to_ascii_lowercase().as_str() {
        "application/openmetrics-text" if matches!(version, None | Some("1.0.0")) => {
            Some(Dialect::OpenMetrics)
        }
        "text/plain" if matches!(version, None | Some("0.0.4")) => Some(Dialect::Text),
        "text/*" | "*/*" => Some(Dialect::Text),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn dialect_is_what_is_liked_best() {
        let prometheus = "application/openmetrics-text;version=1.0.0;escaping=allow-utf-8;q=0.6,\
            application/openmetrics-text;version=0.0.1;q=0.5,text/plain;version=1.0.0;escaping=allow-utf-8;q=0.4,\
            text/plain;version=0.0.4;q=0.3,*/*;q=0.2";
        let protobuf_first = "application/vnd.google.protobuf;proto=io.prometheus.client.MetricFamily;\
            encoding=delimited;q=0.7,text/plain;version=0.0.4;q=0.3";
        for (accept, dialect) in [
            ("", Dialect::Text),
            ("*/*", Dialect::Text),
            ("text/html, */*;q=0.8", Dialect::Text),
            ("application/json", Dialect::Text),
            (prometheus, Dialect::OpenMetrics),
            (protobuf_first, Dialect::Text),
            ("application/openmetrics-text", Dialect::OpenMetrics),
            ("Application/OpenMetrics-Text; Version=\"1.0.0\"", Dialect::OpenMetrics),
            ("application/openmetrics-text;version=0.0.1", Dialect::Text),
            ("application/openmetrics-text;q=0", Dialect::Text),
            ("application/openmetrics-text;q=0.1, text/plain;q=0.2", Dialect::Text),
            ("application/openmetrics-text;q=0.5, text/plain;q=0.5", Dialect::OpenMetrics),
            ("text/plain, application/openmetrics-text", Dialect::Text),
            ("application/openmetrics-text;q=2", Dialect::Text),
        ] {
            assert_eq!(Dialect::negotiate(accept), dialect, "{accept}");
        }
    }

    #[test]
    fn gzip_is_used_only_where_it_is_wanted() {
        for (header, wanted) in [
            ("gzip", true),
            ("gzip, deflate, br", true),
            ("deflate, GZIP;q=0.5", true),
            ("*", true),
            ("x-gzip", true),
            ("", false),
            ("identity", false),
            ("gzip;q=0", false),
            ("gzip;q=0.000, *", false),
            ("*, gzip;q=0", false),
            ("*;q=0", false),
            ("gzip;q=many", false),
            ("notgzip", false),
        ] {
            assert_eq!(accepts_gzip(header), wanted, "{header}");
        }
    }

    #[test]
    fn zstd_is_preferred_where_it_is_named() {
        for (header, wanted) in [
            ("gzip, deflate, br, zstd", Some(Coding::Zstd)),
            ("zstd;q=0.5, gzip", Some(Coding::Gzip)),
            ("zstd;q=0, *", Some(Coding::Gzip)),
            ("zstd, gzip;q=0", Some(Coding::Zstd)),
            ("*", Some(Coding::Gzip)),
            ("zstd;q=0", None),
            ("", None),
        ] {
            assert_eq!(Coding::negotiate(header), wanted, "{header}");
        }
    }

    proptest! {
        #[test]
        fn any_header_is_answered(header in "[a-z*/;=,.0-9 \"\\-]{0,80}") {
            Dialect::negotiate(&header);
            accepts_gzip(&header);
            Coding::negotiate(&header);
        }
    }
}
