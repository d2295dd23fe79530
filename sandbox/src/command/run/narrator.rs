//! What a run says on stderr, and what it writes to the file of events.

use std::{
    fs::File,
    io::{self, Write},
    rc::Rc,
};

use serde::Serialize;

use super::{
    Options, Record,
    denial::Denial,
    engine::{Enforcer, Watch},
    line::Line,
    offer,
    resolver::Names,
    sighting, summary,
    traffic::{self, Destination},
};
use crate::{
    command::{Failure, compiled::Source, told::Told},
    compile::Explainer,
    event::Event,
    kernel::Totals,
    network::QueryEvent,
    policy::{Grade, Standing},
};

/// Lines about denials while the command runs; the rest is in the summary.
const LINES: usize = 20;

/// Tells of one run.
pub(super) struct Narrator<'a> {
    stderr: &'a mut dyn Write,
    source: Rc<Source>,
    quiet: bool,
    lines: usize,
    events: Option<File>,
    /// Those who follow the fence, if it is one that can be followed.
    told: Option<Told>,
    /// The first error of writing; nothing is tried after it.
    broken: Option<io::Error>,
}

/// A query as a line of JSON.
#[derive(Serialize)]
struct QueryLine<'a> {
    verdict: &'static str,
    operation: &'static str,
    name: &'a str,
    kind: &'a str,
    reason: &'a str,
}

/// A destination as a line of JSON.
#[derive(Serialize)]
struct TrafficLine<'a> {
    operation: &'static str,
    #[serde(flatten)]
    row: &'a Destination,
}

/// Opens the file of events, if one is wanted. A dry run writes none.
pub(super) fn open(options: &Options) -> Result<Option<File>, Failure> {
    let Some(path) = options.events.as_ref().filter(|_| !options.dry_run) else {
        return Ok(None);
    };
    let file = File::options().create(true).append(true).open(path);
    file.map(Some).map_err(|source| Failure::File {
        action: "write events to",
        path: path.clone(),
        source,
    })
}

impl<'a> Narrator<'a> {
    pub(super) fn new(
        options: &Options,
        events: Option<File>,
        source: Rc<Source>,
        stderr: &'a mut dyn Write,
    ) -> Self {
        Self {
            stderr,
            source,
            quiet: options.quiet,
            lines: 0,
            events,
            told: None,
            broken: None,
        }
    }

    /// Names what is weaker than the profile asks for, in one line each, and why the best engine is not to be had where
    /// that has just been found out. Said even when quiet.
    pub(super) fn standing(&mut self, enforcer: &Enforcer, standings: &[Standing]) {
        if let Some(reason) = enforcer.reason()
            && reason.is_news
        {
            self.say(&format!(
                "BPF LSM cannot be had, so this run and later ones take the {} engine: {}",
                enforcer.name(),
                reason.text.lines().next().unwrap_or_default()
            ));
        }
        for standing in standings {
            if standing.grade >= Grade::Weaker {
                self.say(&format!(
                    "{} is {} here ({}): {}",
                    standing.protection,
                    standing.grade,
                    enforcer.name(),
                    standing.why()
                ));
            }
        }
    }

    /// A sentence about the run itself.
    pub(super) fn note(&mut self, text: &str) {
        self.say(text);
    }

    /// Tells those who follow as well, from here on.
    pub(super) fn tell(&mut self, told: Told) {
        self.told = Some(told);
    }

    /// Another profile is in force from here on.
    pub(super) fn reloaded(&mut self, profile: &str, source: Rc<Source>, watch: &Watch) {
        self.source = source;
        let told = self.told.as_mut().map(|told| watch.retold(told, profile));
        if let Some(Err(failure)) = told {
            self.say(&failure.to_string());
        }
        if !self.quiet {
            self.say(&format!("the profile is {profile} from here on"));
        }
    }

    /// Looks who follows, before events are told.
    pub(super) fn look(&mut self) {
        if let Some(told) = &mut self.told {
            told.look();
        }
    }

    /// The end of the fence, for those who follow.
    pub(super) fn end(&mut self, totals: Totals) {
        if let Some(told) = self.told.take() {
            told.end(totals);
        }
    }

    /// One event.
    pub(super) fn event(&mut self, event: &Event, names: Option<&Names>, record: &mut Record) {
        let source = Rc::clone(&self.source);
        let Some(explainer) = self.explainer(&source) else {
            return self.write_event(event, &[]);
        };
        let event = sighting::resolved(event.clone(), explainer);
        let names: Vec<String> = match (&event.peer, names) {
            (Some(peer), Some(names)) => names.of(peer.address).into_iter().collect(),
            _ => Vec::new(),
        };
        self.write_event(&event, &names);
        if let Some(denial) = record.add(&event, &names, explainer) {
            let denial = denial.clone();
            self.denial(&denial);
        }
    }

    /// One query that was not answered, or not as it would have been without the fence.
    pub(super) fn query(&mut self, query: &QueryEvent, record: &mut Record) {
        let source = Rc::clone(&self.source);
        let Some(explainer) = self.explainer(&source) else {
            return;
        };
        let Some(denial) = record.add_query(query, explainer).cloned() else {
            return;
        };
        self.write_line(&QueryLine {
            verdict: if denial.denied { "deny" } else { "audit" },
            operation: Denial::RESOLVE,
            name: &query.name,
            kind: &query.kind,
            reason: &denial.reason,
        });
        self.denial(&denial);
    }

    /// The rules behind the policy. They could be read when it was made, of the same files.
    fn explainer<'s>(&mut self, source: &'s Source) -> Option<&'s Explainer> {
        let explainer = source.explainer();
        if let Err(failure) = &explainer {
            self.say(&format!("a denial cannot be explained: {failure}"));
        }
        explainer.ok()
    }

    fn denial(&mut self, denial: &Denial) {
        if self.quiet || !denial.is_news() {
            return;
        }
        self.lines += 1;
        if self.lines <= LINES {
            let line = line(denial);
            self.say(&line);
        } else if self.lines == LINES + 1 {
            self.say("more denials follow; they are in the summary");
        }
    }

    /// The end of the run.
    pub(super) fn summary(&mut self, record: &Record) {
        let wanted = self.source.wanted();
        let text = summary::text(record, self.quiet, |denials| {
            offer::sentence(denials, wanted)
        });
        if !text.is_empty() {
            self.write(text.as_bytes());
        }
    }

    /// What passed between the command and its peers.
    pub(super) fn traffic(&mut self, rows: &[Destination]) {
        for row in rows {
            self.write_line(&TrafficLine {
                operation: "traffic",
                row,
            });
        }
        let text = traffic::table(rows);
        self.write(text.as_bytes());
    }

    fn say(&mut self, text: &str) {
        self.write(format!("ringfence: {text}\n").as_bytes());
    }

    fn write(&mut self, text: &[u8]) {
        if self.broken.is_none() {
            self.broken = self.stderr.write_all(text).err();
        }
    }

    fn write_event(&mut self, event: &Event, names: &[String]) {
        let line = Line::of(event, names);
        self.write_line(&line);
    }

    fn write_line(&mut self, line: &impl Serialize) {
        if let Some(told) = &mut self.told {
            told.event(line);
        }
        let Some(file) = &mut self.events else {
            return;
        };
        let written = serde_json::to_vec(line)
            .map_err(io::Error::from)
            .and_then(|mut text| {
                text.push(b'\n');
                file.write_all(&text)
            });
        if let Err(error) = written {
            self.events = None;
            self.say(&format!(
                "the file of events cannot be written any more: {error}"
            ));
        }
    }
}

/// One denial in one line.
fn line(denial: &Denial) -> String {
    let verb = if denial.denied {
        "denied"
    } else {
        "would deny"
    };
    let object = summary::object(denial);
    let by = denial
        .programs
        .first()
        .map(|program| format!(" by {program}"))
        .unwrap_or_default();
    let inside = denial
        .program
        .as_ref()
        .map(|program| format!(" in program {}", summary::printable(program)))
        .unwrap_or_default();
    format!(
        "{verb} {}{object}{by}{inside}: {}",
        denial.operation, denial.reason
    )
}
