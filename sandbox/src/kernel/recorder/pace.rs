//! When the reader of a recording looks at what has been told: ten times a second, and at once where it is woken.
//!
//! The kernel half wakes it for what cannot wait, and for a buffer that fills. It would be woken for each act otherwise: on the command's
//! processor that takes as long as to find out what the act was, and on another one the reader would do nothing but begin and end.

use std::{
    io,
    os::fd::{AsFd, BorrowedFd},
    time::Duration,
};

use nix::sys::{
    epoll::{Epoll, EpollCreateFlags, EpollEvent, EpollFlags, EpollTimeout},
    timer::{Expiration, TimerSetTimeFlags},
    timerfd::{ClockId, TimerFd, TimerFlags},
};

/// How often it looks by itself.
const LOOK: Duration = Duration::from_millis(100);

/// A descriptor that is readable when the reader is to look.
pub(super) struct Pace {
    waker: Epoll,
    clock: TimerFd,
}

impl Pace {
    /// For the stream at `ring`.
    pub(super) fn of(ring: BorrowedFd<'_>) -> io::Result<Self> {
        let flags = TimerFlags::TFD_NONBLOCK | TimerFlags::TFD_CLOEXEC;
        let clock = TimerFd::new(ClockId::CLOCK_MONOTONIC, flags)?;
        clock.set(
            Expiration::Interval(LOOK.into()),
            TimerSetTimeFlags::empty(),
        )?;
        let waker = Epoll::new(EpollCreateFlags::EPOLL_CLOEXEC)?;
        // By edges: that something is in the buffer does not count, that the reader was woken for it does.
        let woken = EpollEvent::new(EpollFlags::EPOLLIN | EpollFlags::EPOLLET, 0);
        waker.add(ring, woken)?;
        waker.add(&clock, woken)?;
        Ok(Self { waker, clock })
    }

    /// The reader looks now: who is to wake it for more has to do so again. Where that fails it is woken too often, and misses nothing.
    pub(super) fn look(&self) {
        let mut woken = [EpollEvent::empty(); 2];
        self.waker.wait(&mut woken, EpollTimeout::ZERO).ok();
        self.clock.wait().ok();
    }
}

impl AsFd for Pace {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.waker.0.as_fd()
    }
}
