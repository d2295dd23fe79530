use std::cell::RefCell;
use std::collections::HashMap;

use super::*;
use crate::compile::{Entry, compile_remembering};
use crate::policy::{Memory, Policy};
use crate::profile::{self, CommandLine, Variables};

const TEXT: &str = r#"
version = 1
[files]
read = ["/etc/**", "/srv/*.txt"]
write = ["/tmp/x/**"]
exec = ["/usr/bin/git"]
deny = ["/etc/shadow"]
[network]
connect = ["example.com:443", "tcp://10.0.0.0/8:80"]
unix = ["@abstract-*"]
[[program]]
path = "/usr/bin/git"
[program.files]
read = ["/home/**"]
"#;

fn compiled(text: &str, memory: Memory<'_>) -> Policy {
    let effective =
        profile::from_text("t", text.as_bytes(), false, CommandLine::default()).unwrap();
    let look = |_: &[u8]| Entry::Missing;
    let done = compile_remembering(&effective, &Variables::new(), &look, memory);
    done.unwrap().0
}

fn parts(policy: &Policy) -> Vec<(Automaton, Automaton, bool)> {
    let at_large = (&policy.files, &policy.network);
    let programs = policy.programs.iter();
    let programs = programs.map(|program| (&program.files, &program.network));
    [at_large]
        .into_iter()
        .chain(programs)
        .map(|(files, network)| {
            let own = files.shows_own_tasks;
            (files.automaton.clone(), network.automaton.clone(), own)
        })
        .collect()
}

#[derive(Default)]
struct Kept(RefCell<HashMap<Key, Vec<u8>>>, RefCell<usize>);

impl Kept {
    fn policy(&self, text: &str) -> Policy {
        let recall = |key: &Key| {
            let found = self.0.borrow().get(key).cloned();
            *self.1.borrow_mut() += usize::from(found.is_some());
            found
        };
        let keep = |key: &Key, value: &[u8]| {
            self.0.borrow_mut().insert(*key, value.to_vec());
        };
        let memory = Memory {
            recall: &recall,
            keep: &keep,
        };
        compiled(text, memory)
    }

    fn recalled(&self) -> usize {
        *self.1.borrow()
    }
}

#[test]
fn what_is_recalled_is_what_was_compiled() {
    let kept = Kept::default();
    let plain = compiled(TEXT, Memory::NONE);
    let first = kept.policy(TEXT);
    assert_eq!(kept.recalled(), 0);
    let second = kept.policy(TEXT);
    assert_eq!(kept.recalled(), 1);
    assert_eq!(parts(&first), parts(&plain));
    assert_eq!(parts(&second), parts(&plain));
    assert_eq!(parts(&plain).len(), 2);
}

#[test]
fn whatever_changes_the_policy_changes_the_key() {
    let changes = [
        ("read = [\"/etc/**\"", "read = [\"/etc/*\""),
        ("/srv/*.txt", "/srv/?.txt"),
        ("/srv/*.txt", "/srv/[a-c].txt"),
        (
            "exec = [\"/usr/bin/git\"]",
            "exec = [\"/usr/bin/git\", \"/x\"]",
        ),
        ("deny = [\"/etc/shadow\"]", "deny = []"),
        (
            "[files]\nread = [\"/etc",
            "[files]\nmode = \"audit\"\nread = [\"/etc",
        ),
        ("example.com:443", "example.com:444"),
        ("example.com:443", "example.org:443"),
        ("tcp://10.0.0.0/8:80", "tcp://10.0.0.0/9:80"),
        ("tcp://10.0.0.0/8:80", "udp://10.0.0.0/8:80"),
        ("@abstract-*", "@abstract-?"),
        ("[network]", "[network]\nmode = \"audit\""),
        ("[network]", "[network]\nsni = \"required\""),
        (
            "path = \"/usr/bin/git\"",
            "path = \"/usr/bin/git\"\ninherit = false",
        ),
        ("read = [\"/home/**\"]", "read = [\"/root/**\"]"),
    ];
    let kept = Kept::default();
    kept.policy(TEXT);
    for (from, to) in changes {
        assert!(TEXT.contains(from), "{from}");
        kept.policy(&TEXT.replacen(from, to, 1));
        assert_eq!(kept.recalled(), 0, "{from} -> {to}");
    }
    // What people alone read does not.
    let remark = "[files]\n# a remark\n";
    kept.policy(&TEXT.replacen("[files]\n", remark, 1));
    assert_eq!(kept.recalled(), 1);
}

#[test]
fn bytes_that_are_not_whole_are_refused() {
    let policy = compiled(TEXT, Memory::NONE);
    let parts: Vec<Part> = parts(&policy)
        .into_iter()
        .map(|(files, network, shows_own_tasks)| Part {
            files,
            network,
            shows_own_tasks,
        })
        .collect();
    let whole = encode(&parts);
    assert_eq!(decode(&whole, 2).unwrap(), parts);
    assert!(decode(&whole, 1).is_none());
    assert!(decode(&whole, 3).is_none());
    for length in 0..whole.len() {
        assert!(decode(&whole[..length], 2).is_none(), "{length}");
    }
    assert!(decode(&[&whole[..], b"\0"].concat(), 2).is_none());
    let mut more = whole.clone();
    more[261..269].copy_from_slice(&u64::MAX.to_le_bytes());
    assert!(decode(&more, 2).is_none());
}

#[test]
fn an_automaton_that_leads_out_of_its_words_is_not_taken() {
    let kept = Kept::default();
    kept.policy(TEXT);
    for value in kept.0.borrow_mut().values_mut() {
        // The start of the first automaton.
        value[1..5].copy_from_slice(&u32::MAX.to_le_bytes());
    }
    let plain = compiled(TEXT, Memory::NONE);
    // Recalled, refused, and compiled anew.
    assert_eq!(parts(&kept.policy(TEXT)), parts(&plain));
    assert_eq!(parts(&kept.policy(TEXT)), parts(&plain));
    assert_eq!(kept.recalled(), 2);
}
