//! A model of how processes share the programs in the kernel: whatever is interleaved, and whichever two are killed at whatever steps, a
//! command runs behind its fence or not at all.
//!
//! What is modelled is `sandbox/src/kernel/` (`engine`, `pins`, `fence`, `collect`): one lock that processes take in turn, a
//! version of the programs that is complete once its mark is there, and a record of each fence that is locked for as long as its
//! supervisor lives. Each rule that the code keeps can be broken here, and has to be missed then.

use stateright::{Checker as _, Model, Property};

/// What must always hold.
const FENCED: &str = "a command runs behind its fence";
/// Supervisors, each with a command.
const SUPERVISORS: usize = 3;

/// The programs of one version in the BPF filesystem.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
struct Programs {
    /// Attached, all of them.
    attached: bool,
    /// They are complete: whoever comes takes them as they are.
    marked: bool,
    /// Which loading made them.
    generation: u8,
}

/// What a supervisor does next.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
enum Step {
    /// Waits for its turn.
    Find,
    /// Has the turn, and looks what is there.
    Look,
    /// Loads what is not there; the programs are attached, and not marked yet.
    Loaded,
    /// Has found or made the programs of this generation, and waits for its turn again.
    Found(u8),
    /// Has the turn, and looks whether they still are.
    Look2(u8),
    /// Its record is there and locked.
    Recorded(u8),
    /// Its cgroup is known to the programs.
    Open,
    /// The fence stands, and the turn is over.
    Stands,
    /// The command's process stands in the cgroup and waits for leave.
    Made,
    /// Waits for the command.
    Wait,
    /// The cgroup is not known any more.
    Closed,
    /// It has ended, or was killed.
    Gone,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
enum Command {
    /// Has not been made, or waits in the cgroup for leave; it ends with its supervisor then.
    Waiting,
    /// Has leave, and has executed nothing yet.
    Leaving,
    /// Runs, behind the fence or not.
    Running {
        fenced: bool,
    },
    Ended,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash)]
struct Host {
    /// Who has the turn: a supervisor, or whoever unloads ([`SUPERVISORS`]).
    turn: Option<usize>,
    programs: Programs,
    loadings: u8,
    supervisors: [Step; SUPERVISORS],
    commands: [Command; SUPERVISORS],
    /// A record is there; it is locked while its supervisor lives.
    records: [bool; SUPERVISORS],
    /// The cgroup is known to programs of this generation.
    gates: [Option<u8>; SUPERVISORS],
    unloader: Unloader,
    kills: u8,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
enum Unloader {
    Waits,
    Looks,
    /// What is to go first, the mark or the programs, is gone.
    Half,
    Gone,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
enum Act {
    Supervise(usize),
    Command(usize),
    Unload,
    Kill(usize),
}

/// The rules that are kept; each of them can be left out.
#[derive(Clone, Copy)]
struct Rules {
    /// Whoever removes programs takes the mark away first.
    mark_first: bool,
    /// A cgroup with a task in it keeps programs, whether its supervisor lives or not.
    populated: bool,
    /// A record that is locked keeps programs.
    held: bool,
    /// Whoever has found programs looks again whether they are the same.
    generation: bool,
    /// A record that nobody holds is forgotten when no task is left.
    tasks: bool,
}

const KEPT: Rules = Rules {
    mark_first: true,
    populated: true,
    held: true,
    generation: true,
    tasks: true,
};

impl Host {
    fn is_alive(&self, number: usize) -> bool {
        self.supervisors[number] != Step::Gone
    }

    fn is_held(&self, number: usize) -> bool {
        self.records[number] && self.is_alive(number)
    }

    /// A task that has executed nothing stands in the cgroup; or one that the programs know.
    fn is_populated(&self, number: usize) -> bool {
        match self.commands[number] {
            Command::Waiting => self.supervisors[number] == Step::Made,
            Command::Leaving | Command::Running { .. } => true,
            Command::Ended => false,
        }
    }

    /// A task that programs know.
    fn is_known(&self, number: usize) -> bool {
        self.commands[number] == Command::Running { fenced: true }
    }

    /// Removes, in two steps, what was found.
    fn half_removed(&mut self, rules: Rules) {
        match rules.mark_first {
            true => self.programs.marked = false,
            false => self.programs.attached = false,
        }
    }

    fn collect(&mut self, rules: Rules) {
        for number in 0..SUPERVISORS {
            let is_left = self.records[number] && !self.is_held(number);
            let is_empty = !rules.tasks || !self.is_populated(number);
            if is_left && is_empty {
                self.records[number] = false;
                self.gates[number] = None;
            }
        }
    }

    fn supervise(&mut self, number: usize, rules: Rules) -> Option<()> {
        let step = self.supervisors[number];
        let waits = matches!(step, Step::Find | Step::Found(_));
        if waits && self.turn.is_some() {
            return None;
        }
        let next = match step {
            Step::Find => {
                self.turn = Some(number);
                Step::Look
            }
            Step::Look if self.programs.marked => {
                self.collect(rules);
                self.turn = None;
                Step::Found(self.programs.generation)
            }
            Step::Look => {
                self.loadings += 1;
                self.programs = Programs {
                    attached: true,
                    marked: false,
                    generation: self.loadings,
                };
                Step::Loaded
            }
            Step::Loaded => {
                self.programs.marked = true;
                self.turn = None;
                Step::Found(self.programs.generation)
            }
            Step::Found(generation) => {
                self.turn = Some(number);
                Step::Look2(generation)
            }
            Step::Look2(generation) => {
                let same = self.programs.marked && self.programs.generation == generation;
                if rules.generation && !same {
                    self.turn = None;
                    // It is said, and nothing starts.
                    Step::Gone
                } else {
                    self.records[number] = true;
                    Step::Recorded(generation)
                }
            }
            Step::Recorded(generation) => {
                self.gates[number] = Some(generation);
                Step::Open
            }
            Step::Open => {
                self.turn = None;
                Step::Stands
            }
            Step::Stands => Step::Made,
            Step::Made => {
                self.commands[number] = Command::Leaving;
                Step::Wait
            }
            Step::Wait if self.commands[number] == Command::Ended => {
                self.gates[number] = None;
                Step::Closed
            }
            Step::Closed => {
                self.records[number] = false;
                Step::Gone
            }
            Step::Wait | Step::Gone => return None,
        };
        self.supervisors[number] = next;
        Some(())
    }

    fn command(&mut self, number: usize) -> Option<()> {
        self.commands[number] = match self.commands[number] {
            Command::Waiting if !self.is_alive(number) => Command::Ended,
            Command::Leaving => {
                let gate = self.gates[number];
                let fenced = self.programs.attached && gate == Some(self.programs.generation);
                Command::Running { fenced }
            }
            Command::Running { .. } => Command::Ended,
            Command::Waiting | Command::Ended => return None,
        };
        Some(())
    }

    fn unload(&mut self, rules: Rules) -> Option<()> {
        let mut all = 0..SUPERVISORS;
        self.unloader = match self.unloader {
            Unloader::Waits if self.turn.is_none() => {
                self.turn = Some(SUPERVISORS);
                Unloader::Looks
            }
            Unloader::Looks => {
                let is_needed = all.any(|number| {
                    rules.held && self.is_held(number)
                        || rules.populated && self.records[number] && self.is_populated(number)
                        || self.is_known(number)
                });
                if is_needed {
                    self.turn = None;
                    Unloader::Gone
                } else {
                    self.half_removed(rules);
                    Unloader::Half
                }
            }
            Unloader::Half => {
                self.programs = Programs::default();
                self.gates = [None; SUPERVISORS];
                self.records = [false; SUPERVISORS];
                self.turn = None;
                Unloader::Gone
            }
            Unloader::Waits | Unloader::Gone => return None,
        };
        Some(())
    }

    /// SIGKILL: locks are given back, and all else stays as it is.
    fn kill(&mut self, number: usize) -> Option<()> {
        self.kills = self.kills.checked_sub(1)?;
        if number == SUPERVISORS {
            let was = std::mem::replace(&mut self.unloader, Unloader::Gone);
            (was != Unloader::Gone).then_some(())?;
        } else {
            let was = std::mem::replace(&mut self.supervisors[number], Step::Gone);
            (was != Step::Gone).then_some(())?;
        }
        if self.turn == Some(number) {
            self.turn = None;
        }
        Some(())
    }
}

impl Model for Rules {
    type State = Host;
    type Action = Act;

    fn init_states(&self) -> Vec<Host> {
        vec![Host {
            turn: None,
            programs: Programs::default(),
            loadings: 0,
            supervisors: [Step::Find; SUPERVISORS],
            commands: [Command::Waiting; SUPERVISORS],
            records: [false; SUPERVISORS],
            gates: [None; SUPERVISORS],
            unloader: Unloader::Waits,
            kills: 2,
        }]
    }

    fn actions(&self, _: &Host, acts: &mut Vec<Act>) {
        for number in 0..SUPERVISORS {
            acts.extend([
                Act::Supervise(number),
                Act::Command(number),
                Act::Kill(number),
            ]);
        }
        acts.extend([Act::Unload, Act::Kill(SUPERVISORS)]);
    }

    fn next_state(&self, host: &Host, act: Act) -> Option<Host> {
        let mut host = host.clone();
        match act {
            Act::Supervise(number) => host.supervise(number, *self),
            Act::Command(number) => host.command(number),
            Act::Unload => host.unload(*self),
            Act::Kill(number) => host.kill(number),
        }?;
        Some(host)
    }

    fn properties(&self) -> Vec<Property<Self>> {
        vec![
            Property::always(FENCED, |_, host: &Host| {
                let held = |number: usize| match host.commands[number] {
                    Command::Running { fenced } => {
                        fenced
                            && host.programs.attached
                            && host.gates[number] == Some(host.programs.generation)
                    }
                    _ => true,
                };
                (0..SUPERVISORS).all(held)
            }),
            Property::sometimes("two commands run", |_, host: &Host| {
                let runs = |command: &Command| matches!(command, Command::Running { .. });
                host.commands.iter().all(runs)
            }),
            Property::sometimes("programs are removed and loaded again", |_, host: &Host| {
                host.loadings == 2 && host.programs.marked
            }),
            Property::eventually("all ends, and the turn is nobody's", |_, host: &Host| {
                let ended = host
                    .commands
                    .iter()
                    .all(|command| *command == Command::Ended);
                let gone = host.supervisors.iter().all(|step| *step == Step::Gone);
                ended && gone && host.turn.is_none()
            }),
        ]
    }
}

#[test]
fn a_command_runs_behind_its_fence_whoever_is_killed_whenever() {
    KEPT.checker().spawn_bfs().join().assert_properties();
}

#[test]
fn each_rule_is_needed_for_that() {
    for (name, rules) in [
        (
            "mark_first",
            Rules {
                mark_first: false,
                ..KEPT
            },
        ),
        (
            "populated",
            Rules {
                populated: false,
                ..KEPT
            },
        ),
        (
            "held",
            Rules {
                held: false,
                ..KEPT
            },
        ),
        (
            "generation",
            Rules {
                generation: false,
                ..KEPT
            },
        ),
        (
            "tasks",
            Rules {
                tasks: false,
                ..KEPT
            },
        ),
    ] {
        let checker = rules.checker().spawn_bfs().join();
        assert!(checker.discovery(FENCED).is_some(), "without {name}");
    }
}
