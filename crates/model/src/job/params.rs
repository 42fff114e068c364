//! Parameters of a job: what its caller may fill in, of which type and within which bounds. Values
//! come as text or as any plain value and are kept as the text that the command gets; they stand in
//! arguments and variables as `{{name}}`, and are never part of a line of the shell.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

use serde::de::{Deserializer, Visitor};
use serde::{Deserialize, Serialize};

use super::Job;
use crate::Pattern;

/// Each parameter is also a variable of the environment, which begins so.
pub const VARIABLE_PREFIX: &str = "FIELDPOST_PARAM_";
/// Parameters of one job.
const N_PARAMS_MAX: usize = 64;
/// Bytes of a parameter's name.
const NAME_BYTES_MAX: usize = 64;
/// Bytes of a value.
const VALUE_BYTES_MAX: usize = 16 << 10;
/// Bytes of all arguments and variables once values stand in them.
const FILLED_BYTES_MAX: usize = 1 << 20;
/// So much of a value is shown in a message, characters.
const SHOWN_MAX: usize = 60;

/// One parameter.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Param {
    /// Its name, by which it is filled and stands in arguments.
    pub name: String,
    /// What its values are.
    #[serde(rename = "type")]
    pub kind: ParamKind,
    /// Has a caller to fill it?
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub required: bool,
    /// Its value where nobody gives one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub default: Option<Plain>,
    /// Of type string: the whole value has to match this regular expression.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub pattern: Option<String>,
    /// Of type int and float: not less.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub min: Option<f64>,
    /// Of type int and float: not more.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub max: Option<f64>,
    /// Of type choice: what there is to choose from.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub choices: Vec<Plain>,
    /// What it is for.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub help: String,
}

/// What the values of a parameter are.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ParamKind {
    /// Text.
    #[default]
    String,
    /// A whole number.
    Int,
    /// Any number.
    Float,
    /// true or false.
    Bool,
    /// One of a few words.
    Choice,
}

/// A plain value: text, a number, true or false; kept as its text.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Default, Serialize)]
pub struct Plain(pub String);

impl fmt::Display for Plain {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl<'de> Deserialize<'de> for Plain {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Any;
        impl Visitor<'_> for Any {
            type Value = Plain;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("text, a number, true or false")
            }
            fn visit_str<E>(self, text: &str) -> Result<Plain, E> {
                Ok(Plain(text.to_owned()))
            }
            fn visit_bool<E>(self, value: bool) -> Result<Plain, E> {
                Ok(Plain(value.to_string()))
            }
            fn visit_i64<E>(self, value: i64) -> Result<Plain, E> {
                Ok(Plain(value.to_string()))
            }
            fn visit_u64<E>(self, value: u64) -> Result<Plain, E> {
                Ok(Plain(value.to_string()))
            }
            fn visit_f64<E>(self, value: f64) -> Result<Plain, E> {
                Ok(Plain(value.to_string()))
            }
        }
        deserializer.deserialize_any(Any)
    }
}

/// Values by the names of their parameters.
pub type ParamValues = BTreeMap<String, String>;

type Fault = (String, String);

impl Param {
    /// The name of its variable.
    pub fn variable(&self) -> String {
        format!("{VARIABLE_PREFIX}{}", self.name.to_ascii_uppercase())
    }

    /// What may be given, for people: `a whole number from 1 to 9`.
    pub fn allowed(&self) -> String {
        let range = match (self.min, self.max) {
            (Some(min), Some(max)) => format!(" from {min} to {max}"),
            (Some(min), None) => format!(" from {min} on"),
            (None, Some(max)) => format!(" up to {max}"),
            (None, None) => String::new(),
        };
        match self.kind {
            ParamKind::String => self.pattern.as_ref().map_or_else(
                || "text of one line that does not begin with a dash".to_owned(),
                |pattern| format!("text that matches {pattern} as a whole"),
            ),
            ParamKind::Int => format!("a whole number{range}"),
            ParamKind::Float => format!("a number{range}"),
            ParamKind::Bool => "true or false".to_owned(),
            ParamKind::Choice => {
                let words: Vec<&str> = self.choices.iter().map(|choice| choice.0.as_str()).collect();
                format!("one of {}", words.join(", "))
            }
        }
    }

    /// The value as the command gets it, or what would be allowed.
    pub fn accept(&self, given: &str) -> Result<String, String> {
        let refused = || {
            let shown: String = given.chars().take(SHOWN_MAX).collect();
            format!("{shown:?} is not allowed; give {}", self.allowed())
        };
        if given.len() > VALUE_BYTES_MAX {
            return Err(format!("{} bytes; at most {VALUE_BYTES_MAX}", given.len()));
        }
        let in_range = |number: f64| {
            self.min.is_none_or(|min| number >= min) && self.max.is_none_or(|max| number <= max)
        };
        let accepted = match self.kind {
            ParamKind::String => self.is_text(given).then(|| given.to_owned()),
            ParamKind::Int => {
                let number = given.trim().parse::<i64>().ok().filter(|number| in_range(*number as f64));
                number.map(|number| number.to_string())
            }
            ParamKind::Float => {
                let number = given.trim().parse::<f64>().ok();
                let number = number.filter(|number| number.is_finite() && in_range(*number));
                number.map(|number| number.to_string())
            }
            ParamKind::Bool => given.trim().parse::<bool>().ok().map(|value| value.to_string()),
            ParamKind::Choice => {
                self.choices.iter().find(|choice| choice.0 == given).map(|choice| choice.0.clone())
            }
        };
        accepted.ok_or_else(refused)
    }

    /// Without a pattern nothing is let through that a command might take for an option, or for the
    /// end of a line.
    fn is_text(&self, given: &str) -> bool {
        match &self.pattern {
            Some(pattern) => {
                !given.contains('\0') && Pattern::new(pattern).is_ok_and(|pattern| pattern.is_match(given))
            }
            None => !given.starts_with('-') && !given.chars().any(char::is_control),
        }
    }

    /// What is wrong with its definition.
    fn faults(&self) -> Vec<(&'static str, String)> {
        let mut faults = Vec::new();
        let fits = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '_';
        let begins = self.name.starts_with(|c: char| c.is_ascii_lowercase());
        if !begins || self.name.len() > NAME_BYTES_MAX || !self.name.chars().all(fits) {
            let text = format!(
                "{:?} is no name of a parameter; write small letters, digits and underscores",
                self.name
            );
            faults.push(("name", text));
        }
        if let Some(pattern) = &self.pattern {
            // By itself first, so that it cannot close the group that anchors it.
            let compiled = Pattern::unanchored(pattern).and_then(|_| Pattern::new(pattern));
            faults.extend(compiled.err().map(|error| ("pattern", error.to_string())));
        }
        let is_number = matches!(self.kind, ParamKind::Int | ParamKind::Float);
        for (key, is_set, fits) in [
            ("pattern", self.pattern.is_some(), self.kind == ParamKind::String),
            ("min", self.min.is_some(), is_number),
            ("max", self.max.is_some(), is_number),
            ("choices", !self.choices.is_empty(), self.kind == ParamKind::Choice),
        ] {
            if is_set && !fits {
                faults.push((key, "does not go with the type of this parameter".to_owned()));
            }
        }
        if self.kind == ParamKind::Choice && self.choices.is_empty() {
            faults.push(("choices", "missing; write what there is to choose from".to_owned()));
        }
        if self.min.zip(self.max).is_some_and(|(min, max)| min > max) {
            faults.push(("max", "is less than min".to_owned()));
        }
        if self.required && self.default.is_some() {
            faults.push((
                "default",
                "is never used where required is true; set only one of the two".to_owned(),
            ));
        }
        if faults.is_empty()
            && let Some(default) = &self.default
        {
            faults.extend(self.accept(&default.0).err().map(|text| ("default", text)));
        }
        faults
    }
}

impl Job {
    /// What is wrong with the parameters and with where they stand.
    pub(super) fn faults_of_params(&self) -> Vec<Fault> {
        let mut faults = Vec::new();
        if self.params.len() > N_PARAMS_MAX {
            faults.push(("params".to_owned(), format!("{}; at most {N_PARAMS_MAX}", self.params.len())));
        }
        let mut names = BTreeSet::new();
        for (place, param) in self.params.iter().enumerate() {
            let key = |key: &str| format!("params[{place}].{key}");
            faults.extend(param.faults().into_iter().map(|(name, text)| (key(name), text)));
            if !names.insert(param.name.as_str()) {
                faults.push((key("name"), format!("{} is defined twice", param.name)));
            }
            if param.required && (self.is_scheduled() || self.keep) {
                let text = "a job that runs by itself has nobody who gives it; write a default";
                faults.push((key("required"), text.to_owned()));
            }
        }
        if self.params.is_empty() {
            return faults;
        }
        for (key, text) in [("command", Some(&self.command)), ("shell", self.shell.as_ref())] {
            if text.is_some_and(|text| placeholders(text).any(|name| names.contains(name))) {
                let text = format!(
                    "a value never becomes part of it; use the variable \"${VARIABLE_PREFIX}NAME\", in double quotes"
                );
                faults.push((key.to_owned(), text));
            }
        }
        let unknown = |text: &str| placeholders(text).find(|name| !names.contains(name)).map(str::to_owned);
        let told = |key: String, name: String| (key, format!("{{{{{name}}}}} is no parameter of this job"));
        for (place, text) in self.args.iter().enumerate() {
            faults.extend(unknown(text).map(|name| told(format!("args[{place}]"), name)));
        }
        for (name, text) in &self.env {
            faults.extend(unknown(text).map(|unknown| told(format!("env.{name}"), unknown)));
        }
        faults
    }

    /// The values that a run gets: those given, else the defaults. Everything that is wrong is told,
    /// with what would be allowed.
    pub fn fill(&self, given: &ParamValues) -> Result<ParamValues, Vec<Fault>> {
        let (mut values, mut faults) = (ParamValues::new(), Vec::new());
        let mut add = |name: &str, text: String| faults.push((format!("params.{name}"), text));
        for param in &self.params {
            match (given.get(&param.name), &param.default) {
                (Some(text), _) | (None, Some(Plain(text))) => match param.accept(text) {
                    Ok(value) => drop(values.insert(param.name.clone(), value)),
                    Err(text) => add(&param.name, text),
                },
                (None, None) if param.required => {
                    add(&param.name, format!("missing; give {}", param.allowed()));
                }
                (None, None) => {}
            }
        }
        let known: Vec<&str> = self.params.iter().map(|param| param.name.as_str()).collect();
        for name in given.keys().filter(|name| !known.contains(&name.as_str())) {
            let has = if known.is_empty() { "none".to_owned() } else { known.join(", ") };
            add(name, format!("no such parameter; this job has {has}"));
        }
        let n_bytes: usize = self.filled_argv(&values).iter().map(String::len).sum::<usize>()
            + self.filled_env(&values).iter().map(|(name, value)| name.len() + value.len()).sum::<usize>();
        if n_bytes > FILLED_BYTES_MAX {
            let text = format!("the command would get {n_bytes} bytes; at most {FILLED_BYTES_MAX}");
            faults.push(("params".to_owned(), text));
        }
        if faults.is_empty() { Ok(values) } else { Err(faults) }
    }

    /// The program and its arguments with the values in them. An argument that names a parameter
    /// without a value is left out.
    pub fn filled_argv(&self, values: &ParamValues) -> Vec<String> {
        let argv = self.argv();
        if self.params.is_empty() || self.shell.is_some() {
            return argv;
        }
        let (program, arguments) = argv.split_at(1);
        let filled = arguments.iter().filter_map(|text| self.filled(text, values));
        program.iter().cloned().chain(filled).collect()
    }

    /// The job's variables with the values in them, and one for each parameter that has a value.
    pub fn filled_env(&self, values: &ParamValues) -> BTreeMap<String, String> {
        if self.params.is_empty() {
            return self.env.clone();
        }
        let own =
            self.params.iter().filter_map(|param| Some((param.variable(), values.get(&param.name)?.clone())));
        let set = self.env.iter().filter_map(|(name, text)| Some((name.clone(), self.filled(text, values)?)));
        own.chain(set).collect()
    }

    /// One pass: what stands in a value is never looked at again.
    fn filled(&self, text: &str, values: &ParamValues) -> Option<String> {
        let (mut filled, mut rest) = (String::with_capacity(text.len()), text);
        while let Some((before, name, after)) = placeholder(rest) {
            filled.push_str(before);
            match values.get(name) {
                Some(value) => filled.push_str(value),
                None if self.params.iter().any(|param| param.name == name) => return None,
                None => filled.push_str(&rest[before.len()..rest.len() - after.len()]),
            }
            rest = after;
        }
        filled.push_str(rest);
        Some(filled)
    }
}

/// The first `{{name}}`: what stands before it, the name, what stands behind it. Other things in
/// double braces, such as `{{.Names}}`, are somebody else's.
fn placeholder(text: &str) -> Option<(&str, &str, &str)> {
    let mut from = 0;
    while let Some(begin) = text[from..].find("{{").map(|place| place + from) {
        let inside = &text[begin + 2..];
        let end = inside.find("}}")?;
        let name = &inside[..end];
        let fits = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '_';
        if name.starts_with(|c: char| c.is_ascii_lowercase()) && name.chars().all(fits) {
            return Some((&text[..begin], name, &inside[end + 2..]));
        }
        from = begin + 1;
    }
    None
}

fn placeholders(text: &str) -> impl Iterator<Item = &str> {
    let mut rest = text;
    std::iter::from_fn(move || {
        let (_, name, after) = placeholder(rest)?;
        rest = after;
        Some(name)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn job(params: &str) -> Job {
        let args =
            ["--level={{level}}", "{{name}}", "{{.Names}} {{{name}}}", "x"].map(str::to_owned).to_vec();
        Job { command: "c".into(), args, params: serde_json::from_str(params).unwrap(), ..Job::default() }
    }

    fn values(pairs: &[(&str, &str)]) -> ParamValues {
        pairs.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect()
    }

    #[test]
    fn values_stand_in_arguments_once_and_for_all() {
        let job = job(r#"[{"name": "level", "type": "int", "min": 1, "max": 9},
                          {"name": "name", "default": "{{level}}"}]"#);
        assert_eq!(job.faults(), []);
        let filled = job.fill(&values(&[("level", " +07 ")])).unwrap();
        assert_eq!(job.filled_argv(&filled), ["c", "--level=7", "{{level}}", "{{.Names}} {{{level}}}", "x"]);
        assert_eq!(
            job.filled_env(&filled),
            values(&[("FIELDPOST_PARAM_LEVEL", "7"), ("FIELDPOST_PARAM_NAME", "{{level}}")])
        );
        let without = job.fill(&values(&[])).unwrap();
        assert_eq!(job.filled_argv(&without)[1], "{{level}}", "an argument without its value is left out");
    }

    #[test]
    fn faults_are_told_all_at_once_with_what_is_allowed() {
        let job = job(r#"[{"name": "level", "type": "int", "min": 1, "max": 9, "required": true},
                          {"name": "name", "pattern": "[a-z]+|x"}, {"name": "way", "type": "choice", "choices": ["up", 2]},
                          {"name": "on", "type": "bool"}, {"name": "part", "type": "float", "max": 0.5}]"#);
        let given = [("name", "ab\n"), ("way", "UP"), ("on", "yes"), ("part", "NaN"), ("othr", "1")];
        let faults: Vec<String> =
            job.fill(&values(&given)).unwrap_err().into_iter().map(|fault| fault.1).collect();
        let expected = [
            "missing; give a whole number from 1 to 9",
            "\"ab\\n\" is not allowed; give text that matches [a-z]+|x as a whole",
            "\"UP\" is not allowed; give one of up, 2",
            "\"yes\" is not allowed; give true or false",
            "\"NaN\" is not allowed; give a number up to 0.5",
            "no such parameter; this job has level, name, way, on, part",
        ];
        assert_eq!(faults, expected);
        let fine = [("level", "9"), ("name", "x"), ("way", "2"), ("on", "true"), ("part", "-1e3")];
        assert_eq!(job.fill(&values(&fine)).unwrap()["part"], "-1000");
    }

    #[test]
    fn text_without_a_pattern_is_neither_an_option_nor_two_lines() {
        let param = Param { name: "a".into(), ..Param::default() };
        for text in ["--rm", "a\nb", "a\0b"] {
            assert!(param.accept(text).is_err(), "{text:?}");
        }
        assert_eq!(param.accept("a b; rm -rf /").unwrap(), "a b; rm -rf /", "no shell ever sees it");
        let wide = Param { pattern: Some("(?s:.*)".into()), ..param };
        assert!(wide.accept("--rm\n").is_ok() && wide.accept("a\0b").is_err());
    }

    #[test]
    fn definitions_that_cannot_be_are_refused() {
        let keys = |job: &Job| job.faults().into_iter().map(|(key, _)| key).collect::<Vec<_>>();
        let wrong = job(
            r#"[{"name": "Level"}, {"name": "name", "pattern": "a)|(b"}, {"name": "name", "min": 1},
                            {"name": "n", "type": "int", "default": 10, "max": 9}, {"name": "c", "type": "choice"}]"#,
        );
        let expected = [
            "params[0].name",
            "params[1].pattern",
            "params[2].min",
            "params[2].name",
            "params[3].default",
            "params[4].choices",
            "args[0]",
        ];
        assert_eq!(keys(&wrong), expected);
        let shell = Job {
            shell: Some("echo {{a}}".into()),
            params: vec![Param { name: "a".into(), ..Param::default() }],
            ..Job::default()
        };
        assert_eq!(keys(&shell), ["shell"]);
        let alone = Job {
            name: "a".into(),
            keep: true,
            params: vec![
                Param { name: "level".into(), required: true, ..Param::default() },
                Param { name: "name".into(), ..Param::default() },
            ],
            ..job("[]")
        };
        assert_eq!(keys(&alone), ["params[0].required"]);
        assert_eq!(keys(&job("[]")), [""; 0], "without parameters braces are only braces");
    }
}
