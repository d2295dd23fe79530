//! Entries that are whole, and all ways in which they are not.

use std::os::unix::fs::{PermissionsExt as _, symlink};
use std::time::Duration;

use super::*;

const KEY: Key = Key([7; 32]);

struct Place {
    folder: tempfile::TempDir,
}

impl Place {
    fn new() -> Self {
        Self {
            folder: tempfile::tempdir().unwrap(),
        }
    }

    fn path(&self) -> PathBuf {
        self.folder.path().join("policies")
    }

    fn cache(&self) -> Cache {
        Cache::open(&self.path()).unwrap()
    }

    fn entry(&self) -> PathBuf {
        self.path().join(KEY.to_string())
    }
}

#[test]
fn what_was_kept_is_recalled_and_nothing_else() {
    let place = Place::new();
    place.cache().keep(&KEY, b"value").unwrap();
    assert_eq!(place.cache().recall(&KEY).unwrap(), b"value");
    assert_eq!(place.cache().recall(&Key([8; 32])), None);
    place.cache().keep(&KEY, b"another").unwrap();
    assert_eq!(place.cache().recall(&KEY).unwrap(), b"another");
    place.cache().forget(&KEY);
    assert_eq!(place.cache().recall(&KEY), None);
}

#[test]
fn an_entry_of_which_any_byte_is_another_is_not_recalled() {
    let place = Place::new();
    let cache = place.cache();
    cache.keep(&KEY, b"value").unwrap();
    let whole = fs::read(place.entry()).unwrap();
    for at in 0..whole.len() {
        let mut damaged = whole.clone();
        damaged[at] ^= 1;
        fs::write(place.entry(), &damaged).unwrap();
        assert_eq!(cache.recall(&KEY), None, "byte {at}");
    }
    for length in 0..whole.len() {
        fs::write(place.entry(), &whole[..length]).unwrap();
        assert_eq!(cache.recall(&KEY), None, "{length} bytes");
    }
    fs::write(place.entry(), [&whole[..], b"\0"].concat()).unwrap();
    assert_eq!(cache.recall(&KEY), None);
    fs::write(place.entry(), &whole).unwrap();
    assert_eq!(cache.recall(&KEY).unwrap(), b"value");
}

#[test]
fn an_entry_under_the_name_of_another_is_not_recalled() {
    let place = Place::new();
    let (cache, other) = (place.cache(), Key([8; 32]));
    cache.keep(&KEY, b"value").unwrap();
    fs::rename(place.entry(), place.path().join(other.to_string())).unwrap();
    assert_eq!(cache.recall(&other), None);
}

#[test]
fn a_link_a_second_name_a_directory_and_what_others_may_change_are_not_recalled() {
    let place = Place::new();
    let cache = place.cache();
    cache.keep(&KEY, b"value").unwrap();
    let aside = place.folder.path().join("aside");
    fs::rename(place.entry(), &aside).unwrap();
    symlink(&aside, place.entry()).unwrap();
    assert_eq!(cache.recall(&KEY), None);
    fs::remove_file(place.entry()).unwrap();
    fs::hard_link(&aside, place.entry()).unwrap();
    assert_eq!(cache.recall(&KEY), None);
    fs::remove_file(&aside).unwrap();
    assert_eq!(cache.recall(&KEY).unwrap(), b"value");
    fs::set_permissions(place.entry(), fs::Permissions::from_mode(0o660)).unwrap();
    assert_eq!(cache.recall(&KEY), None);
    fs::remove_file(place.entry()).unwrap();
    fs::create_dir(place.entry()).unwrap();
    assert_eq!(cache.recall(&KEY), None);
}

#[test]
fn a_folder_that_others_may_enter_or_that_is_a_link_is_refused() {
    let place = Place::new();
    drop(place.cache());
    fs::set_permissions(place.path(), fs::Permissions::from_mode(0o750)).unwrap();
    assert!(matches!(
        Cache::open(&place.path()),
        Err(Error::NotPrivate(_))
    ));
    fs::set_permissions(place.path(), fs::Permissions::from_mode(0o700)).unwrap();
    let link = place.folder.path().join("link");
    symlink(place.path(), &link).unwrap();
    assert!(matches!(Cache::open(&link), Err(Error::Unusable { .. })));
    fs::write(place.folder.path().join("file"), "").unwrap();
    assert!(Cache::open(&place.folder.path().join("file")).is_err());
}

#[test]
fn there_is_a_bound_and_what_was_not_used_for_longest_goes_first() {
    let place = Place::new();
    let cache = place.cache();
    let key = |number: u8| Key([number; 32]);
    let value = vec![0; 8 << 20];
    for number in 0..3 {
        cache.keep(&key(number), &value).unwrap();
        let age = Duration::from_secs(100 - u64::from(number));
        let file = File::open(place.path().join(key(number).to_string())).unwrap();
        file.set_modified(SystemTime::now() - age).unwrap();
    }
    // Recalled, the oldest is the youngest.
    assert!(cache.recall(&key(0)).is_some());
    cache.keep(&key(3), &value).unwrap();
    cache.keep(&key(4), &value).unwrap();
    let kept: Vec<u8> = (0..5)
        .filter(|&number| cache.recall(&key(number)).is_some())
        .collect();
    assert_eq!(kept, [0, 3, 4]);
    let bytes: u64 = fs::read_dir(place.path())
        .unwrap()
        .map(|entry| entry.unwrap().metadata().unwrap().len())
        .sum();
    assert!(bytes <= MOST_OF_ALL, "{bytes}");
}

#[test]
fn what_is_too_large_is_not_kept_and_nothing_is_left_of_it() {
    let place = Place::new();
    let value = vec![0; usize::try_from(MOST_OF_ONE).unwrap()];
    place.cache().keep(&KEY, &value).unwrap();
    assert_eq!(place.cache().recall(&KEY), None);
    assert_eq!(fs::read_dir(place.path()).unwrap().count(), 0);
}
