//! Limits of a whole container in its bundle (config-linux.md, "Control groups"): made stricter, never wider. The runtime sets
//! them on the cgroup, and fails where it cannot.

use serde_json::{Value, json};

use super::{bundle::member, left};
use crate::policy::Limits;

/// Microseconds of the period that processor time is counted in: the kernel's default.
const PERIOD: u64 = 100_000;

/// Lowers what is above `limits`.
pub(super) fn lower(configuration: &mut Value, limits: &Limits) {
    if limits.memory.is_none() && limits.pids.is_none() && limits.cpu_percent.is_none() {
        return;
    }
    let linux = member(configuration, "linux", json!({}));
    let resources = member(linux, "resources", json!({}));
    if let Some(bytes) = limits.memory {
        let memory = member(resources, "memory", json!({}));
        at_most(memory, "limit", bytes);
        // Memory and swap together: swap would let tasks have more than was allowed.
        at_most(memory, "swap", bytes);
    }
    if let Some(tasks) = limits.pids {
        at_most(member(resources, "pids", json!({})), "limit", tasks);
    }
    if let Some(percent) = limits.cpu_percent
        && is_faster(resources, percent)
    {
        let cpu = member(resources, "cpu", json!({}));
        cpu["period"] = PERIOD.into();
        cpu["quota"] = quota(percent, PERIOD).into();
    }
}

/// The first of `limits` that the bundle does not keep; time is not for it to keep.
pub(super) fn first_above(configuration: &Value, limits: &Limits) -> Option<&'static str> {
    let resources = &configuration["linux"]["resources"];
    let process = &configuration["process"];
    let is_above = |value: &Value, limit: Option<u64>| {
        limit.is_some_and(|limit| !value.as_i64().is_some_and(|now| is_within(now, limit)))
    };
    let is_open = |kind: &str, limit: Option<u64>| {
        limit.is_some_and(|limit| !left::is_limited(process, kind, limit))
    };
    [
        (
            "memory",
            is_above(&resources["memory"]["limit"], limits.memory),
        ),
        (
            "memory",
            is_above(&resources["memory"]["swap"], limits.memory),
        ),
        ("pids", is_above(&resources["pids"]["limit"], limits.pids)),
        (
            "cpu",
            limits
                .cpu_percent
                .is_some_and(|percent| is_faster(resources, percent)),
        ),
        ("open-files", is_open("RLIMIT_NOFILE", limits.open_files)),
        ("file-size", is_open("RLIMIT_FSIZE", limits.file_size)),
    ]
    .into_iter()
    .find_map(|(name, above)| above.then_some(name))
}

/// Nothing, zero and -1 mean no limit.
fn at_most(value: &mut Value, name: &str, limit: u64) {
    let kept = value[name]
        .as_i64()
        .is_some_and(|now| is_within(now, limit));
    if !kept {
        value[name] = limit.into();
    }
}

fn is_within(now: i64, limit: u64) -> bool {
    u64::try_from(now).is_ok_and(|now| now > 0 && now <= limit)
}

fn is_faster(resources: &Value, percent: u64) -> bool {
    let cpu = &resources["cpu"];
    let period = cpu["period"].as_u64().filter(|&period| period > 0);
    let allowed = quota(percent, period.unwrap_or(PERIOD));
    !cpu["quota"]
        .as_i64()
        .is_some_and(|now| is_within(now, allowed))
}

fn quota(percent: u64, period: u64) -> u64 {
    percent.saturating_mul(period) / 100
}

#[cfg(test)]
mod tests {
    use super::*;

    const LIMITS: Limits = Limits {
        memory: Some(1000),
        pids: Some(10),
        wall_seconds: None,
        cpu_percent: Some(50),
        open_files: None,
        file_size: None,
    };

    #[test]
    fn what_is_wider_is_lowered_and_what_is_stricter_stays() {
        let mut wide = json!({ "linux": { "resources": {
            "memory": { "limit": -1, "swap": 5000 }, "pids": { "limit": 20 }, "cpu": { "quota": 80000, "period": 100_000 } } } });
        assert_eq!(first_above(&wide, &LIMITS), Some("memory"));
        lower(&mut wide, &LIMITS);
        assert_eq!(first_above(&wide, &LIMITS), None);
        assert_eq!(
            wide["linux"]["resources"],
            json!({ "memory": { "limit": 1000, "swap": 1000 }, "pids": { "limit": 10 },
                    "cpu": { "quota": 50000, "period": 100_000 } })
        );
        let strict = json!({ "linux": { "resources": {
            "memory": { "limit": 500, "swap": 500 }, "pids": { "limit": 5 }, "cpu": { "quota": 10, "period": 1000 } } } });
        let mut kept = strict.clone();
        lower(&mut kept, &LIMITS);
        assert_eq!(kept, strict);
    }

    #[test]
    fn without_limits_a_bundle_stays_as_it_is() {
        let mut bundle = json!({ "process": {} });
        lower(&mut bundle, &Limits::default());
        assert_eq!(bundle, json!({ "process": {} }));
        assert_eq!(first_above(&bundle, &Limits::default()), None);
        assert_eq!(first_above(&bundle, &LIMITS), Some("memory"));
    }
}
