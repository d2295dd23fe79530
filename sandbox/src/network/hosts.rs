//! The administrator's own names: `/etc/hosts`, read anew when it has changed.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::Read as _;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::path::PathBuf;
use std::time::{Duration, Instant, SystemTime};

/// Most bytes of the file that count; lists of blocked names have some millions.
const MOST_BYTES: u64 = 16 << 20;
/// How often it is looked whether the file has changed.
const INTERVAL: Duration = Duration::from_secs(1);
/// How often its names are handed out anew although it has not: what they open does not stay open for ever.
const AGAIN: Duration = Duration::from_secs(60 * 60);

/// Names and their addresses.
pub(super) struct Hosts {
    path: PathBuf,
    looked: Option<Instant>,
    /// When its names were handed out.
    handed_out: Option<Instant>,
    /// Change time and length of what was read.
    version: Option<(SystemTime, u64)>,
    names: BTreeMap<String, Vec<IpAddr>>,
}

impl Hosts {
    pub(super) fn new(path: PathBuf) -> Self {
        Self {
            path,
            looked: None,
            handed_out: None,
            version: None,
            names: BTreeMap::new(),
        }
    }

    /// The addresses of `name`, in lower case; `None` if the file does not have it. `localhost` and what is below it is the
    /// host itself by both families, whatever the file says of it or not (RFC 6761, section 6.3): programs know that without asking.
    pub(super) fn addresses(&self, name: &str) -> Option<Vec<IpAddr>> {
        let listed = self.names.get(name);
        if name != "localhost" && !name.ends_with(".localhost") {
            return listed.cloned();
        }
        let mut addresses = listed.cloned().unwrap_or_default();
        for own in [Ipv4Addr::LOCALHOST.into(), Ipv6Addr::LOCALHOST.into()] {
            if !addresses.contains(&own) {
                addresses.push(own);
            }
        }
        Some(addresses)
    }

    /// Every name of the file.
    pub(super) fn names(&self) -> impl Iterator<Item = &str> {
        self.names.keys().map(String::as_str)
    }

    /// Reads the file if it has changed since, and says whether its names are to be opened: when they have changed, and from time
    /// to time. A file that is not there has no names.
    pub(super) fn refresh(&mut self, now: Instant) -> bool {
        let changed = self.read(now);
        let recent = |at: Instant| now.saturating_duration_since(at) < AGAIN;
        let due = changed || !self.handed_out.is_some_and(recent);
        if due {
            self.handed_out = Some(now);
        }
        due
    }

    fn read(&mut self, now: Instant) -> bool {
        let fresh = |looked: Instant| now.saturating_duration_since(looked) < INTERVAL;
        if self.looked.is_some_and(fresh) {
            return false;
        }
        self.looked = Some(now);
        let version = self
            .path
            .metadata()
            .and_then(|metadata| Ok((metadata.modified()?, metadata.len())))
            .ok();
        if version == self.version && version.is_some() {
            return false;
        }
        self.version = version;
        let mut bytes = Vec::new();
        let read =
            File::open(&self.path).and_then(|file| file.take(MOST_BYTES).read_to_end(&mut bytes));
        let before = std::mem::take(&mut self.names);
        if read.is_ok() {
            self.names = parsed(&String::from_utf8_lossy(&bytes));
        }
        before != self.names
    }
}

fn parsed(text: &str) -> BTreeMap<String, Vec<IpAddr>> {
    let mut names: BTreeMap<String, Vec<IpAddr>> = BTreeMap::new();
    for line in text.lines() {
        let line = line.split('#').next().unwrap_or_default();
        let mut words = line.split_whitespace();
        let Some(Ok(address)) = words.next().map(str::parse::<IpAddr>) else {
            continue;
        };
        for name in words {
            let name = name.trim_end_matches('.').to_ascii_lowercase();
            let addresses = names.entry(name).or_default();
            if !addresses.contains(&address) {
                addresses.push(address);
            }
        }
    }
    names
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_name_of_a_line_has_its_address_and_comments_have_none() {
        let names = parsed(
            "# 192.0.2.9 no\n127.0.0.1\tlocalhost Box.\n192.0.2.1 db # 192.0.2.2 x\n2001:db8::1 db\nnonsense here\nfe80::1%eth0 z\n",
        );
        assert_eq!(names.len(), 3);
        assert_eq!(names["box"], ["127.0.0.1".parse::<IpAddr>().unwrap()]);
        assert_eq!(names["db"].len(), 2);
    }

    #[test]
    fn a_changed_file_is_read_again_and_one_that_is_gone_has_no_names() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("hosts");
        let mut hosts = Hosts::new(path.clone());
        let start = Instant::now();
        assert!(hosts.refresh(start), "localhost is always there");
        assert_eq!(hosts.addresses("db"), None);
        assert_eq!(hosts.addresses("x.localhost").unwrap().len(), 2);
        std::fs::write(&path, "192.0.2.1 db\n").unwrap();
        assert!(!hosts.refresh(start));
        assert!(hosts.refresh(start + INTERVAL));
        assert!(hosts.addresses("db").is_some());
        std::fs::remove_file(&path).unwrap();
        assert!(hosts.refresh(start + 2 * INTERVAL));
        assert_eq!(hosts.addresses("db"), None);
        assert!(!hosts.refresh(start + 3 * INTERVAL));
        assert!(hosts.refresh(start + 3 * INTERVAL + AGAIN));
    }

    #[test]
    fn localhost_is_this_host_by_both_families_whatever_the_file_says() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("hosts");
        std::fs::write(&path, "127.0.0.1 localhost\n127.0.0.2 a.localhost\n").unwrap();
        let mut hosts = Hosts::new(path);
        assert!(hosts.refresh(Instant::now()));
        let of = |name: &str| {
            let addresses = hosts.addresses(name).unwrap();
            let text: Vec<String> = addresses.iter().map(ToString::to_string).collect();
            text.join(" ")
        };
        assert_eq!(of("localhost"), "127.0.0.1 ::1");
        assert_eq!(of("a.localhost"), "127.0.0.2 127.0.0.1 ::1");
    }
}
