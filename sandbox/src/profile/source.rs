//! Where something was written: a profile's text, and a place in it that can be shown with a caret.

use std::fmt;
use std::ops::Range;
use std::sync::Arc;

use annotate_snippets::{AnnotationKind, Group, Level, Origin, Renderer, Snippet};

/// Most bytes of one line that an error shows around the place it points at.
const SHOWN_BYTES: usize = 160;

/// The text of one profile.
#[derive(Debug, PartialEq, Eq, Hash)]
pub struct Source {
    file: String,
    text: String,
    /// Where each line starts.
    lines: Vec<usize>,
}

/// A range of bytes in a profile's text.
#[derive(Clone, PartialEq, Eq, Hash)]
pub struct Place {
    source: Arc<Source>,
    start: usize,
    end: usize,
}

/// Something wrong at a place: what, and the way out.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Fault {
    /// Where.
    pub place: Place,
    /// What failed on what.
    pub message: String,
    /// What to do about it, if there is something to do.
    pub help: Option<String>,
}

impl Source {
    /// `text`, read from `file`: its path as it was named, or `name (shipped)`.
    #[must_use]
    pub fn new(file: String, text: String) -> Arc<Self> {
        let newlines = text.bytes().enumerate().filter(|&(_, byte)| byte == b'\n');
        let lines = std::iter::once(0)
            .chain(newlines.map(|(index, _)| index + 1))
            .collect();
        Arc::new(Self { file, text, lines })
    }

    /// All of it.
    #[must_use]
    pub fn text(&self) -> &str {
        &self.text
    }
}

impl Place {
    /// The bytes `span` of `source`; what lies beyond the end of the text is taken as its end.
    #[must_use]
    pub fn new(source: &Arc<Source>, span: Range<usize>) -> Self {
        let floor = |index: usize| character_boundary(&source.text, index);
        let start = floor(span.start);
        Self {
            source: Arc::clone(source),
            start,
            end: floor(span.end).max(start),
        }
    }

    /// The profile's file as it was named.
    #[must_use]
    pub fn file(&self) -> &str {
        &self.source.file
    }

    /// Line, from 1.
    #[must_use]
    pub fn line(&self) -> usize {
        self.source
            .lines
            .partition_point(|&line| line <= self.start)
    }

    /// Column in characters, from 1.
    #[must_use]
    pub fn column(&self) -> usize {
        self.source.text[self.line_start()..self.start]
            .chars()
            .count()
            + 1
    }

    /// The text at the place.
    #[must_use]
    pub fn text(&self) -> &str {
        &self.source.text[self.start..self.end]
    }

    /// `range` of the text at the place, counted from the place's start.
    #[must_use]
    pub fn part(&self, range: Range<usize>) -> Self {
        Self::new(
            &self.source,
            self.start + range.start..(self.start + range.end).min(self.end),
        )
    }

    /// Column in bytes, from 1.
    fn text_column(&self) -> usize {
        self.start - self.line_start() + 1
    }

    fn line_start(&self) -> usize {
        self.source.lines[self.line() - 1]
    }

    /// The part of the text that an error shows, where in it the place lies, and whether it is a whole line.
    fn window(&self) -> (&str, Range<usize>) {
        let text = &self.source.text;
        let first = self.line_start();
        let last = text[self.start..]
            .find('\n')
            .map_or(text.len(), |newline| self.start + newline);
        let from = first.max(character_boundary(
            text,
            self.start.saturating_sub(SHOWN_BYTES / 4),
        ));
        let from = if self.start - first <= SHOWN_BYTES / 2 {
            first
        } else {
            from
        };
        let to = last.min(character_boundary(text, from + SHOWN_BYTES));
        let end = self.end.clamp(self.start, to);
        (&text[from..to], self.start - from..end - from)
    }
}

impl fmt::Display for Place {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            formatter,
            "{}:{}:{}",
            self.file(),
            self.line(),
            self.column()
        )
    }
}

/// Without the text, which may be a megabyte.
impl fmt::Debug for Place {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "Place({self})")
    }
}

impl Fault {
    /// A fault without a way out.
    pub fn new(place: &Place, message: impl Into<String>) -> Self {
        Self {
            place: place.clone(),
            message: message.into(),
            help: None,
        }
    }

    /// The same with a way out.
    #[must_use]
    pub fn help(self, help: impl Into<String>) -> Self {
        Self {
            help: Some(help.into()),
            ..self
        }
    }
}

/// The last boundary of characters in `text` that is not behind `index`.
pub(super) fn character_boundary(text: &str, index: usize) -> usize {
    let index = index.min(text.len());
    (0..=index)
        .rev()
        .find(|&at| text.is_char_boundary(at))
        .unwrap_or(0)
}

/// The message, the place, the line with a caret, the way out.
impl fmt::Display for Fault {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (window, caret) = self.place.window();
        let origin = self.place.to_string();
        let is_whole = caret.start + 1 == self.place.text_column();
        let mut snippet = Snippet::source(window)
            .line_start(self.place.line())
            .annotation(AnnotationKind::Primary.span(caret));
        let title = Level::ERROR.no_name().primary_title(self.message.as_str());
        let mut group = Group::with_title(title);
        if is_whole {
            snippet = snippet.path(self.place.file());
        } else {
            // A window into a long line would give a wrong column.
            group = group.element(Origin::path(origin.as_str()));
        }
        let mut group = group.element(snippet);
        if let Some(help) = &self.help {
            group = group.element(Level::HELP.message(help.as_str()));
        }
        let rendered = Renderer::plain().render(&[group]);
        formatter.write_str(&rendered)
    }
}
