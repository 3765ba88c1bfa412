//! A layout on its way from a form to a file.
//!
//! It is written while it comes, so that memory holds a piece of it. A name that ends in `.gz` is opened on the way, up to the same
//! limit. The file's name is ours: of the client's name only the ending counts, and what is shown of it.

use std::fs::File;
use std::io::{self, Write};
use std::path::{Path, PathBuf};

use axum::body::Bytes;
use axum::extract::multipart::{Field, Multipart, MultipartError};
use axum::http::StatusCode;
use flate2::write::MultiGzDecoder;
use tokio::sync::mpsc;

use super::Refused;

/// The form's field.
const FIELD: &str = "layout";
/// Endings of files that hold layouts.
const ENDINGS: [&str; 5] = ["gds", "gdsii", "oas", "glp", "png"];
/// Longest name that is shown.
const LONGEST: usize = 100;
/// Pieces that wait for the disk.
const WAITING: usize = 16;

/// A layout that came.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Upload {
    /// Its name, for people: without folders and ending.
    pub name: String,
    /// Where it is.
    pub path: PathBuf,
}

/// Writes a form's field `layout` into a folder, as `layout.gds` or as its ending says.
///
/// # Errors
///
/// [`Refused`] if there is no such field, another one, no such format, or more than `most` bytes, also after it was opened.
pub async fn upload(mut form: Multipart, folder: &Path, most: u64) -> Result<Upload, Refused> {
    let mut taken = None;
    while let Some(field) = form.next_field().await.map_err(refused)? {
        match field.name() {
            Some(FIELD) if taken.is_none() => taken = Some(take(field, folder, most).await?),
            Some(FIELD) => {
                return Err(Refused::bad("the form has two layouts: send them one by one"));
            }
            other => {
                let name = other.unwrap_or("");
                return Err(Refused::bad(format!(
                    "the form has a field {name:?}; expected {FIELD} alone: options go into the address, as ?model=…"
                )));
            }
        }
    }
    taken
        .ok_or_else(|| Refused::bad("the form has no layout: send it as curl -F layout=@FILE does"))
}

async fn take(mut field: Field<'_>, folder: &Path, most: u64) -> Result<Upload, Refused> {
    let sent = field.file_name().unwrap_or_default().to_string();
    let (name, ending, packed) = named(&sent)?;
    let path = folder.join(format!("layout.{ending}"));
    let (pieces, mail) = mpsc::channel(WAITING);
    let file = path.clone();
    let writing = tokio::task::spawn_blocking(move || write(&file, mail, packed, most));
    while let Some(piece) = field.chunk().await.map_err(refused)? {
        // If nobody takes it, the writer says why.
        if pieces.send(piece).await.is_err() {
            break;
        }
    }
    drop(pieces);
    let written = writing.await.map_err(Refused::failed)?;
    written.map_err(|error| match error.kind() {
        io::ErrorKind::FileTooLarge => {
            let text = format!("the layout is more than {most} bytes, the most that is taken");
            Refused::new(StatusCode::PAYLOAD_TOO_LARGE, text)
        }
        io::ErrorKind::InvalidInput | io::ErrorKind::InvalidData | io::ErrorKind::UnexpectedEof => {
            Refused::bad(format!("{sent:?} is no whole gzip stream: {error}"))
        }
        _ => Refused::failed(format!("the layout cannot be kept: {error}")),
    })?;
    Ok(Upload { name, path })
}

/// A client's file name as what is shown, an ending that we know, and whether it is compressed.
fn named(sent: &str) -> Result<(String, &'static str, bool), Refused> {
    let own = sent.rsplit(['/', '\\']).next().unwrap_or_default();
    let (own, packed) = own.strip_suffix(".gz").map_or((own, false), |own| (own, true));
    let (stem, ending) = own.rsplit_once('.').unwrap_or((own, ""));
    let ending = ENDINGS.into_iter().find(|known| known.eq_ignore_ascii_case(ending));
    let ending = ending.ok_or_else(|| {
        Refused::bad(format!(
            "{own:?} has no ending that says what it is: expected .gds, .oas, .glp or .png (with .gz if it is compressed); curl sends \
             it by -F 'layout=@FILE;filename=block.gds'"
        ))
    })?;
    let shown: String = stem.chars().filter(|c| !c.is_control()).take(LONGEST).collect();
    let name = if shown.is_empty() { "layout".into() } else { shown };
    Ok((name, ending, packed))
}

/// A file that takes so many bytes and no more.
struct Bounded {
    file: File,
    room: u64,
}

impl Write for Bounded {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        if bytes.len() as u64 > self.room {
            return Err(io::ErrorKind::FileTooLarge.into());
        }
        let written = self.file.write(bytes)?;
        self.room -= written as u64;
        Ok(written)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.file.flush()
    }
}

fn write(path: &Path, mut mail: mpsc::Receiver<Bytes>, packed: bool, most: u64) -> io::Result<()> {
    let mut file = Bounded { file: File::create(path)?, room: most };
    if packed {
        let mut opened = MultiGzDecoder::new(file);
        while let Some(piece) = mail.blocking_recv() {
            opened.write_all(&piece)?;
        }
        file = opened.finish()?;
    } else {
        while let Some(piece) = mail.blocking_recv() {
            file.write_all(&piece)?;
        }
    }
    file.file.sync_all()
}

fn refused(error: MultipartError) -> Refused {
    Refused::new(error.status(), error.body_text())
}

#[cfg(test)]
mod tests {
    use axum::body::Body;
    use axum::extract::{FromRequest, Request};
    use flate2::Compression;
    use flate2::write::GzEncoder;

    use super::*;

    const EDGE: &str = "----edge";

    fn part(field: &str, file: &str, bytes: &[u8]) -> Vec<u8> {
        let head = format!(
            "--{EDGE}\r\nContent-Disposition: form-data; name=\"{field}\"; filename=\"{file}\"\r\n\r\n"
        );
        [head.as_bytes(), bytes, b"\r\n"].concat()
    }

    async fn send(parts: &[Vec<u8>], folder: &Path, most: u64) -> Result<Upload, Refused> {
        let body = [parts.concat(), format!("--{EDGE}--\r\n").into_bytes()].concat();
        let kind = format!("multipart/form-data; boundary={EDGE}");
        let request = Request::post("/").header("content-type", kind).body(Body::from(body));
        let form = Multipart::from_request(request.expect("a request"), &()).await.expect("a form");
        upload(form, folder, most).await
    }

    fn gzip(bytes: &[u8]) -> Vec<u8> {
        let mut out = GzEncoder::new(Vec::new(), Compression::best());
        out.write_all(bytes).expect("memory");
        out.finish().expect("memory")
    }

    #[tokio::test]
    async fn a_layout_is_kept_under_our_name_whatever_the_clients_is() {
        let folder = tempfile::tempdir().expect("a folder");
        for (sent, name, file) in [
            ("block.gds", "block", "layout.gds"),
            ("BLOCK.OAS", "BLOCK", "layout.oas"),
            ("../../etc/passwd.gds", "passwd", "layout.gds"),
            ("C:\\\\chips\\\\a.b.glp", "a.b", "layout.glp"),
            ("/root/.gds", "layout", "layout.gds"),
            ("..gds", ".", "layout.gds"),
        ] {
            let came = send(&[part("layout", sent, b"abc")], folder.path(), 10).await;
            let wanted = Upload { name: name.into(), path: folder.path().join(file) };
            assert_eq!(came, Ok(wanted.clone()), "{sent}");
            assert_eq!(std::fs::read(&wanted.path).expect("a file"), b"abc");
        }
        let kept: Vec<_> = std::fs::read_dir(folder.path()).expect("a folder").collect();
        assert_eq!(kept.len(), 3, "nothing elsewhere: {kept:?}");
    }

    #[tokio::test]
    async fn what_is_no_single_layout_is_refused_by_name() {
        let folder = tempfile::tempdir().expect("a folder");
        let layout = part("layout", "a.gds", b"abc");
        for (parts, status, named) in [
            (vec![], 400, "no layout"),
            (vec![layout.clone(), layout.clone()], 400, "two layouts"),
            (vec![part("tile", "", b"2048")], 400, "\"tile\""),
            (vec![part("layout", "a.exe", b"abc")], 400, ".gds"),
            (vec![part("layout", "gds", b"abc")], 400, ".gds"),
            (vec![part("layout", "a.gds", b"0123456789_")], 413, "10 bytes"),
            (vec![part("layout", "a.gds.gz", b"no gzip")], 400, "gzip"),
        ] {
            let refused = send(&parts, folder.path(), 10).await.expect_err(named);
            assert_eq!(refused.status, status, "{refused:?}");
            assert!(refused.error.contains(named), "{refused:?}");
        }
    }

    /// A thousandfold: what is opened is counted, not what came.
    #[tokio::test]
    async fn a_compressed_layout_is_opened_up_to_the_limit() {
        let folder = tempfile::tempdir().expect("a folder");
        let bytes = vec![7; 100_000];
        let parts = [part("layout", "a.gds.gz", &gzip(&bytes))];
        let came = send(&parts, folder.path(), 100_000).await.expect("it fits");
        assert_eq!(std::fs::read(came.path).expect("a file"), bytes);
        let refused = send(&parts, folder.path(), 99_999).await.expect_err("a byte too many");
        assert_eq!(refused.status, 413);
        let bomb = [part("layout", "a.gds.gz", &gzip(&vec![0; 1 << 26]))];
        let refused = send(&bomb, folder.path(), 1 << 20).await.expect_err("a bomb");
        assert_eq!(refused.status, 413);
        let kept = std::fs::metadata(folder.path().join("layout.gds")).expect("a file").len();
        assert!(kept <= 1 << 20, "{kept} bytes were written");
    }
}
