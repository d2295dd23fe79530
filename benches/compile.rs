//! How long a profile of 10 to 10,000 rules takes to compile, and how large its table is.

use std::ffi::OsStr;
use std::hint::black_box;
use std::path::Path;

use criterion::{BenchmarkId, Criterion, criterion_group, criterion_main};
use ringfence::compile::{Entry, compile};
use ringfence::profile::{CommandLine, Effective, Right, Rule, Variables, from_text};

/// Rules as a learned profile has them: literals of about 60 bytes, directories, some globs, a few denies anywhere.
fn rules(count: usize) -> Vec<Rule> {
    let mut rules: Vec<Rule> = ["**/.ssh/**", "**/.git/hooks/**", "**/*.pem", "**/.env"]
        .map(|text| rule(Right::Deny, text))
        .into();
    for number in 0..count {
        // Names differ from their beginning, as those of packages do.
        let name = format!("{:08x}", number.wrapping_mul(0x9e37_79b1) & 0xffff_ffff);
        let (right, text) = match number % 10 {
            0 | 1 => (Right::Read, format!("/usr/share/package-{name}/locale/**")),
            2 => (
                Right::Write,
                format!("/home/user/work/project-{name}/target/**"),
            ),
            3 => (
                Right::Exec,
                format!("/usr/lib/x86_64-linux-gnu/lib{name}-plugins.so*"),
            ),
            4 => (
                Right::Read,
                format!("/home/user/.cache/{name}/index-[0-9]*.json"),
            ),
            _ => (
                Right::Read,
                format!("/usr/lib/python3/dist-packages/{name}/__pycache__/module_{number}.pyc"),
            ),
        };
        rules.push(rule(right, &text));
    }
    rules
}

fn rule(right: Right, text: &str) -> Rule {
    Rule::from_command_line(right, OsStr::new(text), Path::new("/")).expect("a right rule")
}

fn profile(count: usize) -> Effective {
    let command_line = CommandLine {
        rules: rules(count),
        ..CommandLine::default()
    };
    let text = b"version = 1\n[files]\nmode = \"enforce\"\n";
    from_text("bench", text, false, command_line).expect("a right profile")
}

fn rules_to_table(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("rules to table");
    group.sample_size(10);
    for count in [10, 100, 1_000, 10_000] {
        let profile = profile(count);
        let (policy, _) = compile(&profile, &Variables::new(), &|_| Entry::Missing).expect("fits");
        println!(
            "{count} rules: {} words",
            policy.files.automaton.words.len()
        );
        group.bench_with_input(
            BenchmarkId::from_parameter(count),
            &profile,
            |bencher, profile| {
                bencher
                    .iter(|| compile(black_box(profile), &Variables::new(), &|_| Entry::Missing));
            },
        );
    }
    group.finish();
}

/// Twenty patterns that have to remember which of the last bytes were an `a`.
fn refusal(criterion: &mut Criterion) {
    let text = format!("/*a{}", "?".repeat(24));
    let rules = (0..20).map(|number| rule(Right::Read, &format!("{text}{number}")));
    let command_line = CommandLine {
        rules: rules.collect(),
        ..CommandLine::default()
    };
    let text = b"version = 1\n[files]\nmode = \"enforce\"\n";
    let profile = from_text("bench", text, false, command_line).expect("a right profile");
    let mut group = criterion.benchmark_group("entangled");
    group.sample_size(10);
    group.bench_function("refusal", |bencher| {
        bencher.iter(|| compile(&profile, &Variables::new(), &|_| Entry::Missing).err());
    });
    group.finish();
}

criterion_group!(benches, rules_to_table, refusal);
criterion_main!(benches);
