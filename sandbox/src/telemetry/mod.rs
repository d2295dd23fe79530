//! The telemetry room: what leaves a fence for those who look on from outside.
//!
//! A fence's ring of events has one reader, its supervisor. Whoever wants to follow puts a socket into a folder
//! ([`Following`]); supervisors look there when they have something to tell, and send it to every socket ([`Followers`]) without
//! ever waiting. [`metrics`] writes numbers in the text format of Prometheus.
//!
//! [`Collector`] sends lines to a collector of OpenTelemetry.
//!
//! What this room must not do: know what an event is, or let one who follows slow down one who is followed.

mod error;
mod followers;
mod following;
mod metrics;
#[cfg(feature = "otlp")]
mod otlp;

pub use error::Error;
pub use followers::Followers;
pub use following::{Following, Heard};
pub use metrics::{Fence, Host, metrics};
#[cfg(feature = "otlp")]
pub use otlp::{Collector, Lost};

/// Bytes of the longest message. An event has two paths at most, each spelled twice where it is not UTF-8.
const MOST: usize = 256 << 10;

/// Whose socket a file name in the folder is: `FENCE.WHO`, with 0 for all fences. One that begins with a dot is being made.
fn wanted(name: &str) -> Option<u64> {
    let (fence, who) = name.split_once('.')?;
    (!who.is_empty()).then(|| fence.parse().ok()).flatten()
}

#[cfg(test)]
mod tests {
    use super::{
        followers::Followers,
        following::{Following, Heard},
        wanted,
    };
    use std::fs;

    /// What there is to hear now, in order.
    fn hear(following: &mut Following) -> Vec<String> {
        let mut heard = Vec::new();
        loop {
            let mut news = 0;
            following
                .poll(Some(0), |one| {
                    news += 1;
                    heard.push(match one {
                        Heard::Message(_, text) => String::from_utf8(text.to_vec()).unwrap(),
                        Heard::Gone(_) => "gone".to_owned(),
                    });
                })
                .unwrap();
            if news == 0 {
                return heard;
            }
        }
    }

    #[test]
    fn a_name_says_which_fence_is_meant() {
        assert_eq!(wanted("0.a"), Some(0));
        assert_eq!(wanted("17.a.b"), Some(17));
        for other in [".0.a", "0.", "0", "x.a", ""] {
            assert_eq!(wanted(other), None, "{other}");
        }
    }

    #[test]
    fn what_is_told_is_heard_by_those_who_asked_for_it() {
        let folder = tempfile::tempdir().unwrap();
        let mut all = Following::open(folder.path(), None).unwrap();
        let mut one = Following::open(folder.path(), Some(1)).unwrap();
        let mut other = Following::open(folder.path(), Some(2)).unwrap();
        // Each has looked whether those before it are still there, by a connection that says nothing.
        for before in [&mut all, &mut one, &mut other] {
            hear(before);
        }
        let mut followers = Followers::of(folder.path(), 1, b"hello".to_vec());
        followers.look();
        followers.tell(b"first");
        assert_eq!(hear(&mut all), ["hello", "first"]);
        assert_eq!(hear(&mut one), ["hello", "first"]);
        assert!(hear(&mut other).is_empty());
        drop(followers);
        assert_eq!(hear(&mut all), ["gone"]);
    }

    #[test]
    fn one_who_does_not_listen_is_told_how_much_it_lost_and_holds_up_nobody() {
        let folder = tempfile::tempdir().unwrap();
        let mut deaf = Following::open(folder.path(), None).unwrap();
        let mut followers = Followers::of(folder.path(), 1, b"hello".to_vec());
        followers.look();
        let sent = 100_000;
        for _ in 0..sent {
            followers.tell(b"an event that nobody reads yet");
        }
        let first = hear(&mut deaf);
        followers.tell(b"last");
        let rest = hear(&mut deaf);
        let heard = first.len() - 1;
        assert!(heard > 0 && heard < sent, "{heard}");
        let lost = format!(
            "{{\"fence\":1,\"kind\":\"lost\",\"count\":{}}}",
            sent - heard
        );
        assert_eq!(rest, [lost.as_str(), "last"]);
    }

    #[test]
    fn the_socket_of_one_who_is_gone_is_removed_and_that_of_one_who_listens_stays() {
        let folder = tempfile::tempdir().unwrap();
        let alive = Following::open(folder.path(), None).unwrap();
        let dead = Following::open(folder.path(), None).unwrap();
        let path = dead.path().to_owned();
        let kept = folder.path().join("kept");
        fs::hard_link(&path, &kept).unwrap();
        drop(dead);
        assert!(!path.exists());
        fs::rename(&kept, &path).unwrap();
        let mut followers = Followers::of(folder.path(), 1, b"hello".to_vec());
        followers.look();
        assert!(!path.exists());
        assert!(alive.path().exists());
    }

    #[test]
    fn nobody_follows_where_there_is_no_folder() {
        let folder = tempfile::tempdir().unwrap();
        let mut followers = Followers::of(&folder.path().join("none"), 1, Vec::new());
        followers.look();
        assert!(followers.are_none());
        followers.tell(b"to nobody");
    }
}
