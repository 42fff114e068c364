//! Number of cgroups by controller, from /proc/cgroups.

use fieldpost_model::{SeriesId, Tick};

use crate::collector::{CollectError, Collector, Env};
use crate::config::Common;
use crate::read::KeptFile;
use crate::seen::Seen;
use crate::text::{fields, label, lines, number};

/// Settings.
pub type Config = Common;

struct Cgroups {
    file: KeptFile,
    buffer: Vec<u8>,
    seen: Seen<[SeriesId; 2]>,
}

/// Makes the collector.
pub fn build(env: &Env<'_>) -> Result<Box<dyn Collector>, CollectError> {
    Ok(Box::new(Cgroups {
        file: KeptFile::new(env.roots.procfs.join("cgroups")),
        buffer: Vec::new(),
        seen: Seen::default(),
    }))
}

impl Collector for Cgroups {
    fn collect(&mut self, tick: &mut Tick) -> Result<(), CollectError> {
        let text = self.file.collect(&mut self.buffer)?;
        self.seen.begin();
        for line in lines(text).filter(|line| !line.starts_with(b"#")) {
            let (controller, values) = parse(line)
                .ok_or_else(|| CollectError::parse(self.file.path(), "a line has fewer than four fields"))?;
            let ids = *self.seen.get(controller, || {
                let controller = label(controller);
                let gauge = |name| {
                    let help = "Current cgroup number of the subsystem.";
                    tick.gauge(name, help, &[("subsys_name", &controller)])
                };
                [gauge("node_cgroups_cgroups"), gauge("node_cgroups_enabled")]
            });
            for (id, value) in ids.iter().zip(values) {
                tick.set(*id, value as f64);
            }
        }
        self.seen.end(tick);
        Ok(())
    }
}

/// A line of /proc/cgroups: name, hierarchy, number of cgroups, enabled.
fn parse(line: &[u8]) -> Option<(&[u8], [u64; 2])> {
    let mut fields = fields(line);
    let name = fields.next()?;
    let groups = number(fields.nth(1)?)?;
    Some((name, [groups, number(fields.next()?)?]))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::testing::{page, write};

    #[test]
    fn controllers_are_given() {
        let tree = tempfile::tempdir().unwrap();
        write(tree.path(), "proc/cgroups", "#subsys_name\thierarchy\tnum_cgroups\tenabled\ncpu\t3\t172\t1\n");
        assert_eq!(
            page(tree.path(), build).unwrap(),
            [
                r#"node_cgroups_cgroups{subsys_name="cpu"} 172"#,
                r#"node_cgroups_enabled{subsys_name="cpu"} 1"#
            ]
        );
        write(tree.path(), "proc/cgroups", "cpu\t3\n");
        assert!(page(tree.path(), build).is_err());
    }

    proptest! {
        #[test]
        fn any_bytes_are_survived(line in proptest::collection::vec(any::<u8>(), 0..64)) {
            let _ = parse(&line);
        }
    }
}
