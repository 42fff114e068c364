//! `fieldpost top`: a live view of the whole machine, from a running agent. On a terminal it is
//! drawn anew every second; elsewhere one page is printed.

mod look;
mod machine;
mod measure;
mod page;
mod rows;

use std::collections::HashMap;
use std::fs::File;
use std::io::{IsTerminal, stdin};
use std::os::fd::AsFd;
use std::process::ExitCode;
use std::time::{Duration, Instant};

use anyhow::Context;
use ratatui::crossterm::event::{self, Event, KeyCode, KeyEvent, KeyEventKind, KeyModifiers};
use ratatui::style::{Color, Modifier, Style as Paint};
use ratatui::text::{Line as TextLine, Text};
use ratatui::widgets::{Clear, Paragraph};
use ratatui::{DefaultTerminal, Frame};
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::io::Errno;
use tokio::runtime::Builder;

use self::look::Looks;
pub use self::measure::size;
pub use self::page::Sort;
use self::page::{Style, Tone, page};
pub use self::rows::weight;
use super::job_door::{JobDoor, Whom};
use super::{Global, terminal};
use crate::agent::Status;
use crate::api::{Processes, Values};
use crate::shutdown::Signals;

/// Width and height of the page where there is no terminal.
const PAGE_WITHOUT_TERMINAL: (usize, usize) = (80, 24);
/// How soon a key is answered at the latest.
const KEY_WAIT: Duration = Duration::from_millis(100);
/// After this many failed looks in a row the view ends: the agent is gone.
const N_FAILED_LOOKS_MAX: u32 = 30;

const HELP: &str = "\
 c  sort by CPU            t      children under their parents
 m  sort by memory         space  stand still, go on
 i  sort by bytes moved    /      show only what holds a text
 ?  this help              q      quit

 CPU    share of each core that is busy; st: stolen by the hypervisor
 PSI    share of the last 10 s in which some (all) tasks waited
 DISK   the busiest two; await: mean time of a request
 FS     fullest first; a stuck mount is named with its age
 any key goes back";

const EXAMPLES: &str = "\
Examples:
  fieldpost top                  live, q quits
  fieldpost top --sort io        the busiest by bytes read and written first
  fieldpost top | cat            one page without colours
  fieldpost top --on web-1       another host, through the hub
  ssh host fieldpost top";

/// Watch this machine live, full screen; q quits
#[derive(Debug, clap::Args)]
#[command(after_help = EXAMPLES)]
pub struct Args {
    /// Order of the processes
    #[arg(long, value_enum, default_value_t)]
    pub sort: Sort,
    /// Show only processes whose command, name, unit or pid holds this text
    #[arg(long, value_name = "TEXT", default_value = "", hide_default_value = true)]
    pub filter: String,
    /// Seconds between two looks
    #[arg(long, value_name = "SECONDS", default_value_t = 1, value_parser = clap::value_parser!(u64).range(1..=60))]
    pub interval: u64,
    #[command(flatten)]
    pub whom: Whom,
}

/// Does what was asked for.
pub fn run(args: &Args, global: &Global) -> anyhow::Result<ExitCode> {
    let is_here = args.whom.is_here();
    let door = JobDoor::find(&args.whom, !is_here, global)?;
    let (status, values, processes) = look(&door)?;
    let users = match is_here {
        true => super::processes::users(),
        false => super::processes::users_of(&door),
    };
    let mut view = View {
        looks: Looks::new(status, values, processes),
        door,
        users,
        style: Style { sort: args.sort, filter: args.filter.clone(), ..Style::default() },
        every: Duration::from_secs(args.interval),
        help: false,
        coloured: terminal::has_colour(global),
        failed: 0,
    };
    if terminal::is_interactive() && !global.json {
        view.live()?;
    } else {
        view.once(global.json)?;
    }
    Ok(ExitCode::SUCCESS)
}

/// All that a page is made of.
fn look(door: &JobDoor) -> anyhow::Result<(Status, Values, Processes)> {
    Ok((door.of_agent("/status")?, door.of_agent("/values")?, door.of_agent("/processes")?))
}

struct View {
    door: JobDoor,
    looks: Looks,
    users: HashMap<u32, String>,
    style: Style,
    every: Duration,
    help: bool,
    coloured: bool,
    failed: u32,
}

/// Where keys come from. Asked before the library is, which reads the end of a terminal that is
/// gone over and over and never comes back.
struct Keyboard(File);

impl Keyboard {
    /// The standard input, or the terminal itself where that is something else.
    fn find() -> anyhow::Result<Self> {
        if stdin().is_terminal() {
            return Ok(Self(File::from(stdin().as_fd().try_clone_to_owned()?)));
        }
        Ok(Self(File::open("/dev/tty").context("no terminal to read keys from")?))
    }

    /// Waits for a key, at most this long; answers whether the terminal has gone.
    fn is_gone_after(&self, wait: Duration) -> anyhow::Result<bool> {
        let mut polled = [PollFd::new(&self.0, PollFlags::IN)];
        let limit = Timespec::try_from(wait)?;
        match poll(&mut polled, Some(&limit)) {
            Ok(_) | Err(Errno::INTR) => {}
            Err(error) => return Err(error.into()),
        }
        Ok(polled[0].revents().intersects(PollFlags::HUP | PollFlags::ERR | PollFlags::NVAL))
    }
}

/// What a key leads to.
#[derive(PartialEq, Eq)]
enum Next {
    Stay,
    Quit,
}

impl View {
    /// One page on the standard output. Rates need a second look.
    fn once(&mut self, json: bool) -> anyhow::Result<()> {
        std::thread::sleep(self.every);
        self.look_again()?;
        if json {
            let looks = serde_json::json!({ "status": self.looks.status, "processes": self.looks.processes });
            return Ok(terminal::out(&looks.to_string())?);
        }
        (self.style.width, self.style.height) = PAGE_WITHOUT_TERMINAL;
        let lines = page(&self.looks, &self.users, &self.style);
        let lines: Vec<&str> = lines.iter().map(|(_, line)| line.trim_end()).collect();
        Ok(terminal::out(&lines.join("\n"))?)
    }

    fn look_again(&mut self) -> anyhow::Result<()> {
        let (status, values, processes) = look(&self.door)?;
        self.looks.add(status, values, processes);
        Ok(())
    }

    /// Live. The terminal is as it was afterwards, also after a panic (`try_init` sees to it) and
    /// after signals, for which a thread of the runtime listens.
    fn live(&mut self) -> anyhow::Result<()> {
        let runtime = Builder::new_multi_thread().worker_threads(1).enable_all().build()?;
        let mut signals = {
            let _inside = runtime.enter();
            Signals::listen()?
        };
        let mut screen = ratatui::try_init()?;
        let result = self.watch(&mut screen, &mut signals);
        // A terminal that is gone cannot be restored, nor can it be told so.
        let _ = ratatui::try_restore();
        result
    }

    /// Draws and obeys until `q` or a signal. SIGHUP means that the terminal is gone.
    fn watch(&mut self, screen: &mut DefaultTerminal, signals: &mut Signals) -> anyhow::Result<()> {
        let mut next_look = Instant::now() + self.every;
        let keyboard = Keyboard::find()?;
        while !signals.shutdown.is_cancelled() && signals.reloads.try_recv().is_err() {
            screen.draw(|frame| self.draw(frame))?;
            let wait = next_look.saturating_duration_since(Instant::now());
            if keyboard.is_gone_after(wait.min(KEY_WAIT))? {
                return Ok(());
            }
            if event::poll(Duration::ZERO)?
                && let Event::Key(key) = event::read()?
                && key.kind == KeyEventKind::Press
                && self.press(key) == Next::Quit
            {
                return Ok(());
            }
            if Instant::now() >= next_look {
                next_look = Instant::now() + self.every;
                self.look_unless_paused()?;
            }
        }
        Ok(())
    }

    /// The agent may be restarting: a failed look leaves the page as it is for a while.
    fn look_unless_paused(&mut self) -> anyhow::Result<()> {
        if self.style.paused {
            return Ok(());
        }
        match self.look_again() {
            Ok(()) => self.failed = 0,
            Err(error) if self.failed >= N_FAILED_LOOKS_MAX => return Err(error),
            Err(_) => self.failed += 1,
        }
        Ok(())
    }

    fn press(&mut self, key: KeyEvent) -> Next {
        if key.code == KeyCode::Char('c') && key.modifiers.contains(KeyModifiers::CONTROL) {
            return Next::Quit;
        }
        if std::mem::take(&mut self.help) {
            return Next::Stay;
        }
        if self.style.typing {
            self.type_filter(key.code);
            return Next::Stay;
        }
        match key.code {
            KeyCode::Char('q') | KeyCode::Esc => return Next::Quit,
            KeyCode::Char('c') => self.style.sort = Sort::Cpu,
            KeyCode::Char('m') => self.style.sort = Sort::Rss,
            KeyCode::Char('i') => self.style.sort = Sort::Io,
            KeyCode::Char('t') => self.style.tree = !self.style.tree,
            KeyCode::Char(' ') => self.style.paused = !self.style.paused,
            KeyCode::Char('/') => {
                self.style.filter.clear();
                self.style.typing = true;
            }
            KeyCode::Char('?') => self.help = true,
            _ => {}
        }
        Next::Stay
    }

    fn type_filter(&mut self, key: KeyCode) {
        match key {
            KeyCode::Enter => self.style.typing = false,
            KeyCode::Esc => {
                self.style.filter.clear();
                self.style.typing = false;
            }
            KeyCode::Backspace => drop(self.style.filter.pop()),
            KeyCode::Char(c) => self.style.filter.push(c),
            _ => {}
        }
    }

    fn draw(&mut self, frame: &mut Frame<'_>) {
        let area = frame.area();
        (self.style.width, self.style.height) = (usize::from(area.width), usize::from(area.height));
        if self.help {
            frame.render_widget(Clear, area);
            frame.render_widget(Paragraph::new(HELP), area);
            return;
        }
        let lines = page(&self.looks, &self.users, &self.style);
        let painted = lines.into_iter().map(|(tone, text)| TextLine::styled(text, self.paint(tone)));
        frame.render_widget(Paragraph::new(Text::from_iter(painted)), area);
    }

    fn paint(&self, tone: Tone) -> Paint {
        let plain = Paint::new();
        match tone {
            Tone::Plain => plain,
            Tone::Head => plain.add_modifier(Modifier::BOLD),
            Tone::Foot => plain.add_modifier(Modifier::DIM),
            Tone::Warn if self.coloured => plain.fg(Color::Yellow).add_modifier(Modifier::BOLD),
            Tone::Warn => plain.add_modifier(Modifier::BOLD),
        }
    }
}
