//! Against a store that these tests are themselves: a few lines of HTTP over a map.

use std::collections::BTreeMap;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};

use super::*;
use crate::{Digest, Results};

/// A store that lets in whoever signs with the key `AK`, and is busy for its first answers.
pub(crate) struct Store {
    objects: Mutex<BTreeMap<String, Vec<u8>>>,
    busy: AtomicUsize,
}

impl Store {
    /// Where it listens, as long as the test runs.
    pub(crate) fn start(busy: usize) -> (Arc<Self>, SocketAddr) {
        let store = Arc::new(Self { objects: Mutex::default(), busy: AtomicUsize::new(busy) });
        let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
        let (theirs, address) = (store.clone(), listener.local_addr().expect("ours"));
        std::thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                let store = theirs.clone();
                std::thread::spawn(move || while store.answer(&stream).is_some() {});
            }
        });
        (store, address)
    }

    /// Answers one question; none if there is no more.
    fn answer(&self, stream: &TcpStream) -> Option<()> {
        let mut reader = BufReader::new(stream);
        let mut lines = Vec::new();
        loop {
            let mut line = String::new();
            reader.read_line(&mut line).ok().filter(|&read| read > 0)?;
            if line.trim().is_empty() {
                break;
            }
            lines.push(line.trim().to_string());
        }
        let length = lines.iter().find_map(|line| {
            line.to_lowercase().strip_prefix("content-length:")?.trim().parse().ok()
        });
        let mut body = vec![0; length.unwrap_or(0)];
        reader.read_exact(&mut body).ok()?;
        let mut words = lines.first()?.split(' ');
        let (method, target) = (words.next()?, words.next()?);
        let (path, query) = target.split_once('?').unwrap_or((target, ""));
        let (status, body) = self.done(method, path, query, body);
        let head = format!("HTTP/1.1 {status}\r\nContent-Length: {}\r\n\r\n", body.len());
        let mut writer = stream;
        writer.write_all(&[head.as_bytes(), &body].concat()).ok()
    }

    fn done(&self, method: &str, path: &str, query: &str, body: Vec<u8>) -> (&str, Vec<u8>) {
        let is_busy = |left: usize| left.checked_sub(1);
        if self.busy.fetch_update(Ordering::SeqCst, Ordering::SeqCst, is_busy).is_ok() {
            return ("503 Slow Down", Vec::new());
        }
        if !(query.contains("X-Amz-Credential=AK%2F") && query.contains("X-Amz-Signature=")) {
            return ("403 Forbidden", Vec::new());
        }
        let mut objects = self.objects.lock().expect("whole");
        match (method, path.starts_with("/jobs/"), objects.get(path)) {
            (_, false, _) | ("GET", _, None) => ("404 Not Found", Vec::new()),
            ("GET", _, Some(bytes)) => ("200 OK", bytes.clone()),
            _ => {
                objects.insert(path.into(), body);
                ("200 OK", Vec::new())
            }
        }
    }
}

/// The environment of somebody with a key.
pub(crate) fn keys(address: SocketAddr, key: &'static str) -> impl Fn(&str) -> Option<String> {
    move |name| match name {
        "AWS_ACCESS_KEY_ID" => Some(key.into()),
        "AWS_SECRET_ACCESS_KEY" => Some("SK".into()),
        "AWS_ENDPOINT_URL" => Some(format!("http://{address}")),
        _ => None,
    }
}

#[test]
fn results_in_a_bucket_are_what_their_names_say_or_an_error() -> Result<(), FarmError> {
    let (store, address) = Store::start(2);
    let bucket = Bucket::open("s3://jobs/a/", &keys(address, "AK"))?.below("results");
    let results = Results::within(bucket);
    assert_eq!(results.get(&Digest::of(b"mask"))?, None);
    let digest = results.put(b"mask")?;
    assert_eq!(results.put(b"mask")?, digest);
    assert_eq!(results.get(&digest)?.as_deref(), Some(&b"mask"[..]));
    let name = store.objects.lock().expect("whole").keys().next().cloned().expect("one");
    assert_eq!(name, format!("/jobs/a/results/{}/{digest}", &digest.as_str()[..2]));
    store.objects.lock().expect("whole").insert(name, b"mas".to_vec());
    let error = results.get(&digest).expect_err("cut").to_string();
    assert!(error.contains("s3://jobs/a/results/") && error.contains("3 bytes"), "{error}");
    Ok(())
}

#[test]
fn a_store_that_does_not_let_us_in_or_is_not_there_is_named() {
    let (_store, address) = Store::start(0);
    let said = |place: &str, key| {
        let bucket = Bucket::open(place, &keys(address, key)).expect("an address");
        bucket.put("x", b"y").expect_err("refused").to_string()
    };
    let error = said("s3://jobs", "OTHER");
    assert!(error.contains("s3://jobs/x") && error.contains("403"), "{error}");
    assert!(said("s3://others", "AK").contains("no such bucket"));
    let nobody: SocketAddr = "127.0.0.1:1".parse().expect("an address");
    let bucket = Bucket::open("s3://jobs", &keys(nobody, "AK")).expect("an address");
    let error = bucket.get("x").expect_err("nobody there").to_string();
    assert!(error.contains("s3://jobs/x") && error.contains("cannot be used"), "{error}");
    let open = |place: &str| Bucket::open(place, &|_| None).expect_err("no keys").to_string();
    assert!(open("s3://jobs").contains("AWS_ACCESS_KEY_ID is not set"));
    assert!(open("s3:///x").contains("expected s3://BUCKET"));
}
