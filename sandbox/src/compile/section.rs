//! The profile and its programs as one list of sections: which rules hold in each, and where an exec leads from there.

use std::ops::Range;

use ringfence_abi::rights::PROGRAMS;
use ringfence_abi::surface::Surfaces;

use super::Error;
use crate::policy::{Mode, Sni};
use crate::profile::{Effective, NetworkRight, NetworkRule, Program, Right, Rule, kernel};

/// What holds outside of every program, or in one.
#[derive(Clone, Debug)]
pub struct Section {
    /// The program's path among the bound rules; `None` for the profile at large.
    pub path: Option<usize>,
    /// What the program is for.
    pub because: Option<String>,
    /// Number of the section that surrounds this one; 0 is the profile at large, which surrounds itself.
    pub parent: u8,
    /// Whether it has the rights of what surrounds it.
    pub inherit: bool,
    /// What a denial does.
    pub mode: Mode,
    /// The network.
    pub network: SectionNetwork,
    /// What of the kernel is open.
    pub kernel: Surfaces,
    /// Its own rules among the bound ones.
    pub own: Range<usize>,
    /// All rules that hold in it.
    pub(super) rules: Vec<usize>,
    /// Programs that an exec can enter from here; of several that cover a path the first.
    pub entries: Vec<u8>,
}

/// The network of one section.
#[derive(Clone, Debug)]
pub struct SectionNetwork {
    /// What a denial does.
    pub mode: Mode,
    /// Whether the names that TLS clients ask for are looked at.
    pub sni: Sni,
    /// Its own rules among the bound ones about the network.
    pub own: Range<usize>,
    /// All rules about the network that hold in it.
    pub(super) rules: Vec<usize>,
}

/// The sections of a profile, and all rules in the order to which the sections refer.
pub(super) struct Layout<'a> {
    /// The profile at large first and then the programs by their number.
    pub(super) sections: Vec<Section>,
    pub(super) rules: Vec<&'a Rule>,
    pub(super) network: Vec<&'a NetworkRule>,
}

/// The sections of `effective`.
pub(super) fn sections(effective: &Effective) -> Result<Layout<'_>, Error> {
    let mut layout = Layout {
        sections: Vec::new(),
        rules: effective.rules.iter().collect(),
        network: effective.network.iter().collect(),
    };
    let own = 0..layout.rules.len();
    let own_network = 0..layout.network.len();
    layout.sections.push(Section {
        path: None,
        because: effective.because.clone(),
        parent: 0,
        inherit: false,
        mode: effective.files_mode,
        network: SectionNetwork {
            mode: effective.network_mode,
            sni: effective.sni,
            rules: own_network.clone().collect(),
            own: own_network,
        },
        kernel: kernel::opened(&effective.kernel),
        rules: own.clone().collect(),
        own,
        entries: Vec::new(),
    });
    layout.add(&effective.programs, 0)?;
    let top = layout.sections[0].entries.clone();
    // From inside a program its own come first, and those of the profile stay within reach.
    for section in &mut layout.sections[1..] {
        section.entries.extend(&top);
    }
    let count = layout.sections.len() - 1;
    if count > usize::from(PROGRAMS) {
        return Err(Error::TooManyPrograms {
            profile: effective.name.clone(),
            programs: count,
            most: PROGRAMS,
        });
    }
    Ok(layout)
}

impl<'a> Layout<'a> {
    fn add(&mut self, programs: &'a [Program], parent: usize) -> Result<(), Error> {
        for program in programs {
            let number = self.sections.len();
            let section = self.section(program, parent);
            self.sections.push(section);
            // More than a number can say are counted all the same, and refused with their count.
            self.sections[parent].entries.extend(u8::try_from(number));
            self.add(&program.sections.programs, number)?;
        }
        Ok(())
    }

    fn section(&mut self, program: &'a Program, parent: usize) -> Section {
        let around = self.sections[parent].clone();
        let path = self.rules.len();
        self.rules.push(&program.path);
        let own = self.rules.len()..self.rules.len() + program.sections.rules.len();
        self.rules.extend(&program.sections.rules);
        // A deny rule beats every allow rule, those of programs too.
        let mut rules = around.rules;
        rules.retain(|&rule| program.inherit || self.rules[rule].right == Right::Deny);
        rules.extend(own.clone());
        let network = self.network(program, around.network);
        let open = if program.inherit {
            around.kernel
        } else {
            Surfaces::NONE
        };
        Section {
            path: Some(path),
            because: program.because.clone(),
            parent: u8::try_from(parent).unwrap_or(u8::MAX),
            inherit: program.inherit,
            mode: program.sections.files_mode.unwrap_or(around.mode),
            network,
            kernel: open.union(kernel::opened(&program.sections.kernel)),
            own,
            rules,
            entries: Vec::new(),
        }
    }

    fn network(&mut self, program: &'a Program, around: SectionNetwork) -> SectionNetwork {
        let sections = &program.sections;
        let own = self.network.len()..self.network.len() + sections.network.len();
        self.network.extend(&sections.network);
        let mut rules = around.rules;
        rules.retain(|&rule| program.inherit || self.network[rule].right == NetworkRight::Deny);
        rules.extend(own.clone());
        let mode = if program.inherit {
            around.mode
        } else {
            Mode::Enforce
        };
        SectionNetwork {
            mode: sections.network_mode.unwrap_or(mode),
            sni: sections.sni.unwrap_or(around.sni),
            own,
            rules,
        }
    }
}
