//! Many files become one set of series: families of the same name from several files are joined, and what
//! contradicts something else is left out and told.

use std::collections::{BTreeMap, BTreeSet, HashSet};

use fieldpost_formats::ParsedFamily;
use fieldpost_model::{Family, Kind, SeriesId, Tick};

use super::file::MetricsFile;

/// The most series from all files together.
const SERIES_MAX: usize = 100_000;

/// What all files give.
#[derive(Default)]
pub(super) struct Merged {
    /// Every series and its value.
    pub(super) samples: Vec<(SeriesId, f64)>,
    /// What was left out, and why.
    pub(super) problems: BTreeSet<String>,
}

/// A family and the files it is in.
struct Joined<'a> {
    kind: Kind,
    help: Option<&'a str>,
    parts: Vec<(&'a MetricsFile, &'a ParsedFamily)>,
}

impl Merged {
    /// Joins the files anew. Series that are no longer given end; problems are logged when they are new.
    pub(super) fn renew(&mut self, files: &[&MetricsFile], tick: &Tick) {
        let mut next = Merged::default();
        let mut joined = next.join(files);
        let described = next.heed_others(&mut joined, tick);
        let mut given = HashSet::new();
        for (name, family) in &joined {
            next.add(name, family, described.get(*name).map(|help| &**help), tick, &mut given);
        }
        next.add_mtimes(files, tick, &mut given);
        for (id, _) in self.samples.iter().filter(|(id, _)| !given.contains(id)) {
            tick.retire(*id);
        }
        for problem in next.problems.difference(&self.problems) {
            tracing::warn!("textfile: {problem}");
        }
        *self = next;
    }

    /// Gathers families by name. The first file that describes one is right.
    fn join<'a>(&mut self, files: &[&'a MetricsFile]) -> BTreeMap<&'a str, Joined<'a>> {
        let mut joined: BTreeMap<&str, Joined<'_>> = BTreeMap::new();
        let parts = files.iter().flat_map(|file| file.content.iter().flatten().map(|family| (*file, family)));
        for (file, family) in parts {
            let (path, help) = (file.path.display(), family.help.as_deref());
            let known =
                joined.entry(&family.name).or_insert(Joined { kind: family.kind, help, parts: Vec::new() });
            let name = &family.name;
            if known.kind != family.kind {
                let (this, other) = (family.kind.as_str(), known.kind.as_str());
                self.problems
                    .insert(format!("{path}: \"{name}\" is a {this} here, a {other} in another file"));
            } else if help.is_some() && known.help.is_some() && help != known.help {
                self.problems.insert(format!("{path}: the help of \"{name}\" differs from another file's"));
            } else {
                known.help = known.help.or(help);
                known.parts.push((file, family));
            }
        }
        joined
    }

    /// A family that a collector also gives must be of the same kind, and keeps that one's help: the page has only
    /// one description of each. Returns those helps.
    fn heed_others(
        &mut self,
        joined: &mut BTreeMap<&str, Joined<'_>>,
        tick: &Tick,
    ) -> BTreeMap<String, Box<str>> {
        let mut described = BTreeMap::new();
        let view = tick.catalog().read();
        for (_, series) in view.iter().filter(|(_, series)| series.owner != tick.owner()) {
            let family = &series.family;
            let Some(ours) = joined.get(&*family.name) else { continue };
            if ours.kind == family.kind {
                described.insert(family.name.to_string(), family.help.clone());
            } else {
                let (kind, file) = (family.kind.as_str(), ours.parts[0].0.path.display());
                let name = &family.name;
                self.problems.insert(format!(
                    "{file}: \"{name}\" is a {kind} of another collector; choose another name"
                ));
                joined.remove(&*family.name);
            }
        }
        described
    }

    fn add(
        &mut self,
        name: &str,
        joined: &Joined<'_>,
        help: Option<&str>,
        tick: &Tick,
        given: &mut HashSet<SeriesId>,
    ) {
        let help = help.or(joined.help).map_or_else(|| joined.origin(), Into::into);
        let family = Family { name: name.into(), help, kind: joined.kind };
        for (file, part) in &joined.parts {
            let path = file.path.display();
            for sample in (*part).clone().normalised().samples {
                let labels: Vec<(&str, &str)> = sample.labels.iter().map(|(n, v)| (&**n, &**v)).collect();
                let id = match given.len() {
                    SERIES_MAX.. => SeriesId::NONE,
                    _ => tick.series(&family, sample.suffix, &labels),
                };
                if given.len() >= SERIES_MAX {
                    self.problems.insert(format!(
                        "{path}: all files give more than {SERIES_MAX} series; the rest is left out"
                    ));
                } else if id == SeriesId::NONE {
                    self.problems
                        .insert(format!("{path}: a collector gives the very same series of \"{name}\""));
                } else if given.insert(id) {
                    self.samples.push((id, sample.value));
                } else {
                    self.problems.insert(format!("{path}: a series of \"{name}\" is in another file, too"));
                }
            }
        }
    }

    fn add_mtimes(&mut self, files: &[&MetricsFile], tick: &Tick, given: &mut HashSet<SeriesId>) {
        for file in files.iter().filter(|file| file.content.is_ok()) {
            let id = tick.gauge(
                "node_textfile_mtime_seconds",
                "Unixtime mtime of textfiles successfully read.",
                &[("file", &file.path.to_string_lossy())],
            );
            if given.insert(id) {
                self.samples.push((id, file.mtime_seconds()));
            }
        }
    }
}

impl Joined<'_> {
    /// Help for a family that has none.
    fn origin(&self) -> Box<str> {
        let paths: Vec<String> = self.parts.iter().map(|(file, _)| file.path.display().to_string()).collect();
        format!("Metric read from {}", paths.join(", ")).into()
    }
}
