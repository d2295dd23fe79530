//! Names and paths to one effective profile: reads what is extended first, each file once, and refuses cycles.

use std::collections::HashMap;
use std::ffi::{OsStr, OsString};
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::disk::Found;
use super::effective::{CommandLine, Effective};
use super::error::Error;
use super::layer::{Extension, Layer, OwnVariable, Program, Sections};
use super::source::{Place, Source};
use super::{MAX_BYTES, disk, read, shipped, tree};

/// Joins the profiles called `names` and what the command line says. Without a name it is [`shipped::DEFAULT`].
///
/// The name of a shipped profile is that profile; any other with a slash, or with the ending `.toml` or `.json`, is a path. A profile is
/// never picked up from the working directory by itself: the code under test may have written it.
///
/// # Errors
///
/// What is wrong with the first profile that has something wrong; see [`Error`].
pub fn load(names: &[OsString], command_line: CommandLine) -> Result<Effective, Error> {
    load_by(&disk::read, names, command_line)
}

/// What reads a profile's file: [`disk::read`], or who keeps what it has read.
pub type Reader<'a> = &'a dyn Fn(&Path) -> io::Result<Found>;

/// The same, with files that `read` reads.
///
/// # Errors
///
/// As [`load`].
pub fn load_by(
    read: Reader<'_>,
    names: &[OsString],
    command_line: CommandLine,
) -> Result<Effective, Error> {
    let mut loader = Loader::new(read);
    let default = [OsString::from(shipped::DEFAULT)];
    let mut asked = Vec::new();
    for name in if names.is_empty() { &default } else { names } {
        asked.push(loader.add(name, None, None)?);
    }
    Ok(Effective::join(&loader.layers, &asked, command_line))
}

/// Reads the profile `text`, which is called `name` in messages and extends only shipped profiles or paths from the working
/// directory. `json` tells which of the two languages it is in.
///
/// # Errors
///
/// As [`load`].
pub fn from_text(
    name: &str,
    text: &[u8],
    json: bool,
    command_line: CommandLine,
) -> Result<Effective, Error> {
    let mut loader = Loader::new(&disk::read);
    let identity = Identity::File(PathBuf::from(name));
    let layer = layer(name, name, text, json)?;
    let asked = loader.finish(identity, name, layer, Some(Path::new("")))?;
    Ok(Effective::join(&loader.layers, &[asked], command_line))
}

/// As [`from_text`], for a profile that means the same wherever it is taken: it extends shipped profiles only.
///
/// # Errors
///
/// As [`load`], and where it extends a file.
pub fn portable(name: &str, text: &[u8], json: bool) -> Result<Effective, Error> {
    let mut loader = Loader {
        portable: true,
        ..Loader::new(&disk::read)
    };
    let identity = Identity::File(PathBuf::from(name));
    let layer = layer(name, name, text, json)?;
    let asked = loader.finish(identity, name, layer, None)?;
    Ok(Effective::join(
        &loader.layers,
        &[asked],
        CommandLine::default(),
    ))
}

/// What tells whether two references mean the same profile.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
enum Identity {
    Shipped(&'static str),
    File(PathBuf),
}

struct Loader<'a> {
    read: Reader<'a>,
    layers: Vec<Layer>,
    /// Name of each profile that is joined already.
    done: HashMap<Identity, Arc<str>>,
    /// Those that are being read, outermost first, with the names that messages use.
    open: Vec<(Identity, String)>,
    /// Whether files are refused.
    portable: bool,
}

impl<'a> Loader<'a> {
    fn new(read: Reader<'a>) -> Self {
        Self {
            read,
            layers: Vec::new(),
            done: HashMap::new(),
            open: Vec::new(),
            portable: false,
        }
    }

    /// Adds the profile `reference`, named from `directory`, or from the working directory; returns its name.
    fn add(
        &mut self,
        reference: &OsStr,
        directory: Option<&Path>,
        place: Option<&Place>,
    ) -> Result<Arc<str>, Error> {
        if shipped::find(&reference.to_string_lossy()).is_none() && is_path(reference) {
            if let (true, Some(place)) = (self.portable, place) {
                return Err(elsewhere(reference, place));
            }
            let path = directory.unwrap_or(Path::new("")).join(reference);
            self.add_file(&path, place)
        } else {
            self.add_shipped(&reference.to_string_lossy(), place)
        }
    }

    fn add_shipped(&mut self, name: &str, place: Option<&Place>) -> Result<Arc<str>, Error> {
        let Some(shipped) = shipped::find(name) else {
            return Err(unknown(name, place));
        };
        let identity = Identity::Shipped(shipped.name);
        if let Some(name) = self.done.get(&identity) {
            return Ok(Arc::clone(name));
        }
        self.refuse_cycle(&identity, name)?;
        let file = format!("{name} (shipped)");
        let layer = layer(&file, name, shipped.text.as_bytes(), false)?;
        self.finish(identity, name, layer, None)
    }

    fn add_file(&mut self, path: &Path, place: Option<&Place>) -> Result<Arc<str>, Error> {
        let file = path.to_string_lossy().into_owned();
        let found = (self.read)(path).map_err(|cause| Error::Read {
            file: file.clone(),
            place: place.cloned(),
            cause,
        })?;
        let identity = Identity::File(found.identity);
        if let Some(name) = self.done.get(&identity) {
            return Ok(Arc::clone(name));
        }
        self.refuse_cycle(&identity, &file)?;
        if found.size > MAX_BYTES {
            return Err(Error::TooLarge {
                file,
                size: found.size,
                most: MAX_BYTES,
            });
        }
        let fallback = path.file_stem().unwrap_or(path.as_os_str());
        let json = path.extension().is_some_and(|ending| ending == "json");
        let layer = layer(&file, &fallback.to_string_lossy(), &found.bytes, json)?;
        self.finish(identity, &file, layer, path.parent())
    }

    /// Adds what `layer` extends, then `layer` itself.
    fn finish(
        &mut self,
        identity: Identity,
        shown: &str,
        mut layer: Layer,
        directory: Option<&Path>,
    ) -> Result<Arc<str>, Error> {
        self.open.push((identity.clone(), shown.to_owned()));
        for Extension { reference, place } in &layer.extends {
            self.add(OsStr::new(reference), directory, Some(place))?;
        }
        let mut variables = Vec::new();
        for program in &mut layer.sections.programs {
            self.extend(program, directory, &mut variables)?;
        }
        // The profile's own hold before those of what its programs extend.
        variables.append(&mut layer.variables);
        layer.variables = variables;
        self.open.pop();
        let name = Arc::clone(&layer.name);
        self.layers.push(layer);
        self.done.insert(identity, Arc::clone(&name));
        Ok(name)
    }

    /// Adds to `program`, and to the programs in it, what they extend, and to `variables` those that come with it.
    fn extend(
        &self,
        program: &mut Program,
        directory: Option<&Path>,
        variables: &mut Vec<OwnVariable>,
    ) -> Result<(), Error> {
        for inner in &mut program.sections.programs {
            self.extend(inner, directory, variables)?;
        }
        let mut extended = Self {
            open: self.open.clone(),
            portable: self.portable,
            ..Self::new(self.read)
        };
        for Extension { reference, place } in std::mem::take(&mut program.extends) {
            extended.add(OsStr::new(&reference), directory, Some(&place))?;
            refuse_whole_run(&extended.layers, &place)?;
        }
        let mut sections = Sections::default();
        for layer in extended.layers {
            sections.add(&layer.sections);
            variables.extend(layer.variables);
        }
        sections.add(&program.sections);
        program.sections = sections;
        Ok(())
    }

    fn refuse_cycle(&self, identity: &Identity, shown: &str) -> Result<(), Error> {
        let Some(start) = self.open.iter().position(|(open, _)| open == identity) else {
            return Ok(());
        };
        let mut cycle: Vec<_> = self.open[start..]
            .iter()
            .map(|(_, shown)| shown.clone())
            .collect();
        cycle.push(shown.to_owned());
        Err(Error::Cycle(cycle))
    }
}

/// A program can only extend what a program can say.
fn refuse_whole_run(layers: &[Layer], place: &Place) -> Result<(), Error> {
    for layer in layers {
        if let Some((section, said)) = layer.whole_run.first() {
            let message = format!(
                "a [[program]] cannot extend `{}`: [{section}] ({said}) holds for the whole run",
                layer.name
            );
            let fault = super::Fault::new(place, message);
            return Err(Error::Meaning(fault.help(
                "extend it at the top of the profile, or write the rules here",
            )));
        }
    }
    Ok(())
}

/// Whether a profile's name is a path, and not that of a shipped one, which may also be called so.
#[must_use]
pub fn is_path(reference: &OsStr) -> bool {
    let path = Path::new(reference);
    reference.as_encoded_bytes().contains(&b'/')
        || path
            .extension()
            .is_some_and(|ending| ending == "toml" || ending == "json")
}

fn elsewhere(reference: &OsStr, place: &Place) -> Error {
    let name = super::rule::shortened(&reference.to_string_lossy());
    let message = format!("`{name}` is a file, and another one or none elsewhere");
    let fault = super::Fault::new(place, message);
    Error::Meaning(fault.help(
        "a profile in a registry extends shipped profiles only: write the rules of the file here",
    ))
}

fn unknown(name: &str, place: Option<&Place>) -> Error {
    let names = shipped::ALL.map(|shipped| shipped.name);
    let near = super::nearest(name, names.into_iter()).map(str::to_owned);
    let known = names.join(", ");
    let name = super::rule::shortened(name);
    match place {
        None => Error::Unknown { name, near, known },
        Some(place) => {
            let fault = super::Fault::new(place, format!("no shipped profile is called `{name}`"));
            Error::Meaning(fault.help(match near {
                Some(near) => format!("did you mean `{near}`?"),
                None => {
                    format!("known: {known}; a file is named with a slash, as in `./{name}.toml`")
                }
            }))
        }
    }
}

/// Text to layer: one file, nothing that it extends.
fn layer(file: &str, fallback: &str, bytes: &[u8], json: bool) -> Result<Layer, Error> {
    let text = std::str::from_utf8(bytes).map_err(|error| Error::NotText {
        file: file.to_owned(),
        offset: error.valid_up_to(),
        byte: bytes.get(error.valid_up_to()).copied().unwrap_or(0),
    })?;
    let source = Source::new(file.to_owned(), text.to_owned());
    let entries = if json {
        tree::from_json(&source)?
    } else {
        tree::from_toml(&source)?
    };
    if entries.is_empty() {
        return Err(Error::Empty {
            file: file.to_owned(),
        });
    }
    read::layer(&source, entries, fallback)
}
