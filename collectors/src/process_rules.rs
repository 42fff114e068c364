//! Which group a process is published under: the rules of the config, else its executable's name.

use std::collections::HashMap;

use fieldpost_model::Pattern;
use serde::{Deserialize, Serialize};

/// One rule. The first that matches decides.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct GroupRule {
    /// Name of the group. `$1` and `${word}` stand for what the first of the patterns captured.
    pub name: String,
    /// What a process must be.
    #[serde(rename = "match")]
    pub matches: GroupMatch,
}

/// Conditions of a rule; all that are given must hold. Patterns are unanchored.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct GroupMatch {
    /// Name of the executable file.
    pub exe: Option<Pattern>,
    /// Name of the main thread.
    pub comm: Option<Pattern>,
    /// Command line.
    pub command: Option<Pattern>,
    /// Unit or cgroup.
    pub unit: Option<Pattern>,
    /// Name of the user; the number where it has none.
    pub user: Option<Pattern>,
}

/// What rules are asked about.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Subject<'a> {
    /// Name of the executable file.
    pub exe: &'a str,
    /// Name of the main thread.
    pub comm: &'a str,
    /// Command line.
    pub command: &'a str,
    /// Unit or cgroup.
    pub unit: &'a str,
    /// User id.
    pub uid: u32,
}

/// The rules with the names of users.
pub(crate) struct Rules {
    rules: Vec<GroupRule>,
    users: HashMap<u32, String>,
}

impl Rules {
    /// Takes the rules of the config and the users of this machine.
    pub fn new(rules: &[GroupRule], users: HashMap<u32, String>) -> Self {
        Self { rules: rules.to_vec(), users }
    }

    /// The group of a process.
    pub fn group(&self, subject: Subject<'_>) -> String {
        let chosen = self.rules.iter().find_map(|rule| self.apply(rule, subject));
        chosen.filter(|name| !name.is_empty()).unwrap_or_else(|| subject.exe.to_owned())
    }

    fn apply(&self, rule: &GroupRule, subject: Subject<'_>) -> Option<String> {
        let of = &rule.matches;
        let number = if of.user.is_some() { subject.uid.to_string() } else { String::new() };
        let user = self.users.get(&subject.uid).unwrap_or(&number);
        let conditions = [
            (&of.exe, subject.exe),
            (&of.comm, subject.comm),
            (&of.command, subject.command),
            (&of.unit, subject.unit),
            (&of.user, user.as_str()),
        ];
        let mut given = conditions.iter().filter_map(|(pattern, text)| Some((pattern.as_ref()?, *text)));
        if !given.clone().all(|(pattern, text)| pattern.is_match(text)) {
            return None;
        }
        let (first, text) = given.next()?;
        if rule.name.contains('$') { first.expand(text, &rule.name) } else { Some(rule.name.clone()) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rule(name: &str, matches: GroupMatch) -> GroupRule {
        GroupRule { name: name.into(), matches }
    }

    fn pattern(text: &str) -> Option<Pattern> {
        Some(Pattern::unanchored(text).unwrap())
    }

    #[test]
    fn first_rule_that_matches_decides_and_may_use_what_it_captured() {
        let rules = [
            rule(
                "web",
                GroupMatch { exe: pattern("^nginx$"), user: pattern("^www$"), ..GroupMatch::default() },
            ),
            rule(
                "java $1",
                GroupMatch { command: pattern(r"-jar \S*?([^/ ]+)\.jar"), ..GroupMatch::default() },
            ),
            rule("everything", GroupMatch { unit: pattern(r"\.service$"), ..GroupMatch::default() }),
            rule("never", GroupMatch::default()),
        ];
        let rules = Rules::new(&rules, HashMap::from([(33, "www".to_owned())]));
        let nginx = Subject { exe: "nginx", uid: 33, unit: "nginx.service", ..Subject::default() };
        assert_eq!(rules.group(nginx), "web");
        assert_eq!(rules.group(Subject { uid: 0, ..nginx }), "everything");
        let java = Subject { exe: "java", command: "java -jar /srv/shop.jar", ..Subject::default() };
        assert_eq!(rules.group(java), "java shop");
        assert_eq!(rules.group(Subject { exe: "sh", ..Subject::default() }), "sh");
    }
}
