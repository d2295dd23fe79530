//! Numbers about the fences of a host, in the text format of Prometheus.

use prometheus::{IntGaugeVec, Opts, Registry, TextEncoder, core::Collector};

use super::Error;

/// What is known of one fence. What is not known has no sample: 0 would say that it is.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Fence {
    /// Its number, as `ps` shows it.
    pub id: u64,
    /// The engine.
    pub engine: &'static str,
    /// The profile; empty if that is not known.
    pub profile: String,
    /// What is behind it: a command's name, or a container's.
    pub subject: String,
    /// Whether its supervisor lives.
    pub supervised: bool,
    /// Tasks inside.
    pub tasks: Option<u64>,
    /// Acts denied, acts audited, events lost, errors of the fence itself, packets dropped.
    pub counters: Option<[u64; 5]>,
}

/// What is known of the host.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Host {
    /// Its fences.
    pub fences: Vec<Fence>,
    /// The versions of the programs that are loaded, and how many runs of theirs the kernel has left out.
    pub versions: Vec<(String, Option<u64>)>,
}

/// What is counted of a fence, in the order of [`Fence::counters`].
const COUNTED: [(&str, &str); 5] = [
    ("denied", "Acts that were denied"),
    (
        "audited",
        "Acts that would have been denied but for audit mode",
    ),
    ("lost", "Events that found no room"),
    ("errors", "Denials for an error of the fence itself"),
    ("dropped", "Packets that the net below the hooks held back"),
];

/// The text.
///
/// # Errors
/// If the format cannot say it.
pub fn metrics(host: &Host) -> Result<String, Error> {
    let registry = Registry::new();
    let gauge = |name: &str, help: &str, labels: &[&str]| {
        let gauge = IntGaugeVec::new(Opts::new(format!("ringfence_{name}"), help), labels)?;
        registered(&registry, gauge)
    };
    let standing = gauge("fences", "Fences that stand", &[])?;
    standing
        .with_label_values::<&str>(&[])
        .set(count(host.fences.len()));
    let loaded = gauge("versions", "Versions of the programs that are loaded", &[])?;
    loaded
        .with_label_values::<&str>(&[])
        .set(count(host.versions.len()));
    let about = gauge(
        "fence",
        "A fence that stands; 0 if its supervisor was killed",
        &["id", "engine", "profile", "subject"],
    )?;
    let tasks = gauge("fence_tasks", "Tasks inside", &["id"])?;
    for fence in &host.fences {
        let id = fence.id.to_string();
        about
            .with_label_values(&[&id, fence.engine, &fence.profile, &fence.subject])
            .set(i64::from(fence.supervised));
        if let Some(number) = fence.tasks {
            tasks
                .with_label_values(&[&id])
                .set(number.try_into().unwrap_or(i64::MAX));
        }
    }
    for (at, (name, help)) in COUNTED.into_iter().enumerate() {
        let counter = counter(&registry, &format!("fence_{name}_total"), help, "id")?;
        for fence in &host.fences {
            if let Some(counters) = &fence.counters {
                let id = fence.id.to_string();
                counter.with_label_values(&[&id]).inc_by(counters[at]);
            }
        }
    }
    let missed = counter(
        &registry,
        "missed_total",
        "Runs of the programs that the kernel has left out: acts that nobody judged",
        "version",
    )?;
    for (version, number) in &host.versions {
        if let Some(number) = number {
            missed.with_label_values(&[version]).inc_by(*number);
        }
    }
    Ok(TextEncoder::new().encode_to_string(&registry.gather())?)
}

fn counter(
    registry: &Registry,
    name: &str,
    help: &str,
    label: &str,
) -> Result<prometheus::IntCounterVec, Error> {
    let options = Opts::new(format!("ringfence_{name}"), help);
    registered(registry, prometheus::IntCounterVec::new(options, &[label])?)
}

fn registered<C: Collector + Clone + 'static>(
    registry: &Registry,
    collector: C,
) -> Result<C, Error> {
    registry.register(Box::new(collector.clone()))?;
    Ok(collector)
}

fn count(number: usize) -> i64 {
    i64::try_from(number).unwrap_or(i64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_host_without_fences_says_so() {
        let text = metrics(&Host::default()).unwrap();
        assert!(text.contains("\nringfence_fences 0\n"), "{text}");
        assert!(!text.contains("ringfence_fence_tasks{"), "{text}");
    }

    #[test]
    fn what_is_known_has_a_sample_and_what_is_not_has_none() {
        let known = Fence {
            id: 7,
            engine: "bpf-lsm",
            profile: "a\"b\n".to_owned(),
            subject: "make".to_owned(),
            supervised: true,
            tasks: Some(3),
            counters: Some([1, 2, 3, 4, 5]),
        };
        let unknown = Fence {
            id: 8,
            engine: "fallback",
            ..Fence::default()
        };
        let text = metrics(&Host {
            fences: vec![known, unknown],
            versions: vec![
                ("judge-1".to_owned(), Some(6)),
                ("judge-2".to_owned(), None),
            ],
        })
        .unwrap();
        for line in [
            "ringfence_fences 2",
            "ringfence_versions 2",
            "# TYPE ringfence_fence_denied_total counter",
            r#"ringfence_fence{engine="bpf-lsm",id="7",profile="a\"b\n",subject="make"} 1"#,
            r#"ringfence_fence{engine="fallback",id="8",profile="",subject=""} 0"#,
            r#"ringfence_fence_tasks{id="7"} 3"#,
            r#"ringfence_fence_denied_total{id="7"} 1"#,
            r#"ringfence_fence_audited_total{id="7"} 2"#,
            r#"ringfence_fence_lost_total{id="7"} 3"#,
            r#"ringfence_fence_errors_total{id="7"} 4"#,
            r#"ringfence_fence_dropped_total{id="7"} 5"#,
            r#"ringfence_missed_total{version="judge-1"} 6"#,
        ] {
            assert!(text.lines().any(|one| one == line), "no {line} in\n{text}");
        }
        for none in [r#"denied_total{id="8"}"#, r#"tasks{id="8"}"#, "judge-2"] {
            assert!(!text.contains(none), "{none} in\n{text}");
        }
    }
}
