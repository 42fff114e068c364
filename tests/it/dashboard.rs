//! The dashboard as people use it: Chromium, driven by `tests/browser/dashboard.mjs`, before a real
//! hub with a real agent, and before one with thousands of them. What a story needs done to hosts
//! the script asks for here.

mod numbers;

use std::io::{BufRead as _, BufReader, Write as _};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::thread::JoinHandle;
use std::time::Duration;

use fieldpost_bed::{Agent, Hub, Process, Scratch, library_path, peer, repository, target_dir};
use fieldpost_model::hub_state::{Act, Actor, Certificate, Fingerprint, JoinTokens as _, Mode, NewAgent};
use fieldpost_store::SqliteHubState;
use serde_json::{Value, json};

use crate::hub_faults::{program, wait_until_up};

/// Light enough to run beside a browser, quick enough that nobody waits for windows.
const CONFIG: &str = "interval: 300ms\nhistory: {interval: 1s}\nstore: {window: 2s}\nremote_jobs: any\n";
/// Those of pictures are measured as usual.
const SHOWN: &str = "interval: 1s\nhistory: {interval: 2s}\nremote_jobs: any\n";
/// What runs by itself on the hosts of pictures: a line each, for whom it is by the beginning of their names.
const SHOWN_JOBS: [(&str, &str); 6] = [
    ("", "{name: rotate-logs, shell: sleep 0.2, every: 20s, jitter: 5s}"),
    (
        "web",
        "{name: import, shell: 's=$(date +%s); sleep 0.$((s%7)); echo done; test $((s%5)) != 0', every: 4s}",
    ),
    ("web", "{name: certificates, shell: 'true', cron: '30 2 * * *', tz: Europe/Berlin}"),
    ("db", "{name: dump, shell: 'i=0; while [ $i -lt 40000 ]; do i=$((i+1)); done', every: 9s, timeout: 1h}"),
    ("db", "{name: vacuum, shell: sleep 0.5, every: 15s, queue: {name: database, width: 1}}"),
    ("cache", "{name: flush, shell: 'exit 3', every: 25s}"),
];
/// What pictures show was recorded for so long, before and after the backup began.
const SHOWN_FOR: [Duration; 2] = [Duration::from_secs(130), Duration::from_secs(50)];
/// Hosts of pictures: the first is looked at, another one is down, a third one rests.
const SHOWN_HOSTS: [&str; 7] = [HOST, "web2", "web3", "db1", "db2", "queue1", "cache1"];
/// What runs there: so much work, and a pause of so many seconds.
const SHOWN_WORK: [(&str, &str); 3] =
    [("nginx", "20000 0.4"), ("postgres", "60000 0.3"), ("redis-server", "9000 0.2")];
/// Works and pauses, for ever.
const WORK: &str = "while :; do i=0; while [ $i -lt $1 ]; do i=$((i+1)); done; sleep $2; done";
/// The agent's name.
const HOST: &str = "web1";
/// The name of a process that eats a CPU.
const BURNER: &str = "burner-a9";
/// What a page that takes names for markup would run.
const HOSTILE: &str = "<img src=x onerror=window.harmed=true>";
/// A job of the host's own.
const OWN_JOB: &str = "sweep-up";
/// A run that the agent forgets while there is no hub.
const UNHEARD_RUN: &str = "unheard-of";
/// The host's role.
const ROLE: &str = "web";
/// Hosts of the large fleet; a quarter of them has the role `db`.
const N_LARGE: usize = 2_000;

/// What the script asks for by name.
struct Stage {
    hub: Hub,
    agent: Agent,
    scratch: Scratch,
    burner: Option<Process>,
    large: Option<LargeFleet>,
}

impl Stage {
    fn new(hub: Hub, agent: Agent) -> Self {
        Self { hub, agent, scratch: Scratch::new().unwrap(), burner: None, large: None }
    }

    /// Does it, and answers what there is to say.
    fn have(&mut self, what: &str) -> String {
        match what {
            "burst" => self.burner = Some(self.process(BURNER, "/bin/sh", &["-c", "while :; do :; done"])),
            "kill" => self.agent.kill().unwrap(),
            "start" => {
                self.agent.start_again().unwrap();
                wait_until_up(&self.hub, &self.agent, HOST);
            }
            "hub away" => self.hub.kill().unwrap(),
            "hub back" => {
                self.forget_a_run();
                self.hub.start_again().unwrap();
                wait_until_up(&self.hub, &self.agent, HOST);
            }
            "thousands" => return self.large.as_mut().unwrap().link(),
            other => panic!("the script asks for {other}, which this test does not know"),
        }
        "done".to_owned()
    }

    /// A run of which the hub never hears: its agent has forgotten it before.
    fn forget_a_run(&self) {
        let said = |arguments: &[&str]| {
            let output = self.agent.client(arguments).unwrap();
            assert!(output.status.success(), "{arguments:?}: {output:?}");
        };
        said(&["run", "--id", UNHEARD_RUN, "--", "true"]);
        said(&["run", "rm", UNHEARD_RUN]);
    }

    /// A program under another name: a copy, for processes go by the file that they run.
    fn process(&self, name: &str, program: &str, arguments: &[&str]) -> Process {
        let copy = self.scratch.path().join(name);
        std::fs::copy(program, &copy).unwrap();
        Process::start("other", &copy, arguments, &[], self.scratch.path()).unwrap()
    }

    /// The address at which the first admin is made, as the hub has printed it.
    fn first_admin_of(hub: &mut Hub) -> String {
        let said = hub.process().said();
        let found = said.split_whitespace().find(|word| word.contains("/#")).map(str::to_owned);
        found.unwrap_or_else(|| panic!("no link in {said}"))
    }
}

#[test]
fn people_find_their_way_through_the_dashboard() {
    let hub = Hub::start(program(), "").unwrap();
    let scratch = Scratch::new().unwrap();
    let own = format!("jobs:\n  - {{name: {OWN_JOB}, shell: 'true', every: 1h, tags: {{team: cleaners}}}}\n");
    scratch.write("config/jobs.d/own.yaml", &own).unwrap();
    let agent = Agent::start_in(scratch, program(), CONFIG, &[]).unwrap();
    let joined = agent.join(&hub.join_string().unwrap(), &["--name", HOST, "--role", ROLE]).unwrap();
    assert!(joined.status.success(), "{joined:?}");
    wait_until_up(&hub, &agent, HOST);
    let mut stage = Stage::new(hub, agent);
    stage.large = Some(LargeFleet::new());
    let _hostile = stage.process(HOSTILE, "/bin/sleep", &["1000"]);
    let link = Stage::first_admin_of(&mut stage.hub);
    let mut given = given(&mut stage, &link);
    given["burner"] = BURNER.into();
    given["hostile"] = HOSTILE.into();
    given["role"] = ROLE.into();
    given["own_job"] = OWN_JOB.into();
    given["n_large"] = N_LARGE.into();
    play("dashboard.mjs", &given.to_string(), |what| stage.have(what));
}

/// Pictures of all views: into docs/screens by `make screens`, else into a scratch folder.
#[test]
#[ignore = "takes pictures, by `make screens`"]
fn pictures_of_all_views_are_taken() {
    let hub = Hub::start(program(), "").unwrap();
    let mut agents: Vec<Agent> = SHOWN_HOSTS.iter().map(|name| with_jobs(&hub, name)).collect();
    agents.iter().zip(SHOWN_HOSTS).for_each(|(agent, name)| wait_until_up(&hub, agent, name));
    let mut stage = Stage::new(hub, agents.remove(0));
    let screens = std::env::var_os("FIELDPOST_SCREENS")
        .map_or_else(|| stage.scratch.path().join("screens"), |folder| repository().join(folder));
    let link = Stage::first_admin_of(&mut stage.hub);
    let mut given = given(&mut stage, &link);
    given["screens"] = screens.to_string_lossy().into();
    given["rested"] = SHOWN_HOSTS[3].into();
    let mut running: Vec<Process> = SHOWN_WORK
        .iter()
        .map(|(name, how)| {
            let how: Vec<&str> = ["-c", WORK, name].into_iter().chain(how.split(' ')).collect();
            stage.process(name, "/bin/sh", &how)
        })
        .collect();
    play("screens.mjs", &given.to_string(), |_| {
        std::thread::sleep(SHOWN_FOR[0]);
        running.push(stage.process("backup", "/bin/sh", &["-c", "while :; do :; done"]));
        std::thread::sleep(SHOWN_FOR[1]);
        agents[4].kill().unwrap();
        "done".to_owned()
    });
}

/// A host of pictures, and what runs there by itself.
fn with_jobs(hub: &Hub, name: &str) -> Agent {
    let scratch = Scratch::new().unwrap();
    let jobs = SHOWN_JOBS.iter().filter(|(whose, _)| name.starts_with(whose));
    let lines: String = jobs.map(|(_, job)| format!("  - {job}\n")).collect();
    scratch.write("config/jobs.d/jobs.yaml", &format!("jobs:\n{lines}")).unwrap();
    let agent = Agent::start_in(scratch, program(), SHOWN, &[]).unwrap();
    agent.join_hub(hub, name).unwrap();
    agent
}

/// What every script is given. The browser finds its libraries and fonts where the peers are, and no
/// other fonts: a page is as wide everywhere.
fn given(stage: &mut Stage, first_admin: &str) -> Value {
    let fonts = peer("fonts-liberation", "usr/share/fonts").unwrap();
    let fonts = format!(
        "<fontconfig><dir>{}</dir><cachedir>{}</cachedir></fontconfig>",
        fonts.display(),
        stage.scratch.path().join("fonts").display()
    );
    stage.scratch.write("fonts.conf", &fonts).unwrap();
    let libraries = library_path().to_string_lossy().into_owned();
    let machine = libraries.split(':').next().unwrap_or_default();
    json!({
        "failed": target_dir().join("dashboard-failed.png"),
        "chromium": peer("chromium", "usr/lib/chromium/chromium").unwrap(),
        "library_path": format!("{libraries}:{machine}/pulseaudio"),
        "fonts": stage.scratch.path().join("fonts.conf"),
        "url": format!("http://{}", stage.hub.address()),
        "first_admin": first_admin,
        "host": HOST,
    })
}

/// A hub that knows thousands of agents, none of which was ever there. They are entered while the
/// other stories are played.
struct LargeFleet {
    hub: Hub,
    filling: Option<JoinHandle<()>>,
}

impl LargeFleet {
    fn new() -> Self {
        let mut hub = Hub::start(program(), "").unwrap();
        hub.stop().unwrap();
        let data = hub.data();
        Self { hub, filling: Some(std::thread::spawn(move || fill(&data))) }
    }

    /// Starts the hub; the address at which one is signed in.
    fn link(&mut self) -> String {
        self.filling.take().unwrap().join().unwrap();
        self.hub.start_again().unwrap();
        let said = self.hub.client(&["user", "add", "ada", "--role", "admin"]).unwrap();
        let link = said.split_whitespace().find(|word| word.contains("/#sign-in=")).unwrap();
        format!("http://{}{}", self.hub.address(), &link[link.find("/#").unwrap()..])
    }
}

fn fill(data: &Path) {
    let state = SqliteHubState::open(data).unwrap();
    let now_ms = fieldpost_bed::now_ms();
    let act = Act { actor: Actor::Hub, address: None, now_ms };
    for n in 0..N_LARGE {
        admit(&state, &act, n, &format!("host-{n:05}"), ["db", "web", "queue", "cache"][n % 4]);
    }
}

/// Enters an agent that was never there.
fn admit(state: &SqliteHubState, act: &Act, n: usize, name: &str, role: &str) {
    let mut key = [0; 32];
    key[..8].copy_from_slice(&(n as u64).to_be_bytes());
    let agent = NewAgent {
        id: format!("{n:032x}"),
        certificate: Certificate {
            serial: format!("{n:02x}"),
            key: Fingerprint(key),
            issued_ms: act.now_ms,
            expires_ms: act.now_ms + 86_400_000,
        },
        name: name.to_owned(),
        roles: [role.to_owned()].into_iter().collect(),
        labels: Default::default(),
        version: "made up".to_owned(),
        mode: Mode::Push,
        allow_jobs: "off".to_owned(),
    };
    state.admit_agent(act, &agent).unwrap();
}

/// Runs a script of tests/browser to its end, and does what it asks for.
fn play(script: &str, given: &str, mut have: impl FnMut(&str) -> String) {
    let mut node = node(script, given);
    let mut answers = node.stdin.take().unwrap();
    let mut told = String::new();
    for line in BufReader::new(node.stdout.take().unwrap()).lines() {
        let line = line.unwrap();
        if let Some(what) = line.strip_prefix("have ") {
            writeln!(answers, "{}", have(what)).unwrap();
        }
        told.push_str(&line);
        told.push('\n');
    }
    let status = node.wait().unwrap();
    println!("{told}");
    assert!(status.success(), "{script} ended with {status}:\n{told}");
}

fn node(script: &str, given: &str) -> Child {
    let packages = repository().join("web/node_modules/playwright-core");
    assert!(packages.exists(), "{} is not there; run: make browser", packages.display());
    let script: &Path = &repository().join("tests/browser").join(script);
    let mut command = Command::new("setpriv");
    command.args(["--pdeathsig", "KILL", "--", "node"]).arg(script).env("FIELDPOST_STAGE", given);
    command.stdin(Stdio::piped()).stdout(Stdio::piped());
    command.spawn().expect("node cannot be started; install Node.js 20 or later")
}
