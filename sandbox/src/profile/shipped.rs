//! The profiles that come with ringfence, built in: nothing on disk can replace them.

/// A profile that comes with ringfence.
#[derive(Clone, Copy, Debug)]
pub struct Shipped {
    /// The name that `extends` and `--profile` use.
    pub name: &'static str,
    /// Its TOML.
    pub text: &'static str,
}

/// The profile that applies when none is named.
pub const DEFAULT: &str = "untrusted";

/// Every shipped profile, by name.
pub const ALL: [Shipped; 12] = [
    Shipped {
        name: "base",
        text: include_str!("../../../profiles/base.toml"),
    },
    Shipped {
        name: "c-build",
        text: include_str!("../../../profiles/c-build.toml"),
    },
    Shipped {
        name: "coreutils",
        text: include_str!("../../../profiles/coreutils.toml"),
    },
    Shipped {
        name: "git",
        text: include_str!("../../../profiles/git.toml"),
    },
    Shipped {
        name: "github",
        text: include_str!("../../../profiles/github.toml"),
    },
    Shipped {
        name: "python",
        text: include_str!("../../../profiles/python.toml"),
    },
    Shipped {
        name: "registry/crates",
        text: include_str!("../../../profiles/registry/crates.toml"),
    },
    Shipped {
        name: "registry/debian",
        text: include_str!("../../../profiles/registry/debian.toml"),
    },
    Shipped {
        name: "registry/npm",
        text: include_str!("../../../profiles/registry/npm.toml"),
    },
    Shipped {
        name: "registry/pypi",
        text: include_str!("../../../profiles/registry/pypi.toml"),
    },
    Shipped {
        name: "shell",
        text: include_str!("../../../profiles/shell.toml"),
    },
    Shipped {
        name: "untrusted",
        text: include_str!("../../../profiles/untrusted.toml"),
    },
];

/// The shipped profile called `name`.
#[must_use]
pub fn find(name: &str) -> Option<Shipped> {
    ALL.into_iter().find(|shipped| shipped.name == name)
}
