//! A trace as lines of JSON.

use std::io::{self, BufRead, Write};

use serde::{Deserialize, Serialize};

use super::{End, Facts, Record, Trace};

/// Version of what is written; another one is refused.
pub const FORMAT: u32 = 2;

/// Why a trace cannot be read.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The file.
    #[error("cannot read the trace: {0}")]
    Read(#[from] io::Error),
    /// A line is not what it should be.
    #[error("line {line} of the trace is not one of a trace: {cause}")]
    Line {
        /// Which one, from 1.
        line: usize,
        /// What is wrong with it.
        cause: serde_json::Error,
    },
    /// Another version wrote it.
    #[error("the trace has format {0}; this version reads {FORMAT}")]
    Format(u32),
    /// It does not begin with its facts, or does not end.
    #[error("the trace is not whole: {0}")]
    Torn(&'static str),
}

#[derive(Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
enum Line {
    Trace {
        format: u32,
        #[serde(flatten)]
        facts: Facts,
    },
    Act(Record),
    End(End),
}

impl Trace {
    /// Writes it.
    ///
    /// # Errors
    /// Of `out`.
    pub fn write(&self, out: &mut dyn Write) -> io::Result<()> {
        let mut line = |line: &Line| {
            serde_json::to_writer(&mut *out, line)?;
            out.write_all(b"\n")
        };
        line(&Line::Trace {
            format: FORMAT,
            facts: self.facts.clone(),
        })?;
        for record in &self.records {
            line(&Line::Act(record.clone()))?;
        }
        line(&Line::End(self.end.clone()))
    }

    /// Reads one.
    ///
    /// # Errors
    /// If it is not a whole trace of this format.
    pub fn read(from: impl BufRead) -> Result<Self, Error> {
        let mut facts = None;
        let mut records = Vec::new();
        let mut end = None;
        for (number, line) in (1..).zip(from.lines()) {
            let line = line?;
            if end.is_some() {
                return Err(Error::Torn("something follows its end"));
            }
            let read = serde_json::from_str(&line);
            match read.map_err(|cause| Error::Line {
                line: number,
                cause,
            })? {
                Line::Trace { format, .. } if format != FORMAT => {
                    return Err(Error::Format(format));
                }
                Line::Trace { facts: found, .. } => facts = Some(found),
                Line::Act(record) => records.push(record),
                Line::End(found) => end = Some(found),
            }
        }
        Ok(Self {
            facts: facts.ok_or(Error::Torn("it says nothing of a run"))?,
            records,
            end: end.ok_or(Error::Torn("its end is missing"))?,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::super::{Rights, Text};
    use super::*;

    fn trace() -> Trace {
        Trace {
            facts: Facts {
                run: "a1".to_owned(),
                command: vec!["make".into()],
                ..Facts::default()
            },
            records: vec![Record {
                what: "open".to_owned(),
                path: Some(Text(b"/x\xff".to_vec())),
                rights: Rights(3),
                count: 2,
                ..Record::default()
            }],
            end: End::default(),
        }
    }

    #[test]
    fn what_is_written_is_read_again() {
        let mut written = Vec::new();
        trace().write(&mut written).unwrap();
        assert_eq!(Trace::read(written.as_slice()).unwrap(), trace());
    }

    #[test]
    fn a_trace_without_its_end_is_refused() {
        let mut written = Vec::new();
        trace().write(&mut written).unwrap();
        let lines: Vec<_> = written.split_inclusive(|&byte| byte == b'\n').collect();
        let torn = lines[..2].concat();
        let error = Trace::read(torn.as_slice()).unwrap_err();
        assert!(error.to_string().contains("end is missing"));
    }

    #[test]
    fn another_format_is_refused() {
        let text = br#"{"trace":{"format":999,"run":"","command":[],"variables":{},"recorder":"","kernel":"","version":"","began":0}}"#;
        let error = Trace::read(text.as_slice()).unwrap_err();
        assert!(matches!(error, Error::Format(999)), "{error}");
    }
}
