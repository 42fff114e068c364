//! `fieldpost top`: one page where there is no terminal; on one it draws, obeys its keys and leaves
//! the terminal as it was, however it ends.

use std::io::{Read as _, Write as _};
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, Command, Stdio};
use std::sync::{Arc, Mutex, PoisonError};

use fieldpost_bed::{Agent, Scratch, wait_for};
use rustix::process::{Pid, Signal, kill_process};

const WIDTH: usize = 80;
const HEIGHT: usize = 24;

fn agent() -> Agent {
    Agent::start(Path::new(crate::fieldpost()), "interval: 1s\n").unwrap()
}

#[test]
fn without_a_terminal_one_plain_page_is_printed() {
    let agent = agent();
    let output = agent.client(&["top"]).unwrap();
    assert_eq!(output.status.code(), Some(0), "{}", String::from_utf8_lossy(&output.stderr));
    let page = String::from_utf8(output.stdout).unwrap();
    assert!(page.chars().all(|c| c == '\n' || !c.is_control()), "control characters in {page:?}");
    assert!(page.lines().count() <= HEIGHT, "{page}");
    assert!(page.lines().all(|line| line.chars().count() <= WIDTH), "{page}");
    for part in [" series @ 1 s ", "CPU 0", "MEM ", "    PID USER", " q quit", "fieldpost"] {
        assert!(page.contains(part), "no {part:?} in\n{page}");
    }
}

#[test]
fn without_an_agent_every_place_is_named() {
    let scratch = Scratch::new().unwrap();
    let mut command = Command::new(crate::fieldpost());
    command
        .arg("top")
        .env_clear()
        .env("HOME", scratch.path())
        .env("XDG_RUNTIME_DIR", scratch.path().join("run"));
    command.env("FIELDPOST_CONFIGDIR", scratch.path());
    std::fs::write(scratch.path().join("agent.yaml"), "store:\n  path: nowhere\n").unwrap();
    let output = command.stdin(Stdio::null()).output().unwrap();
    let said = String::from_utf8(output.stderr).unwrap();
    assert_eq!((output.status.code(), output.stdout.len()), (Some(1), 0), "{said}");
    assert!(said.starts_with("no agent found (looked in "), "{said}");
    assert!(said.contains("nowhere/fieldpost.sock"), "{said}");
    assert!(said.ends_with("; start one: fieldpost agent --start\n"), "{said}");
}

/// A screen that understands as much of the language of terminals as `top` speaks.
#[derive(Default)]
struct Screen {
    cells: Vec<Vec<char>>,
    row: usize,
    column: usize,
    /// Bytes of a sequence, or of a character, that has not ended.
    rest: Vec<u8>,
    alternate: bool,
}

impl Screen {
    fn feed(&mut self, bytes: &[u8]) {
        self.rest.extend_from_slice(bytes);
        let bytes = std::mem::take(&mut self.rest);
        let mut at = 0;
        while let Some(length) = self.step(&bytes[at..]) {
            at += length;
        }
        self.rest = bytes[at..].to_vec();
    }

    /// Takes in one character or one sequence; `None`: it is not whole yet.
    fn step(&mut self, bytes: &[u8]) -> Option<usize> {
        match *bytes.first()? {
            0x1b if *bytes.get(1)? == b'[' => {
                let end = bytes.iter().skip(2).position(|byte| (0x40..=0x7e).contains(byte))? + 2;
                self.sequence(&String::from_utf8_lossy(&bytes[2..end]), bytes[end]);
                Some(end + 1)
            }
            0x1b => Some(2),
            b'\r' => {
                self.column = 0;
                Some(1)
            }
            b'\n' => {
                self.row += 1;
                Some(1)
            }
            byte if byte < b' ' => Some(1),
            byte => {
                let length = match byte {
                    0xf0.. => 4,
                    0xe0.. => 3,
                    0xc0.. => 2,
                    _ => 1,
                };
                let text = String::from_utf8_lossy(bytes.get(..length)?).into_owned();
                self.put(text.chars().next()?);
                Some(length)
            }
        }
    }

    fn sequence(&mut self, parameters: &str, end: u8) {
        let mut numbers = parameters.split(';').map(|number| number.parse().unwrap_or(1_usize));
        match (parameters, end) {
            (_, b'H') => {
                self.row = numbers.next().unwrap_or(1) - 1;
                self.column = numbers.next().unwrap_or(1) - 1;
            }
            ("2", b'J') => self.cells.clear(),
            ("?1049", b'h') => self.alternate = true,
            ("?1049", b'l') => self.alternate = false,
            _ => {}
        }
    }

    fn put(&mut self, c: char) {
        if self.cells.len() <= self.row {
            self.cells.resize(self.row + 1, Vec::new());
        }
        let line = &mut self.cells[self.row];
        if line.len() <= self.column {
            line.resize(self.column + 1, ' ');
        }
        line[self.column] = c;
        self.column += 1;
    }

    fn text(&self) -> String {
        self.cells.iter().map(|line| line.iter().collect::<String>().trim_end().to_owned() + "\n").collect()
    }
}

#[test]
fn screen_understands_what_is_drawn() {
    let mut screen = Screen::default();
    for part in ["\x1b[?1049h\x1b[2J\x1b[2;3Hab", "\x1b[1;", "31mc\x1b[2;3HX\x1b[1;1H\u{2502}|"] {
        screen.feed(part.as_bytes());
    }
    assert_eq!((screen.text().as_str(), screen.alternate), ("\u{2502}|\n  Xbc\n", true));
}

/// `top` on a pseudo terminal, which `script` of util-linux makes.
struct Live {
    scratch: Scratch,
    child: Child,
    keys: Option<ChildStdin>,
    screen: Arc<Mutex<Screen>>,
}

impl Live {
    fn start(agent: &Agent) -> Self {
        let scratch = Scratch::new().unwrap();
        let top = agent.command(&["top"]);
        let mut words = vec![top.get_program().to_string_lossy().into_owned()];
        words.extend(top.get_args().map(|word| format!("'{}'", word.to_string_lossy())));
        let run = format!(
            "stty rows {HEIGHT} cols {WIDTH}; stty -a > before; \
             sh -c 'echo $$ > pid; exec \"$@\"' top {}; echo $? > code; stty -a > after",
            words.join(" ")
        );
        let mut command = Command::new("script");
        command.args(["-qfc", &run, "/dev/null"]).current_dir(scratch.path()).env("TERM", "xterm");
        command.env("SHELL", "/bin/sh").env("NO_COLOR", "1");
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::null());
        let mut child = command.spawn().unwrap();
        let screen = Arc::new(Mutex::new(Screen::default()));
        let (mut output, drawn) = (child.stdout.take().unwrap(), Arc::clone(&screen));
        std::thread::spawn(move || {
            let mut buffer = [0; 4096];
            while let Ok(length @ 1..) = output.read(&mut buffer) {
                drawn.lock().unwrap_or_else(PoisonError::into_inner).feed(&buffer[..length]);
            }
        });
        let keys = child.stdin.take();
        Self { scratch, child, keys, screen }
    }

    fn press(&mut self, keys: &str) {
        let pipe = self.keys.as_mut().unwrap();
        pipe.write_all(keys.as_bytes()).unwrap();
        pipe.flush().unwrap();
    }

    fn text(&self) -> String {
        self.screen.lock().unwrap_or_else(PoisonError::into_inner).text()
    }

    fn is_alternate(&self) -> bool {
        self.screen.lock().unwrap_or_else(PoisonError::into_inner).alternate
    }

    /// Waits until the screen shows this.
    fn until(&self, what: &str, shows: impl Fn(&str) -> bool) {
        let seen = wait_for(what, || shows(&self.text()).then_some(()));
        seen.unwrap_or_else(|error| panic!("{error}; the screen:\n{}", self.text()));
    }

    fn until_contains(&self, part: &str) {
        self.until(&format!("{part:?} on the screen"), |text| text.contains(part));
    }

    fn file(&self, name: &str) -> PathBuf {
        self.scratch.path().join(name)
    }

    fn read(&self, name: &str) -> Option<String> {
        std::fs::read_to_string(self.file(name)).ok().filter(|text| text.ends_with('\n'))
    }

    /// Waits for the end; the terminal must be as it was. Answers the exit code.
    fn end(&self) -> i32 {
        let code = wait_for("the end of top", || self.read("code")).unwrap();
        let after = wait_for("the modes after it", || self.read("after")).unwrap();
        assert_eq!(self.read("before").unwrap(), after, "the terminal's modes");
        wait_for("the first screen", || (!self.is_alternate()).then_some(())).unwrap();
        code.trim().parse().unwrap()
    }
}

impl Drop for Live {
    fn drop(&mut self) {
        self.keys = None;
        let _already_ended = self.child.kill();
        let _already_waited = self.child.wait();
    }
}

/// The lines of processes on the screen.
fn rows(text: &str) -> impl Iterator<Item = &str> {
    let below_head = text.lines().skip_while(|line| !line.contains("    PID USER")).skip(1);
    below_head.filter(|line| !line.trim().is_empty() && !line.contains(" c cpu  m mem"))
}

#[test]
fn on_a_terminal_it_draws_and_obeys_its_keys() {
    let mut agent = agent();
    let pid = agent.process().pid().to_string();
    let mut top = Live::start(&agent);
    top.until_contains(" q quit");
    top.until_contains("    PID USER");
    assert!(top.is_alternate(), "drawn over what was there");
    top.press("?");
    top.until_contains("any key goes back");
    top.press("x");
    top.until("the page again", |text| text.contains(" q quit") && !text.contains("any key goes back"));
    top.press(" ");
    top.until_contains("space paused");
    top.press(" ");
    top.until("going on", |text| text.contains("space pause ") && !text.contains("paused"));
    top.press("/");
    top.until_contains("filter: _");
    top.press(&pid);
    top.until_contains(&format!("filter: {pid}_"));
    top.press("\r");
    top.until_contains(&format!("filter={pid} "));
    top.until("the agent, and nobody whose command does not hold this number", |text| {
        let rows: Vec<&str> = rows(text).collect();
        rows.len() < 5 && rows.iter().any(|row| row.split_whitespace().next() == Some(&pid))
    });
    top.press("/\x1b");
    top.until("no filter", |text| text.contains("/ filter  t tree"));
    for key in ["m", "i", "t", "c", "t"] {
        top.press(key);
        top.until_contains("    PID USER");
    }
    top.press("q");
    assert_eq!(top.end(), 0);
}

#[test]
fn order_is_the_one_that_the_key_asks_for() {
    let agent = agent();
    let mut top = Live::start(&agent);
    top.until_contains(" q quit");
    let memory = |text: &str| -> Vec<f64> {
        let bytes = |word: &str| {
            let (number, unit) = word.split_at(word.trim_end_matches(char::is_alphabetic).len());
            let factor = ["", "K", "M", "G", "T"].iter().position(|known| *known == unit)?;
            Some(number.parse::<f64>().ok()? * 1024_f64.powi(i32::try_from(factor).ok()?))
        };
        rows(text).filter_map(|line| bytes(line.split_whitespace().nth(3)?)).collect()
    };
    top.press("m");
    top.until("processes by memory", |text| {
        let sizes = memory(text);
        sizes.len() > 3 && sizes.is_sorted_by(|a, b| a >= b)
    });
    top.press("q");
    assert_eq!(top.end(), 0);
}

#[test]
fn control_c_leaves_the_terminal_as_it_was() {
    let agent = agent();
    let mut top = Live::start(&agent);
    top.until_contains(" q quit");
    top.press("\x03");
    assert_eq!(top.end(), 0);
}

#[test]
fn signals_leave_the_terminal_as_it_was() {
    let agent = agent();
    for signal in [Signal::TERM, Signal::HUP, Signal::INT] {
        let top = Live::start(&agent);
        top.until_contains(" q quit");
        let pid = top.read("pid").unwrap().trim().parse().unwrap();
        // It is a child of a child of ours that has not been waited for: `end` is yet to come.
        kill_process(Pid::from_raw(pid).unwrap(), signal).unwrap();
        assert_eq!(top.end(), 0, "{signal:?}");
    }
}

#[test]
fn agent_that_goes_ends_the_view_in_order() {
    let mut agent = agent();
    let top = Live::start(&agent);
    top.until_contains(" q quit");
    assert!(agent.stop().unwrap().success());
    assert_eq!(top.end(), 1);
}
