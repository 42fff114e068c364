//! Kernel, machine and host name, from uname(2).

use fieldpost_model::{SeriesId, Tick};

use crate::collector::{CollectError, Collector, Env};
use crate::config::Common;
use crate::seen::Seen;
use crate::text::label;

/// Settings.
pub type Config = Common;

/// The host's name may change while the agent runs: the names are compared at each pass.
#[derive(Default)]
struct Uname {
    key: Vec<u8>,
    seen: Seen<SeriesId>,
}

/// Makes the collector.
pub fn build(_env: &Env<'_>) -> Result<Box<dyn Collector>, CollectError> {
    Ok(Box::new(Uname::default()))
}

impl Collector for Uname {
    fn collect(&mut self, tick: &mut Tick) -> Result<(), CollectError> {
        let names = rustix::system::uname();
        let labels = [
            ("domainname", names.domainname()),
            ("machine", names.machine()),
            ("nodename", names.nodename()),
            ("release", names.release()),
            ("sysname", names.sysname()),
            ("version", names.version()),
        ];
        self.key.clear();
        labels.iter().for_each(|(_, value)| self.key.extend_from_slice(value.to_bytes_with_nul()));
        self.seen.begin();
        let id = *self.seen.get(&self.key, || {
            let texts = labels.map(|(name, value)| (name, label(value.to_bytes())));
            let labels = texts.each_ref().map(|(name, text)| (*name, text.as_ref()));
            let help = "Labeled system information as provided by the uname system call.";
            tick.gauge("node_uname_info", help, &labels)
        });
        self.seen.end(tick);
        tick.set(id, 1.0);
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::page;

    #[test]
    fn names_of_this_machine_are_given() {
        let tree = tempfile::tempdir().unwrap();
        let page = page(tree.path(), build).unwrap();
        assert_eq!(page.len(), 1);
        assert!(page[0].starts_with("node_uname_info{domainname="));
        assert!(page[0].contains(r#"sysname="Linux""#));
        assert!(page[0].ends_with("} 1"));
    }
}
