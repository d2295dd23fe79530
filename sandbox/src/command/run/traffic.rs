//! What a run had to do with whom: a row for each host, protocol and port.

use std::{collections::BTreeMap, fmt::Write as _, net::IpAddr};

use ringfence_abi::network::{ICMP, ICMP6, TCP, UDP};
use serde::{Deserialize, Serialize};

use crate::kernel::Traffic;

/// Rows that the summary shows; the record of the run has all.
const ROWS: usize = 40;

/// One destination, or one port that others came to.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Destination {
    /// The names that led there, or else the address; empty for what found no room of its own.
    pub host: String,
    /// Protocol.
    pub protocol: String,
    /// Port; the fence's own where others came.
    pub port: u16,
    /// Whether others came.
    pub came: bool,
    /// Connections; 0 where the protocol has none.
    pub connections: u64,
    /// Bytes that left, without headers. What was sent again counts again.
    pub sent: u64,
    /// Bytes that came.
    pub received: u64,
}

/// The rows of `traffic`, those with most bytes first. Addresses that the same names led to are one row.
pub(super) fn rows(traffic: &[Traffic], names: impl Fn(IpAddr) -> Vec<String>) -> Vec<Destination> {
    let mut rows: BTreeMap<(String, u8, u16, bool), Destination> = BTreeMap::new();
    for one in traffic {
        let host = one.address.map_or_else(String::new, |address| {
            let names = names(address);
            match names.is_empty() || one.came {
                true => address.to_string(),
                false => names.join(","),
            }
        });
        let key = (host.clone(), one.protocol, one.port, one.came);
        let row = rows.entry(key).or_insert_with(|| Destination {
            host,
            protocol: protocol(one.protocol),
            port: one.port,
            came: one.came,
            ..Destination::default()
        });
        row.connections += one.connections;
        row.sent += one.sent;
        row.received += one.received;
    }
    let mut rows: Vec<_> = rows.into_values().collect();
    rows.sort_by_key(|row| std::cmp::Reverse(row.sent + row.received));
    rows
}

fn protocol(number: u8) -> String {
    match number {
        TCP => "tcp".to_owned(),
        UDP => "udp".to_owned(),
        ICMP | ICMP6 => "icmp".to_owned(),
        0 => "all".to_owned(),
        other => other.to_string(),
    }
}

/// The table.
pub(super) fn table(rows: &[Destination]) -> String {
    let mut text = String::new();
    if rows.is_empty() {
        text.push_str("ringfence: nothing was sent to any peer, and nothing came\n");
        return text;
    }
    let mut lines = vec![["peer", "port", "connections", "sent", "received"].map(str::to_owned)];
    for row in rows.iter().take(ROWS) {
        let host = match (row.host.is_empty(), row.came) {
            (true, _) => "(what found no room)".to_owned(),
            (_, true) => format!("from {}", row.host),
            _ => super::summary::printable(&row.host),
        };
        let connections = match row.protocol.as_str() {
            "tcp" => row.connections.to_string(),
            _ => "-".to_owned(),
        };
        lines.push([
            host,
            format!("{}/{}", row.port, row.protocol),
            connections,
            row.sent.to_string(),
            row.received.to_string(),
        ]);
    }
    let widths: Vec<usize> = (0..5)
        .map(|column| {
            let cells = lines.iter().map(|line| line[column].chars().count());
            cells.max().unwrap_or(0)
        })
        .collect();
    text.push_str("ringfence: traffic, in bytes without headers\n");
    for [host, port, connections, sent, received] in &lines {
        writeln!(
            text,
            "  {host:<a$}  {port:>b$}  {connections:>c$}  {sent:>d$}  {received:>e$}",
            a = widths[0],
            b = widths[1],
            c = widths[2],
            d = widths[3],
            e = widths[4],
        )
        .expect("a string takes everything");
    }
    if rows.len() > ROWS {
        writeln!(
            text,
            "  and {} more: ringfence why --json",
            rows.len() - ROWS
        )
        .expect("a string takes everything");
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    fn one(address: &str, port: u16, came: bool, bytes: u64) -> Traffic {
        Traffic {
            address: Some(address.parse().unwrap()),
            port,
            protocol: TCP,
            came,
            connections: 1,
            sent: bytes,
            received: 1,
        }
    }

    #[test]
    fn addresses_of_one_name_are_one_row_and_the_busiest_comes_first() {
        let traffic = [
            one("192.0.2.9", 443, false, 5),
            one("192.0.2.1", 443, false, 10),
            one("2001:db8::1", 443, false, 20),
            one("192.0.2.1", 80, true, 1),
        ];
        let rows = rows(&traffic, |address| match address.to_string().as_str() {
            "192.0.2.1" | "2001:db8::1" => vec!["web.test".to_owned()],
            _ => Vec::new(),
        });
        let shown: Vec<_> = rows
            .iter()
            .map(|row| (row.host.as_str(), row.port, row.connections, row.sent))
            .collect();
        assert_eq!(
            shown,
            [
                ("web.test", 443, 2, 30),
                ("192.0.2.9", 443, 1, 5),
                ("192.0.2.1", 80, 1, 1)
            ]
        );
        let table = table(&rows);
        assert!(table.contains("web.test"), "{table}");
        assert!(table.contains("from 192.0.2.1"), "{table}");
    }
}
