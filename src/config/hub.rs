//! The config of the hub, hub.yaml, as a root: which files it is read from, and what is worked out
//! from it. The keys and their bounds are the hub's own.

use std::collections::HashMap;
use std::path::{Path, PathBuf};

use super::root::{Names, Root, below};
use super::yaml::Value;
use crate::{hub, telemetry};

/// The hub's folder within that of the user's or the system's state: it stands beside an agent's
/// files there.
const FOLDER: &str = "hub";

impl Root for hub::Config {
    type Other = super::Config;
    const NAMES: Names = Names {
        face: "hub",
        a_face: "a hub",
        main_file: "hub.yaml",
        drop_in_dir: "hub.d",
        socket: "hub.sock",
        setting: "listen: 127.0.0.1:7700",
        port: 7700,
        open_port: 7700,
    };
    const NEED_RESTART: &'static [&'static str] =
        &["listen", "public_url", "tls", "store", "limits", "agents", "labels", "api.socket", "log.file"];

    fn in_state_dir(mut self, state_dir: &Path) -> Self {
        self.store.path = state_dir.join(FOLDER);
        self
    }

    fn absolute(mut self, base: &Path) -> Self {
        let Self { tls, store, scrape, api, log, .. } = &mut self;
        for file in scrape.iter_mut().flat_map(hub::ScrapeJob::files) {
            *file = below(base, file);
        }
        store.path = below(base, &store.path);
        for path in [&mut tls.certificate, &mut tls.key, &mut api.socket, &mut log.file] {
            *path = path.take().map(|path| below(base, &path));
        }
        self
    }

    fn faults(&self) -> Vec<(String, String)> {
        self.faults()
    }

    fn worked_out(&self) -> HashMap<String, Value> {
        let value = |key: &str, text: String| (key.to_owned(), Value::String(text));
        HashMap::from([
            value("public_url", self.public_url(self.listen, "(this host)")),
            value("api.socket", self.socket().display().to_string()),
        ])
    }

    fn data_dir(&self) -> &Path {
        &self.store.path
    }

    fn socket(&self) -> PathBuf {
        self.api.socket.clone().unwrap_or_else(|| self.store.path.join(Self::NAMES.socket))
    }

    fn log(&self) -> &telemetry::Config {
        &self.log
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hub_stands_beside_the_agent() {
        let hub = hub::Config::default().in_state_dir(Path::new("/var/lib/fieldpost"));
        assert_eq!(hub, hub::Config::default());
        assert_eq!(hub.socket(), Path::new("/var/lib/fieldpost/hub/hub.sock"));
        let agent = super::super::Config::default().in_state_dir(Path::new("/var/lib/fieldpost"));
        assert_ne!(agent.data_dir(), hub.data_dir());
    }

    #[test]
    fn every_path_becomes_absolute() {
        let mut hub = hub::Config::default().in_state_dir(Path::new("state"));
        hub.tls.certificate = Some("./c.pem".into());
        hub.tls.key = Some("/k.pem".into());
        let hub = hub.absolute(Path::new("/base"));
        assert_eq!(hub.store.path, Path::new("/base/state/hub"));
        assert_eq!(hub.tls.certificate.as_deref(), Some(Path::new("/base/c.pem")));
        assert_eq!(hub.tls.key.as_deref(), Some(Path::new("/k.pem")));
    }
}
