//! The account of each process: what it used since the last look, and what its children used that
//! lived and died between two looks, counted once. Pure computation on what was read.
//!
//! The kernel adds the whole time of a child to its parent's account (cutime, cstime, and in
//! /proc/PID/io) when the parent has waited for it. What of that was charged already while the
//! child was seen is the parent's debt: it is subtracted from what flows in from children. Parents
//! are read before their children, so what a vanished child leaves has come to its parent at this
//! look, or comes at the next one, or never does (the parent ignores its children): then the debt
//! is dropped. Where the parent vanished too, the debt goes to the next living ancestor; and what
//! that one has not received, an ancestor above it may have, who adopted the orphan.

use crate::process_groups::Used;

/// The parents that are asked at most for one process: a loop of recycled ids ends here.
const ANCESTORS_MAX: usize = 64;

/// CPU time, bytes read, bytes written.
type Amounts = [u64; 3];

/// What was read of one process at one look.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) struct Look {
    /// User and system time of its own, clock ticks.
    pub own_ticks: u64,
    /// That of children it waited for, clock ticks.
    pub children_ticks: u64,
    /// Bytes read and written, children it waited for included; none where they were not read.
    pub io: Option<[u64; 2]>,
}

/// One process' account.
#[derive(Debug, Clone, Default)]
pub(crate) struct Account {
    /// Process id.
    pub pid: u32,
    /// Parent's process id at the last look.
    pub parent: u32,
    /// It vanished since the last look.
    pub gone: bool,
    /// Its children are buried without being counted: SIGCHLD is ignored, or it is the kernel's.
    pub forgets_children: bool,
    /// All that was charged since it was first seen; begins at what it had used by then.
    pub total: Used,
    own_ticks: u64,
    /// The last values of what flows in from children: time; bytes, its own included.
    inflow: Amounts,
    io_known: bool,
    /// Of this pass: growth of its own time, and inflow that paid no debt.
    own_growth: u64,
    left: Amounts,
    /// What was charged already of what is still to flow in.
    debts: Amounts,
}

impl Account {
    /// A process that was there before the first pass: nothing of its past is charged.
    pub fn found(pid: u32, parent: u32, look: Look) -> Self {
        let [read, written] = look.io.unwrap_or_default();
        Self {
            pid,
            parent,
            own_ticks: look.own_ticks,
            inflow: [look.children_ticks, read, written],
            io_known: look.io.is_some(),
            total: Used { cpu_ticks: look.own_ticks, read_bytes: read, written_bytes: written },
            ..Self::default()
        }
    }

    /// A process that was born since the last pass: all that it used is charged.
    pub fn born(pid: u32, parent: u32, look: Look) -> Self {
        let mut account = Self { pid, parent, io_known: look.io.is_some(), ..Self::default() };
        account.look(look);
        account
    }

    /// Takes what was read now.
    pub fn look(&mut self, now: Look) {
        self.own_growth = now.own_ticks.saturating_sub(self.own_ticks);
        self.own_ticks = self.own_ticks.max(now.own_ticks);
        self.flow(0, now.children_ticks);
        let Some(bytes) = now.io else { return };
        for (which, bytes) in [(1, bytes[0]), (2, bytes[1])] {
            if self.io_known { self.flow(which, bytes) } else { self.inflow[which] = bytes }
        }
        self.io_known = true;
    }

    /// Did user, system or children's time grow since the look before?
    pub fn has_moved(&self, own_ticks: u64, children_ticks: u64) -> bool {
        own_ticks != self.own_ticks || children_ticks != self.inflow[0]
    }

    /// Could its bytes be read?
    pub fn io_known(&self) -> bool {
        self.io_known
    }

    fn flow(&mut self, which: usize, now: u64) {
        let came = now.saturating_sub(self.inflow[which]);
        self.inflow[which] = self.inflow[which].max(now);
        self.left[which] = came - came.min(self.debts[which]);
        self.debts[which] = 0;
    }

    /// A descendant's account ends with these amounts. They may be in what came at this very look.
    fn owe(&mut self, amounts: Amounts) {
        for ((left, debt), amount) in self.left.iter_mut().zip(&mut self.debts).zip(amounts) {
            let paid = amount.min(*left);
            *left -= paid;
            *debt = debt.saturating_add(amount - paid);
        }
    }

    /// What was charged here of what its parent receives when it is buried.
    fn known(&self) -> Amounts {
        let mut known = [0; 3];
        for (which, amount) in known.iter_mut().enumerate() {
            *amount = self.inflow[which].saturating_add(self.debts[which]);
        }
        known[0] = self.own_ticks.saturating_add(known[0]);
        known
    }

    /// Ends the pass: what is charged for it.
    fn take_charge(&mut self) -> Used {
        let [ticks, read_bytes, written_bytes] = std::mem::take(&mut self.left);
        let cpu_ticks = std::mem::take(&mut self.own_growth).saturating_add(ticks);
        let charge = Used { cpu_ticks, read_bytes, written_bytes };
        self.total.add(charge);
        charge
    }
}

/// The places of processes by their ids.
#[derive(Default)]
pub(crate) struct ByPid(Vec<(u32, u32)>);

impl ByPid {
    /// Takes all ids anew, in the order of their places.
    pub fn rebuild(&mut self, pids: impl Iterator<Item = u32>) {
        self.0.clear();
        self.0.extend(pids.zip(0..));
        self.0.sort_unstable();
    }

    /// The place of the youngest process with this id.
    pub fn get(&self, pid: u32) -> Option<usize> {
        let after = self.0.partition_point(|(other, _)| *other <= pid);
        let (found, place) = self.0[..after].last()?;
        (*found == pid).then_some(*place as usize)
    }

    /// All ids, rising, with their places.
    pub fn iter(&self) -> impl Iterator<Item = (u32, usize)> {
        self.0.iter().map(|(pid, place)| (*pid, *place as usize))
    }
}

/// Settles the accounts after all were looked at: those that ended, then the debts of orphans.
/// Calls `charge` with each process that used anything.
pub(crate) fn settle<P: AsMut<Account> + AsRef<Account>>(
    processes: &mut [P],
    by_pid: &ByPid,
    mut charge: impl FnMut(&P, Used),
) {
    for place in 0..processes.len() {
        let ended: &Account = processes[place].as_ref();
        if ended.gone {
            let known = ended.known();
            if let Some(heir) = heir(processes, by_pid, place) {
                processes[heir].as_mut().owe(known);
            }
        }
    }
    for place in 0..processes.len() {
        let account: &Account = processes[place].as_ref();
        if !account.gone && account.debts[0] > 0 {
            ask_ancestors(processes, by_pid, place);
        }
    }
    for process in processes {
        let used = process.as_mut().take_charge();
        if used != Used::default() {
            charge(process, used);
        }
    }
}

/// The next living ancestor of a process that vanished, unless its time is counted nowhere.
fn heir<P: AsRef<Account>>(processes: &[P], by_pid: &ByPid, place: usize) -> Option<usize> {
    let mut place = place;
    for _ in 0..ANCESTORS_MAX {
        place = by_pid.get(processes[place].as_ref().parent)?;
        let parent = processes[place].as_ref();
        if parent.forgets_children {
            return None;
        }
        if !parent.gone {
            return Some(place);
        }
    }
    None
}

/// An orphan is buried by an ancestor of its dead parent: what flowed in there pays the debt.
fn ask_ancestors<P: AsMut<Account> + AsRef<Account>>(processes: &mut [P], by_pid: &ByPid, debtor: usize) {
    let mut place = debtor;
    for _ in 0..ANCESTORS_MAX {
        let debt = processes[debtor].as_ref().debts[0];
        let Some(above) = by_pid.get(processes[place].as_ref().parent) else { return };
        if debt == 0 || above == debtor {
            return;
        }
        let ancestor = processes[above].as_mut();
        let paid = debt.min(ancestor.left[0]);
        ancestor.left[0] -= paid;
        processes[debtor].as_mut().debts[0] -= paid;
        place = above;
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    impl AsMut<Account> for Account {
        fn as_mut(&mut self) -> &mut Account {
            self
        }
    }

    impl AsRef<Account> for Account {
        fn as_ref(&self) -> &Account {
            self
        }
    }

    fn ticks(own_ticks: u64, children_ticks: u64) -> Look {
        Look { own_ticks, children_ticks, io: None }
    }

    /// Settles and answers the ticks charged to each place.
    fn charged(accounts: &mut Vec<Account>) -> Vec<u64> {
        let mut by_pid = ByPid::default();
        by_pid.rebuild(accounts.iter().map(|account| account.pid));
        let mut all = vec![0; accounts.len()];
        let place = |pid| by_pid.get(pid).unwrap();
        settle(accounts, &by_pid, |account, used| all[place(account.pid)] = used.cpu_ticks);
        accounts.retain(|account| !account.gone);
        all
    }

    #[test]
    fn nothing_of_the_past_is_charged_to_what_was_found() {
        let mut accounts = vec![Account::found(1, 0, ticks(500, 900))];
        assert_eq!(charged(&mut accounts), [0]);
        accounts[0].look(ticks(510, 903));
        assert_eq!(charged(&mut accounts), [13]);
        assert_eq!(accounts[0].total.cpu_ticks, 513);
    }

    #[test]
    fn children_never_seen_are_charged_to_their_parent() {
        let mut accounts = vec![Account::found(1, 0, ticks(0, 0)), Account::born(2, 1, ticks(3, 40))];
        assert_eq!(charged(&mut accounts), [0, 43]);
    }

    #[test]
    fn child_that_was_seen_is_not_charged_again_when_it_is_buried() {
        let mut accounts = vec![Account::found(1, 0, ticks(0, 0)), Account::born(2, 1, ticks(100, 0))];
        assert_eq!(charged(&mut accounts), [0, 100]);
        accounts[0].look(ticks(1, 107));
        accounts[1].gone = true;
        assert_eq!(charged(&mut accounts), [8, 0]);
    }

    #[test]
    fn child_buried_after_its_parent_was_read_is_not_charged_again_at_the_next_look() {
        let mut accounts = vec![Account::found(1, 0, ticks(0, 0)), Account::born(2, 1, ticks(100, 0))];
        charged(&mut accounts);
        accounts[0].look(ticks(0, 0));
        accounts[1].gone = true;
        assert_eq!(charged(&mut accounts), [0, 0]);
        accounts[0].look(ticks(0, 104));
        assert_eq!(charged(&mut accounts), [4]);
        accounts[0].look(ticks(0, 154));
        assert_eq!(charged(&mut accounts), [50]);
    }

    #[test]
    fn parent_and_child_that_vanish_together_are_known_to_the_grandparent() {
        let mut accounts = vec![
            Account::found(1, 0, ticks(0, 0)),
            Account::born(2, 1, ticks(10, 5)),
            Account::born(3, 2, ticks(70, 0)),
        ];
        charged(&mut accounts);
        accounts[0].look(ticks(0, 86));
        accounts[1].gone = true;
        accounts[2].gone = true;
        assert_eq!(charged(&mut accounts), [1, 0, 0]);
    }

    #[test]
    fn orphan_adopted_by_init_is_not_charged_again() {
        let mut accounts = vec![
            Account::found(1, 0, ticks(0, 0)),
            Account::found(2, 1, ticks(0, 0)),
            Account::born(3, 2, ticks(10, 0)),
            Account::born(4, 3, ticks(70, 0)),
        ];
        charged(&mut accounts);
        accounts[0].look(ticks(0, 70));
        accounts[1].look(ticks(0, 10));
        accounts[2].gone = true;
        accounts[3].gone = true;
        assert_eq!(charged(&mut accounts), [0, 0, 0, 0]);
    }

    #[test]
    fn parent_that_ignores_its_children_owes_nothing() {
        let mut parent = Account::found(1, 0, ticks(0, 0));
        parent.forgets_children = true;
        let mut accounts = vec![parent, Account::born(2, 1, ticks(100, 0))];
        charged(&mut accounts);
        accounts[0].look(ticks(0, 0));
        accounts[1].gone = true;
        charged(&mut accounts);
        accounts[0].look(ticks(0, 30));
        assert_eq!(charged(&mut accounts), [30]);
    }

    #[test]
    fn bytes_of_a_buried_child_are_not_charged_again() {
        let io = |read| Look { io: Some([read, 0]), ..Look::default() };
        let mut accounts = vec![Account::found(1, 0, io(1000)), Account::born(2, 1, io(300))];
        charged(&mut accounts);
        accounts[1].gone = true;
        accounts[0].look(ticks(0, 0));
        charged(&mut accounts);
        accounts[0].look(io(1350));
        charged(&mut accounts);
        assert_eq!(accounts[0].total.read_bytes, 1050);
    }

    proptest! {
        /// A tree of random shape and load, looked at now and then: what is charged is what was
        /// used, as soon as every dead process is buried.
        #[test]
        fn all_time_is_charged_once(steps in proptest::collection::vec((0_u8..4, 0_usize..8, 1_u64..50), 1..120)) {
            let mut machine = Machine::new();
            for (what, which, amount) in steps {
                machine.step(what, which, amount);
            }
            machine.pass();
            machine.pass();
            prop_assert_eq!(machine.charged, machine.used);
        }
    }

    struct Task {
        pid: u32,
        parent: u32,
        own: u64,
        children: u64,
    }

    struct Machine {
        tasks: Vec<Task>,
        accounts: Vec<Account>,
        next_pid: u32,
        used: u64,
        charged: u64,
    }

    impl Machine {
        fn new() -> Self {
            let init = Task { pid: 1, parent: 0, own: 0, children: 0 };
            Self { tasks: vec![init], accounts: Vec::new(), next_pid: 2, used: 0, charged: 0 }
        }

        fn step(&mut self, what: u8, which: usize, amount: u64) {
            let which = which % self.tasks.len();
            match what {
                0 => {
                    self.tasks[which].own += amount;
                    self.used += amount;
                }
                1 => {
                    let parent = self.tasks[which].pid;
                    self.tasks.push(Task { pid: self.next_pid, parent, own: 0, children: 0 });
                    self.next_pid += 1;
                }
                2 if which > 0 => self.bury(which),
                _ => self.pass(),
            }
        }

        fn bury(&mut self, which: usize) {
            let dead = self.tasks.remove(which);
            for task in &mut self.tasks {
                if task.parent == dead.pid {
                    task.parent = 1;
                }
                if task.pid == dead.parent {
                    task.children += dead.own + dead.children;
                }
            }
        }

        fn pass(&mut self) {
            for task in &self.tasks {
                let look = ticks(task.own, task.children);
                match self.accounts.iter_mut().find(|account| account.pid == task.pid) {
                    Some(account) => {
                        account.parent = task.parent;
                        account.look(look);
                    }
                    None => self.accounts.push(Account::born(task.pid, task.parent, look)),
                }
            }
            for account in &mut self.accounts {
                account.gone = !self.tasks.iter().any(|task| task.pid == account.pid);
            }
            self.charged += charged(&mut self.accounts).iter().sum::<u64>();
        }
    }
}
