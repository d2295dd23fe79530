//! An effective profile as a profile file says it.

use super::document::{
    Amount, DefaultWord, Document, FilesSection, KernelSection, LimitsSection, ModeWord,
    NetworkEntry, NetworkSection, NetworkTable, ProcessSection, ProgramSection, RuleEntry,
    RuleTable, SniWord, SyscallsEntry,
};
use super::effective::Effective;
use super::kernel::Opening;
use super::layer::{Program, SyscallChoice};
use super::network::{NetworkRight, NetworkRule};
use super::rule::{Right, Rule};
use crate::policy::{Limits, Mode, Sni};

impl Effective {
    /// The same as a profile file, rules as they were written.
    #[must_use]
    pub fn to_document(&self) -> Document {
        Document {
            version: 1,
            name: Some(self.name.clone()),
            because: self.because.clone(),
            extends: Vec::new(),
            variables: self
                .own_variables
                .iter()
                .map(|variable| (variable.name.clone(), variable.value.clone()))
                .collect(),
            files: Some(files_section(Some(self.files_mode), &self.rules)),
            network: Some(network_section(
                Some(self.network_mode),
                Some(self.sni),
                &self.network,
            )),
            process: Some(self.process_section()),
            kernel: kernel_section(&self.kernel),
            limits: limits_section(&self.limits),
            protection: self
                .degradation
                .demands
                .iter()
                .map(|(protection, demand)| {
                    (protection.name().to_owned(), demand.name().to_owned())
                })
                .collect(),
            program: self.programs.iter().map(program_section).collect(),
        }
    }

    fn process_section(&self) -> ProcessSection {
        ProcessSection {
            capabilities: Some(self.capabilities.clone()),
            syscalls: Some(match &self.syscalls {
                SyscallChoice::Default => SyscallsEntry::Default(DefaultWord::Default),
                SyscallChoice::Listed(names) => SyscallsEntry::Listed(names.clone()),
            }),
            allow_privilege_gain: Some(self.privilege_gain),
        }
    }
}

fn program_section(program: &Program) -> ProgramSection {
    let sections = &program.sections;
    let speaks_of_files = sections.files_mode.is_some() || !sections.rules.is_empty();
    let speaks_of_network =
        sections.network_mode.is_some() || sections.sni.is_some() || !sections.network.is_empty();
    ProgramSection {
        path: writable(&program.path.text),
        because: program.because.clone(),
        inherit: (!program.inherit).then_some(false),
        extends: Vec::new(),
        files: speaks_of_files.then(|| files_section(sections.files_mode, &sections.rules)),
        network: speaks_of_network
            .then(|| network_section(sections.network_mode, sections.sni, &sections.network)),
        kernel: kernel_section(&sections.kernel),
        program: sections.programs.iter().map(program_section).collect(),
    }
}

fn files_section(mode: Option<Mode>, rules: &[Rule]) -> FilesSection {
    let rules = |right: Right| -> Vec<RuleEntry> {
        let of_right = rules.iter().filter(|rule| rule.right == right);
        of_right.map(rule_entry).collect()
    };
    FilesSection {
        mode: mode.map(mode_word),
        read: rules(Right::Read),
        write: rules(Right::Write),
        exec: rules(Right::Exec),
        deny: rules(Right::Deny),
    }
}

fn network_section(mode: Option<Mode>, sni: Option<Sni>, rules: &[NetworkRule]) -> NetworkSection {
    let rules = |right: NetworkRight| -> Vec<NetworkEntry> {
        let of_right = rules.iter().filter(|rule| rule.right == right);
        of_right.map(network_entry).collect()
    };
    NetworkSection {
        mode: mode.map(mode_word),
        // The default is left out: where nothing is said, nothing has to be read.
        sni: sni
            .filter(|sni| *sni != Sni::default())
            .map(|sni| match sni {
                Sni::Required => SniWord::Required,
                Sni::IfPresent => SniWord::IfPresent,
                Sni::Off => SniWord::Off,
            }),
        connect: rules(NetworkRight::Connect),
        listen: rules(NetworkRight::Listen),
        unix: rules(NetworkRight::Unix),
        deny: rules(NetworkRight::Deny),
    }
}

fn network_entry(rule: &NetworkRule) -> NetworkEntry {
    let address = writable(&rule.text);
    if rule.because.is_none() && !rule.expected {
        return NetworkEntry::Text(address);
    }
    NetworkEntry::Table(NetworkTable {
        address,
        because: rule.because.clone(),
        expected: rule.expected,
    })
}

const fn mode_word(mode: Mode) -> ModeWord {
    match mode {
        Mode::Enforce => ModeWord::Enforce,
        Mode::Audit => ModeWord::Audit,
        Mode::Off => ModeWord::Off,
    }
}

fn kernel_section(openings: &[Opening]) -> Option<KernelSection> {
    let mut allow: Vec<_> = openings
        .iter()
        .map(|one| one.surface.name.to_owned())
        .collect();
    allow.sort();
    allow.dedup();
    (!allow.is_empty()).then_some(KernelSection { allow })
}

fn rule_entry(rule: &Rule) -> RuleEntry {
    let path = writable(&rule.text);
    if rule.because.is_none() && !rule.expected {
        return RuleEntry::Text(path);
    }
    RuleEntry::Table(RuleTable {
        path,
        because: rule.because.clone(),
        expected: rule.expected,
    })
}

/// A rule's text as a profile can hold it: bytes that are not UTF-8 become `\xe9`, which means the same.
fn writable(text: &[u8]) -> String {
    let mut written = String::with_capacity(text.len());
    for chunk in text.utf8_chunks() {
        written.push_str(chunk.valid());
        for byte in chunk.invalid() {
            written.push_str(&format!("\\x{byte:02x}"));
        }
    }
    written
}

fn limits_section(limits: &Limits) -> Option<LimitsSection> {
    if *limits == Limits::default() {
        return None;
    }
    let bytes = |amount: Option<u64>| amount.map(|amount| Amount::Text(format!("{amount}B")));
    Some(LimitsSection {
        memory: bytes(limits.memory),
        pids: limits.pids,
        time: limits.wall_seconds.map(|seconds| format!("{seconds}s")),
        cpu: limits
            .cpu_percent
            .map(|percent| Amount::Text(format!("{percent}%"))),
        open_files: limits.open_files,
        file_size: bytes(limits.file_size),
    })
}
