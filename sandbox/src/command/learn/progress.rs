//! What is seen of a recording while it lasts, on a terminal only.

use std::{
    io::{IsTerminal as _, stderr},
    time::{Duration, Instant},
};

use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};

use crate::policy::number_of;

/// Between two times that the line is drawn.
const PERIOD: Duration = Duration::from_millis(200);

/// One line at the bottom of the terminal.
pub(super) struct Progress {
    bar: Option<ProgressBar>,
    drawn: Instant,
}

impl Progress {
    pub(super) fn new() -> Self {
        let bar = stderr().is_terminal().then(|| {
            let bar = ProgressBar::with_draw_target(None, ProgressDrawTarget::stderr());
            if let Ok(style) = ProgressStyle::with_template("ringfence: recording {elapsed} {msg}")
            {
                bar.set_style(style);
            }
            bar
        });
        Self {
            bar,
            drawn: Instant::now(),
        }
    }

    /// Shows how many acts were told, how many of them differ, and how many were lost.
    pub(super) fn show(&mut self, (events, distinct): (u64, usize), lost: Option<u64>) {
        let Some(bar) = &self.bar else {
            return;
        };
        if self.drawn.elapsed() >= PERIOD {
            self.drawn = Instant::now();
            let lost = match lost {
                Some(0) => String::new(),
                Some(lost) => format!(", {lost} LOST"),
                None => ", losses not known".to_owned(),
            };
            let events = number_of(events, "record", "records");
            let distinct = number_of(distinct, "kind of acts", "kinds of acts");
            bar.set_message(format!("{events}, {distinct}{lost}"));
            bar.tick();
        }
    }

    /// Takes the line away.
    pub(super) fn clear(&self) {
        if let Some(bar) = &self.bar {
            bar.finish_and_clear();
        }
    }
}
