//! The kernel cache is a folder that processes share (`vendor/turso`, asked as CubeCL asks it).

use std::path::{Path, PathBuf};
use std::process::{Child, Command};

use turso::{Builder, Connection};

/// Names the folder to a child of this test.
const FOLDER: &str = "LITHOBURN_TEST_CACHE";
const INSERT: &str = "INSERT INTO entries (namespace, key, value, origin) VALUES (?1, ?2, ?3, ?4) \
    ON CONFLICT(namespace, key) DO UPDATE SET value = excluded.value, origin = excluded.origin \
    WHERE entries.origin = 1 AND excluded.origin = 0";
const SELECT: &str = "SELECT value FROM entries WHERE namespace = ?1 AND key = ?2";

/// Runs a future that never waits.
fn now<T>(future: impl Future<Output = T>) -> T {
    let mut context = std::task::Context::from_waker(std::task::Waker::noop());
    match std::pin::pin!(future).poll(&mut context) {
        std::task::Poll::Ready(value) => value,
        std::task::Poll::Pending => unreachable!("the cache waits for nothing"),
    }
}

fn opened(folder: &Path) -> Connection {
    let path = folder.to_str().expect("test folders are UTF-8");
    now(Builder::new_local(path).build())
        .expect("a cache opens")
        .connect()
        .expect("and is connected to")
}

fn insert(cache: &Connection, key: &[u8], value: &[u8], origin: i64) -> u64 {
    now(cache.execute(INSERT, ("kernels", key.to_vec(), value.to_vec(), origin))).expect("a write")
}

fn get(cache: &Connection, key: &[u8]) -> Option<Vec<u8>> {
    let mut rows = now(cache.query(SELECT, ("kernels", key.to_vec()))).expect("a read");
    now(rows.next()).expect("rows").map(|row| row.get(0).expect("a value"))
}

fn folder(name: &str) -> PathBuf {
    let path = std::env::temp_dir().join(format!("lithoburn-cache-{name}-{}", std::process::id()));
    let _ = std::fs::remove_dir_all(&path);
    path
}

fn keys(of: usize) -> impl Iterator<Item = Vec<u8>> {
    (0..40).map(move |i| format!("kernel {of}.{i}").into_bytes())
}

/// What key `key` holds: long enough that a file is written in parts.
fn value(key: &[u8]) -> Vec<u8> {
    key.iter().copied().cycle().take(300_000).collect()
}

/// A child's part; by itself it has no folder and nothing to do.
#[test]
fn a_process_of_several() {
    let Ok(text) = std::env::var(FOLDER) else { return };
    let (of, path) = text.split_once(' ').expect("a number and a folder");
    let cache = opened(Path::new(path));
    for key in keys(of.parse().expect("a number")).chain(keys(0)) {
        insert(&cache, &key, &value(&key), 0);
        assert_eq!(get(&cache, &key), Some(value(&key)));
    }
}

fn child(of: usize, folder: &Path) -> Child {
    let program = std::env::current_exe().expect("this test's program");
    let mut command = Command::new(program);
    command
        .args(["--exact", "a_process_of_several"])
        .env(FOLDER, format!("{of} {}", folder.display()));
    command.spawn().expect("a child")
}

#[test]
fn what_one_process_compiles_all_others_find() {
    let folder = folder("shared");
    let cache = opened(&folder);
    let children = [1, 2, 3].map(|of| child(of, &folder));
    for key in keys(0) {
        insert(&cache, &key, &value(&key), 0);
    }
    for mut child in children {
        assert!(child.wait().expect("a child ends").success());
    }
    for key in (0..=3).flat_map(keys) {
        assert_eq!(get(&cache, &key), Some(value(&key)), "{}", String::from_utf8_lossy(&key));
    }
    std::fs::remove_dir_all(folder).expect("the folder");
}

#[test]
fn a_value_stays_unless_it_was_imported() {
    let folder = folder("kept");
    let cache = opened(&folder);
    assert_eq!(insert(&cache, b"k", b"imported", 1), 1);
    assert_eq!(insert(&cache, b"k", b"computed", 0), 1);
    assert_eq!(insert(&cache, b"k", b"again", 0), 0);
    assert_eq!(get(&cache, b"k").as_deref(), Some(&b"computed"[..]));
    std::fs::remove_dir_all(folder).expect("the folder");
}

#[test]
fn a_damaged_entry_is_absent_and_written_anew() {
    let folder = folder("damaged");
    let cache = opened(&folder);
    insert(&cache, b"k", b"a compiled kernel", 0);
    let file = std::fs::read_dir(&folder)
        .expect("the folder")
        .next()
        .expect("a file")
        .expect("its name")
        .path();
    let whole = std::fs::read(&file).expect("its bytes");
    for cut in [0, 7, whole.len() - 1] {
        std::fs::write(&file, &whole[..cut]).expect("a cut");
        assert_eq!(get(&cache, b"k"), None, "cut at {cut}");
    }
    let mut other = whole.clone();
    other[whole.len() - 1] ^= 1;
    std::fs::write(&file, other).expect("a flipped bit");
    assert_eq!(get(&cache, b"k"), None);
    assert_eq!(insert(&cache, b"k", b"a compiled kernel", 0), 1);
    assert_eq!(std::fs::read(&file).expect("its bytes"), whole);
    std::fs::remove_dir_all(folder).expect("the folder");
}

/// Versions before kept one file, which belonged to one process.
#[test]
fn a_cache_of_an_earlier_version_gives_way() {
    let folder = folder("earlier");
    std::fs::write(&folder, b"redb").expect("a file");
    let cache = opened(&folder);
    insert(&cache, b"k", b"v", 0);
    assert_eq!(get(&cache, b"k").as_deref(), Some(&b"v"[..]));
    std::fs::remove_dir_all(folder).expect("the folder");
}

/// CubeCL moves an entry to the key of the build that asks; the build that had it finds it all the same.
#[test]
fn programs_do_not_take_each_others_kernels_away() {
    let folder = folder("moved");
    let cache = opened(&folder);
    insert(&cache, b"a program's key", b"code", 0);
    let delete = "DELETE FROM entries WHERE namespace = ?1 AND key = ?2";
    assert_eq!(
        now(cache.execute(delete, ("kernels", b"a program's key".to_vec()))).expect("a delete"),
        1
    );
    assert_eq!(get(&cache, b"a program's key").as_deref(), Some(&b"code"[..]));
    assert_eq!(insert(&cache, b"a program's key", b"code of another build", 0), 1);
    std::fs::remove_dir_all(folder).expect("the folder");
}

#[test]
fn what_nobody_reads_for_a_month_goes() {
    let folder = folder("old");
    let cache = opened(&folder);
    insert(&cache, b"old", b"v", 0);
    let long_ago = std::time::SystemTime::now() - std::time::Duration::from_secs(40 * 24 * 3600);
    for file in std::fs::read_dir(&folder).expect("the folder") {
        let file = std::fs::File::options().append(true).open(file.expect("an entry").path());
        file.and_then(|file| file.set_modified(long_ago)).expect("a time");
    }
    insert(&cache, b"new", b"v", 0);
    let again = opened(&folder);
    assert_eq!((get(&again, b"old"), get(&again, b"new").as_deref()), (None, Some(&b"v"[..])));
    std::fs::remove_dir_all(folder).expect("the folder");
}
