//! Names that will be others the next time.

/// Bytes of a name that Python's `tempfile` makes: `tmp` and eight more.
const DRAWN_BY_PYTHON: usize = 11;

/// The name as a pattern, if parts of it are numbers of processes, hashes, or what a temporary name is drawn from.
/// `made` says that the command gave the name itself.
pub(super) fn pattern(name: &str, made: bool) -> Option<String> {
    // What Python draws after it is lower case, and may be a word.
    if made && name.len() >= DRAWN_BY_PYTHON && name.starts_with("tmp") {
        return Some("tmp*".to_owned());
    }
    let mut pattern = String::new();
    let mut changed = false;
    let mut rest = name;
    while !rest.is_empty() {
        let length = rest
            .find(|character: char| !character.is_ascii_alphanumeric())
            .unwrap_or(rest.len());
        if length == 0 {
            // A character that is escaped stays behind its backslash.
            let mut characters = rest.chars();
            let first = characters.next().unwrap_or_default();
            pattern.push(first);
            if first == '\\' {
                pattern.extend(characters.next());
            }
            rest = characters.as_str();
            continue;
        }
        let (word, after) = rest.split_at(length);
        if is_hash(word) || (made && is_drawn(word)) {
            pattern.push('*');
            changed = true;
        } else if let Some(before) = before_address(word).filter(|_| made) {
            pattern.push_str(before);
            pattern.push('*');
            changed = true;
        } else if made && word.len() >= 3 && word.bytes().all(|byte| byte.is_ascii_digit()) {
            pattern.push_str("[0-9]*");
            changed = true;
        } else if let Some(shape) = long_numbers(word).filter(|_| made) {
            pattern.push_str(&shape);
            changed = true;
        } else {
            pattern.push_str(word);
        }
        rest = after;
    }
    changed.then(|| pattern.replace("**", "*"))
}

/// What stands before an address in memory, with which some libraries tell their temporary names apart: up to the `0x`.
fn before_address(word: &str) -> Option<&str> {
    const DIGITS: usize = 8;
    let at = word.find("0x")? + 2;
    let digits = word.get(at..)?;
    let is_address = digits.len() >= DIGITS && digits.bytes().all(|byte| byte.is_ascii_hexdigit());
    is_address.then(|| &word[..at])
}

/// The word without its numbers of four digits and more: those of processes, of time, and drawn ones; `None` if it has none.
pub(super) fn long_numbers(word: &str) -> Option<String> {
    const LONG: usize = 4;
    let is_digit = |byte: &u8| byte.is_ascii_digit();
    let parts: Vec<&[u8]> = word
        .as_bytes()
        .chunk_by(|one, other| is_digit(one) == is_digit(other))
        .collect();
    let is_long = |part: &[u8]| part.len() >= LONG && part.iter().all(is_digit);
    parts.iter().any(|part| is_long(part)).then(|| {
        let shape = |part: &&[u8]| match is_long(part) {
            true => "[0-9]*".to_owned(),
            false => String::from_utf8_lossy(part).into_owned(),
        };
        parts.iter().map(shape).collect()
    })
}

/// The name as a pattern, in a directory where programs put what they draw: what stands before the first sign is the
/// program's, or the library's, and stays.
pub(super) fn drawn(name: &str) -> Option<String> {
    let sign = name.find(|character: char| !character.is_ascii_alphanumeric())?;
    let sign = name
        .get(..=sign)
        .filter(|prefix| prefix.len() > 1 && !prefix.ends_with('\\'))?;
    Some(format!("{sign}*"))
}

/// What stands before the six letters that `mkstemp` and its like draw, where that is a word by itself and nothing stands between.
pub(super) fn prefix(name: &str) -> Option<&str> {
    const DRAWN: usize = 6;
    const WORD: usize = 3;
    let prefix = name.get(..name.len().checked_sub(DRAWN)?)?;
    let is_word = prefix.len() >= WORD && prefix.bytes().all(|byte| byte.is_ascii_lowercase());
    is_word.then_some(prefix)
}

/// The first digits of a hash, as a directory of a store.
pub(super) fn is_shard(name: &str) -> bool {
    let is_digit = |byte: u8| byte.is_ascii_digit() || (b'a'..=b'f').contains(&byte);
    (1..=2).contains(&name.len()) && name.bytes().all(is_digit)
}

/// An entry of a store, by its hash: to the base of 16, 32 or 36, with what kind of entry it is behind a sign.
pub(super) fn is_digest(name: &str) -> bool {
    const SHORTEST: usize = 16;
    let word = name
        .split(|character: char| !character.is_ascii_alphanumeric())
        .next()
        .unwrap_or_default();
    let digits = word.bytes().filter(u8::is_ascii_digit).count();
    // A letter for the kind may stand right behind it.
    let hash = word.get(..word.len().saturating_sub(1)).unwrap_or_default();
    hash.len() >= SHORTEST
        && (2..word.len()).contains(&digits)
        && !hash.bytes().any(|byte| byte.is_ascii_uppercase())
}

/// Hexadecimal, long, and not a word or a number by chance.
fn is_hash(word: &str) -> bool {
    let digits = word.bytes().filter(u8::is_ascii_digit).count();
    let lower = |byte: u8| byte.is_ascii_digit() || (b'a'..=b'f').contains(&byte);
    let hexadecimal = word.bytes().all(lower);
    (hexadecimal && word.len() >= 8 && digits >= 2 && digits < word.len())
        || (hexadecimal && word.len() >= 32)
}

/// What `mkstemp` and its like draw: six letters and more, of more than one kind and not like a name, which has capitals in front only, or
/// one number between its words (`Base64url`).
fn is_drawn(word: &str) -> bool {
    if word.len() < 6 || word.len() > 24 {
        return false;
    }
    let upper = word.bytes().skip(1).any(|byte| byte.is_ascii_uppercase());
    let lower = word.bytes().any(|byte| byte.is_ascii_lowercase());
    let digit = word.bytes().any(|byte| byte.is_ascii_digit());
    let begins = word.starts_with(|first: char| first.is_ascii_uppercase());
    let goes_on = |two: &&[u8]| two[0].is_ascii_digit() && two[1].is_ascii_alphabetic();
    let scattered = word.as_bytes().windows(2).filter(goes_on).count() > 1;
    upper && (lower || digit) || begins && scattered
}

/// The name with each run of digits replaced: siblings that share it differ in numbers only.
pub(super) fn numbered(name: &str) -> Option<String> {
    if !name.bytes().any(|byte| byte.is_ascii_digit()) || name.contains('\\') || name.contains('[')
    {
        return None;
    }
    let mut pattern = String::new();
    let mut in_number = false;
    for character in name.chars() {
        if character.is_ascii_digit() {
            if !in_number {
                pattern.push_str("[0-9]*");
            }
            in_number = true;
        } else {
            in_number = false;
            pattern.push(character);
        }
    }
    Some(pattern)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hashes_and_drawn_names_are_generalised() {
        let read = |name| pattern(name, false);
        assert_eq!(read("serde-a1b2c3d4e5f60718").as_deref(), Some("serde-*"));
        assert_eq!(
            read("d41d8cd98f00b204e9800998ecf8427e.o").as_deref(),
            Some("*.o")
        );
        let made = |name| pattern(name, true);
        assert_eq!(made("ccXa81Bs.o").as_deref(), Some("*.o"));
        assert_eq!(made("sh-thd.k3JxVq").as_deref(), Some("sh-thd.*"));
        assert_eq!(made(".lock.P1f6r6").as_deref(), Some(".lock.*"));
        assert_eq!(made("Report2024"), Some("Report[0-9]*".to_owned()));
        assert_eq!(made("Chapter1"), None);
        assert_ne!(made("Base64url.o").as_deref(), Some("*.o"));
        assert_eq!(
            made("worker-4711.pid").as_deref(),
            Some("worker-[0-9]*.pid")
        );
    }

    #[test]
    fn long_numbers_of_names_that_are_made_are_others_the_next_time() {
        let made = |name| pattern(name, true);
        assert_eq!(made("build26809.log").as_deref(), Some("build[0-9]*.log"));
        assert_eq!(made("x2501434091851617420y").as_deref(), Some("x[0-9]*y"));
        assert_eq!(made("tmpez_391zn").as_deref(), Some("tmp*"));
        let lock = ".#lk0x00005570313764d0.host.13591x";
        assert_eq!(made(lock).as_deref(), Some(".#lk0x*.host.[0-9]*x"));
        assert_eq!(pattern(lock, false), None);
        assert_eq!(made("a1b234"), None);
        assert_eq!(pattern("build26809", false), None);
    }

    #[test]
    fn what_is_drawn_stands_behind_the_first_sign() {
        assert_eq!(drawn("sem.mp-ye4d0wxj").as_deref(), Some("sem.*"));
        assert_eq!(drawn("psm_3c62a8c9").as_deref(), Some("psm_*"));
        for name in ["plain", ".hidden", r"a\[1\]"] {
            assert_eq!(drawn(name), None, "{name}");
        }
    }

    #[test]
    fn a_word_before_what_is_drawn_is_the_programs() {
        assert_eq!(prefix("zshqBx3Fe"), Some("zsh"));
        for name in ["qBx3Fe", "ccXa81Bs", "k3JxVq9aZp", "x", "übqBx3Fe"] {
            assert_eq!(prefix(name), None, "{name}");
        }
    }

    #[test]
    fn entries_of_stores_are_called_by_a_hash() {
        for entry in [
            "f3a9c01b7e5d2846f3a9c01b7e5d2846f3a9c0",
            "4fk4ebrdoot1jpb57b5hudeml3bo9v4M",
            "d41d8cd98f00b204e9800998ecf8427e-a",
            "d41d8cd98f00b204e9800998ecf8427e.body",
        ] {
            assert!(is_digest(entry), "{entry}");
        }
        for name in [
            "stats",
            "coreutils.mo",
            "internationalization",
            "abc123",
            "1234567890123456789",
        ] {
            assert!(!is_digest(name), "{name}");
        }
        assert!(is_shard("0") && is_shard("ab") && is_shard("7f"));
        assert!(!is_shard("") && !is_shard("abc") && !is_shard("fr") && !is_shard("*"));
    }

    #[test]
    fn names_that_people_give_stay() {
        for name in [
            "libssl.so.3",
            "x86_64-linux-gnu",
            "python3.11",
            "deadbeef",
            "README",
            "Makefile",
            "CMakeLists.txt",
            "main.rs",
            r"a\[1\]",
        ] {
            assert_eq!(pattern(name, false), None, "{name}");
        }
    }

    #[test]
    fn numbers_of_siblings() {
        assert_eq!(numbered("cpu12").as_deref(), Some("cpu[0-9]*"));
        assert_eq!(numbered("a1b2").as_deref(), Some("a[0-9]*b[0-9]*"));
        assert_eq!(numbered("plain"), None);
    }
}
