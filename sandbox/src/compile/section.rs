//! The profile and its programs as one list of sections: which rules hold in each, and where an exec leads from there.

use std::ops::Range;

use ringfence_abi::rights::PROGRAMS;
use ringfence_abi::surface::Surfaces;

use super::Error;
use crate::policy::Mode;
use crate::profile::{Effective, NetworkMode, Program, Right, Rule, kernel};

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
    pub network: NetworkMode,
    /// What of the kernel is open.
    pub kernel: Surfaces,
    /// Its own rules among the bound ones.
    pub own: Range<usize>,
    /// All rules that hold in it.
    pub(super) rules: Vec<usize>,
    /// Programs that an exec can enter from here; of several that cover a path the first.
    pub entries: Vec<u8>,
}

/// The sections of `effective`, the profile at large first and then the programs by their number, and all rules in the
/// order to which the sections refer.
pub(super) fn sections(effective: &Effective) -> Result<(Vec<Section>, Vec<&Rule>), Error> {
    let mut layout = Layout {
        sections: Vec::new(),
        rules: effective.rules.iter().collect(),
    };
    let own = 0..layout.rules.len();
    layout.sections.push(Section {
        path: None,
        because: effective.because.clone(),
        parent: 0,
        inherit: false,
        mode: effective.files_mode,
        network: effective.network,
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
    Ok((layout.sections, layout.rules))
}

struct Layout<'a> {
    sections: Vec<Section>,
    rules: Vec<&'a Rule>,
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
        let (network, open) = if program.inherit {
            (around.network, around.kernel)
        } else {
            (NetworkMode::Enforce, Surfaces::NONE)
        };
        Section {
            path: Some(path),
            because: program.because.clone(),
            parent: u8::try_from(parent).unwrap_or(u8::MAX),
            inherit: program.inherit,
            mode: program.sections.files_mode.unwrap_or(around.mode),
            network: program.sections.network.unwrap_or(network),
            kernel: open.union(kernel::opened(&program.sections.kernel)),
            own,
            rules,
            entries: Vec::new(),
        }
    }
}
