//! Tests of the parser: what it reads, what it refuses and with which words, and that it reads what we write.

use fieldpost_model::Family;
use proptest::prelude::*;

use super::*;
use crate::Dialect;

fn read(text: &str) -> Vec<ParsedFamily> {
    parse(text.as_bytes()).unwrap()
}

fn refusal(text: impl AsRef<[u8]>) -> String {
    parse(text.as_ref()).unwrap_err().to_string()
}

fn sample(labels: &[(&str, &str)], value: f64) -> ParsedSample {
    let labels = labels.iter().map(|(n, v)| ((*n).to_owned(), (*v).to_owned())).collect();
    ParsedSample { suffix: "", labels, value, time_ms: None }
}

#[test]
fn plain_text_is_read() {
    assert_eq!(read("\n\n"), []);
    assert_eq!(read(""), []);
    let families =
        read("\nminimal 1.5\nother -3e3 103948\n# Even that:\nno_labels{} 3\n# HELP lone is left out.\n");
    let names: Vec<&str> = families.iter().map(|family| &*family.name).collect();
    assert_eq!(names, ["minimal", "other", "no_labels"]);
    assert_eq!(families[1].samples[0].time_ms, Some(103_948));
    assert!(families.iter().all(|family| family.kind == Kind::Untyped && family.help.is_none()));
}

#[test]
fn blanks_escapes_and_comments_are_read() {
    let families = read(concat!(
        "# A comment.\n#\n# TYPE name counter\n",
        "name {label=\"val2\",base=\"base\\\"v\\\\al\\nue\"} 0.23\n",
        "# HELP name two-line\\n doc  str\\\\ing\n \n",
        "  #    TYPE    name2 GAUGE\n",
        "\tname2{label=\"val2\"\t,base   =   \"b\"\t\t} +Inf\n",
        "name2{ label = \"val1\" , }-inf\nname2 nan\n",
    ));
    assert_eq!(families[0].kind, Kind::Counter);
    assert_eq!(families[0].help.as_deref(), Some("two-line\n doc  str\\ing"));
    assert_eq!(families[0].samples, [sample(&[("label", "val2"), ("base", "base\"v\\al\nue")], 0.23)]);
    assert_eq!(families[1].kind, Kind::Gauge);
    assert_eq!(families[1].samples[0], sample(&[("label", "val2"), ("base", "b")], f64::INFINITY));
    assert_eq!(families[1].samples[1], sample(&[("label", "val1")], f64::NEG_INFINITY));
    assert!(families[1].samples[2].value.is_nan());
}

#[test]
fn parts_of_histograms_and_summaries_find_their_family() {
    let families = read(concat!(
        "# TYPE h histogram\nh_bucket{le=\"+Inf\"} 2\nh_sum 3.5\nh_count 2\nh{le=\"1\"} 1\n",
        "# TYPE s summary\ns{quantile=\".3\"} -1.2\ns_count 20\nfake_sum 7\ns_bucket 1\n",
    ));
    let parts = |position: usize| families[position].samples.iter().map(|s| s.suffix).collect::<Vec<_>>();
    assert_eq!(parts(0), ["_bucket", "_sum", "_count", "_bucket"]);
    assert_eq!(parts(1), ["", "_count"]);
    assert_eq!(families[2].name, "fake_sum");
    assert_eq!(families[3].name, "s_bucket");
}

#[test]
fn wrong_lines_are_named() {
    for (text, wrong) in [
        ("a 3.14\nb 42", "line 2: expected a newline at the end of the text, which may be half written"),
        ("m{l=\"\\t\"} 3\n", "line 1: expected \\\\, \\\" or \\n, found a backslash before \"t\\\"} 3\""),
        ("\nm{l=\"new\nline\"} 3\n", "line 2: expected '\"' at the end of a label's value"),
        ("m{@=\"b\"} 3\n", "line 1: expected a label's name, found \"@=\\\"b\\\"} 3\""),
        ("m{__name__=\"b\"} 3\n", "line 1: label name \"__name__\" is reserved"),
        ("m{l+=\"b\"} 3\n", "line 1: expected '=' after label name \"l\", found \"+="),
        ("m{l=b} 3\n", "line 1: expected '\"' at the start of a label's value, found \"b} 3\""),
        ("m{l=\"b\"+} 3\n", "line 1: expected ',' or '}' after a label's value, found \"+} 3\""),
        (
            "m{l=\"b\"} 3 2.72\n",
            "line 1: expected nothing or whole milliseconds after the value, found \"2.72\"",
        ),
        ("m{l=\"b\"} 3 2 3\n", "line 1: expected the end of the line after the instant, found \" 3\""),
        ("m 3 \n", "line 1: expected nothing or whole milliseconds"),
        ("m\n", "line 1: expected a blank or '{' after \"m\", found the end of the line"),
        ("m \n", "line 1: expected a number as value, found \"\""),
        ("m-1\n", "line 1: expected a blank or '{' after \"m\", found \"-1\""),
        ("m blubb\n", "line 1: expected a number as value, found \"blubb\""),
        ("m 1\r\n", "line 1: expected a number as value, found \"1\\r\""),
        ("\n# HELP m one\n# HELP m two\n", "line 3: second HELP line for \"m\""),
        ("# TYPE m counter\n# TYPE m untyped\n", "line 2: second TYPE line for \"m\""),
        ("m 4\n# TYPE m counter\n", "line 2: second TYPE line for \"m\", or TYPE after its samples"),
        (
            "# TYPE m bla\n",
            "line 1: expected type counter, gauge, histogram, summary or untyped, found \"bla\"",
        ),
        ("# TYPE met-ric\n", "line 1: expected a metric's name and a blank, found \"-ric\""),
        ("@m{l=\"b\"} 3 2\n", "line 1: expected a metric's name, found \"@m{"),
        ("{l=\"b\"} 3 2\n", "line 1: expected a metric's name, found \"{l"),
        ("m{l=\"a\",l=\"a\"} 3\n", "line 1: label \"l\" is there twice"),
        ("m{a=\"1\",b=\"2\"} 3\nm{b=\"2\",a=\"1\"} 4\n", "line 2: this series of \"m\" was given before"),
        (
            "# TYPE s summary\ns{quantile=\"x\"} 3\n",
            "line 2: expected a number in label quantile, found \"x\"",
        ),
        ("# TYPE h histogram\nh_bucket{le=\"x\"} 3\n", "line 2: expected a number in label le, found \"x\""),
        ("# TYPE h histogram\nh 3\n", "line 2: expected a label le in this line of histogram \"h\""),
        (
            "# TYPE h histogram\nh_count -3\n",
            "line 2: expected no negative count in histogram \"h\", found -3",
        ),
        ("# TYPE h histogram\nh_sum{le=\"1\"} 3\n", "line 2: expected no label le in the sum of \"h\""),
    ] {
        let refusal = refusal(text);
        assert!(refusal.starts_with(wrong), "{text:?} gives: {refusal}");
    }
    assert!(refusal(b"m{l=\"\xbd\"} 3\n").starts_with("line 1: label value \"\u{fffd}\" is not UTF-8"));
}

#[test]
fn numbers_that_prometheus_does_not_take_are_refused() {
    for number in ["1_2", "0x1p-3", "0B1", "0o1", "0x1", "1e400", "+nan", "-NaN", "1,5", "--1", "", "e5", "."]
    {
        assert!(parse(format!("m {number}\n").as_bytes()).is_err(), "{number}");
    }
    for number in ["1", "08", "-1.", ".5", "+1e-3", "1E5", "NaN", "nan", "Inf", "+inf", "-Infinity", "1e-400"]
    {
        assert!(parse(format!("m {number}\n").as_bytes()).is_ok(), "{number}");
    }
}

#[test]
fn limits_hold() {
    let long = "x".repeat(LINE_BYTES_MAX + 1);
    assert!(refusal(format!("# {long}\n")).starts_with("line 1: expected at most 65536 bytes in a line"));
    assert!(refusal(vec![b'\n'; TEXT_BYTES_MAX + 1]).contains("expected at most 8388608 bytes"));
    let name = "n".repeat(NAME_BYTES_MAX + 1);
    assert!(refusal(format!("{name} 1\n")).contains("expected at most 1024 bytes in a name"));
    assert!(refusal(format!("m{{{name}=\"\"}} 1\n")).contains("bytes in a label's name"));
    let labels: String = (0..=FAMILY_LABELS_MAX).map(|n| format!("l{n}=\"v\",")).collect();
    assert!(refusal(format!("m{{{labels}}} 1\n")).contains("expected at most 64 labels"));
    let lines: String = (0..=FAMILY_LABELS_MAX).map(|n| format!("m{{l{n}=\"v\"}} 1\n")).collect();
    assert!(refusal(lines).starts_with("line 65: expected at most 64 different labels"));
    let many: String = (0..=SAMPLES_MAX).map(|n| format!("m{n} 1\n")).collect();
    assert!(refusal(many).starts_with("line 50001: expected at most 50000 metrics"));
}

/// Writes families as a page of text format 0.0.4.
fn page(families: &[ParsedFamily]) -> Vec<u8> {
    let mut out = Vec::new();
    for family in families {
        let help = family.help.clone().unwrap_or_default();
        let header = Family { name: family.name.as_str().into(), help: help.into(), kind: family.kind };
        write::header(&mut out, Dialect::Text, &header, |_| false);
        for sample in &family.samples {
            let mut series = format!("{}{}", family.name, sample.suffix).into_bytes();
            for (position, (name, value)) in sample.labels.iter().enumerate() {
                series.push(if position == 0 { b'{' } else { b',' });
                series.extend_from_slice(format!("{name}=\"").as_bytes());
                write::escaped_label(&mut series, value);
                series.push(b'"');
            }
            series.extend_from_slice(if sample.labels.is_empty() { b"" } else { b"}" });
            let series = String::from_utf8(series).unwrap();
            match sample.time_ms {
                Some(time_ms) => write::sample_at(&mut out, Dialect::Text, &series, sample.value, time_ms),
                None => write::sample(&mut out, &series, sample.value),
            }
        }
    }
    out
}

fn any_number() -> impl Strategy<Value = f64> {
    // Not-a-number equals nothing; `numbers` in the writer's tests has it.
    prop_oneof![any::<f64>().prop_filter("equals itself", |v| !v.is_nan()), Just(f64::INFINITY), Just(-0.0)]
}

fn any_labels() -> impl Strategy<Value = Labels> {
    let value = prop_oneof![".{0,8}", "[\"\\\\\n{}=, \t\r]{0,8}"];
    let labels = proptest::collection::btree_map("[a-z_][a-z0-9_]{0,5}", value, 0..4);
    let reserved = |name: &str| matches!(name, "le" | "quantile");
    labels.prop_map(move |map| map.into_iter().filter(|(name, _)| !reserved(name)).collect())
}

fn any_samples(kind: Kind) -> impl Strategy<Value = Vec<ParsedSample>> {
    let sample = (any_labels(), any_number(), any::<Option<i64>>(), any_number(), 0..3_usize);
    proptest::collection::vec(sample, 1..5).prop_map(move |rows| {
        let mut seen = HashSet::new();
        let of_kind = rows.into_iter().map(|(mut labels, value, time_ms, bound, part)| {
            let suffix = match kind {
                Kind::Histogram => ["_bucket", "_sum", "_count"][part],
                Kind::Summary => ["", "_sum", "_count"][part],
                _ => "",
            };
            if part == 0 && !own_label(kind).is_empty() {
                labels.push((own_label(kind).to_owned(), write::label_number(bound)));
            }
            let value = if kind == Kind::Histogram && suffix != "_sum" { value.abs() } else { value };
            ParsedSample { suffix, labels, value, time_ms }
        });
        let key = |s: &ParsedSample| {
            let full = s.labels.iter().filter(|(_, value)| !value.is_empty());
            (s.suffix, full.cloned().collect::<Labels>())
        };
        of_kind.filter(|s| seen.insert(key(s))).collect()
    })
}

fn any_family(position: usize) -> impl Strategy<Value = ParsedFamily> {
    let kinds = vec![Kind::Counter, Kind::Gauge, Kind::Histogram, Kind::Summary, Kind::Untyped];
    let help = proptest::option::of("[^ \t].{0,20}[\"\\\\\n]{0,3}");
    (proptest::sample::select(kinds), help, "[a-zA-Z_:][a-zA-Z0-9_:]{0,8}").prop_flat_map(
        move |(kind, help, name)| {
            any_samples(kind).prop_map(move |samples| ParsedFamily {
                name: format!("{name}{position}"),
                help: help.clone(),
                kind,
                samples,
            })
        },
    )
}

proptest! {
    #[test]
    fn what_is_written_reads_back(a in any_family(1), b in any_family(2), c in any_family(3)) {
        let families = vec![a, b, c];
        let text = page(&families);
        prop_assert_eq!(parse(&text).map_err(|e| e.to_string()), Ok(families), "{}", String::from_utf8_lossy(&text));
    }

    #[test]
    fn half_a_page_is_refused_or_whole_lines(a in any_family(1), b in any_family(2), cut in 0.0..1.0_f64) {
        let text = page(&[a, b]);
        let half = &text[..(text.len() as f64 * cut) as usize];
        if parse(half).is_ok() {
            prop_assert!(half.is_empty() || half.ends_with(b"\n"));
        }
    }

    #[test]
    fn arbitrary_bytes_do_no_harm(bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
        let _ = parse(&bytes);
    }

    #[test]
    fn arbitrary_marks_do_no_harm(text in "(# (HELP|TYPE) )?[a{}=\"\\\\, \n#0-9.:le]{0,60}\n") {
        if let Ok(families) = parse(text.as_bytes()) {
            let again = page(&families);
            let again = parse(&again);
            prop_assert!(again.is_ok(), "{:?}", again);
            families.into_iter().for_each(|family| drop(family.normalised()));
        }
    }
}
