//! Tokens: secrets that name the client who sends them.

use std::path::Path;

use sha2::{Digest, Sha256};
use subtle::{Choice, ConditionallySelectable, ConstantTimeEq};

use super::SecurityError;

/// Least characters of a token: 128 bits as hexadecimal digits are 32, as base64 22.
const LEAST: usize = 16;

/// The tokens that a server accepts.
///
/// A file has one a line, `name:token` or a token alone; `#` begins a comment. Two lines may share a name, so that a token can be
/// replaced while the old one still serves.
#[derive(Clone)]
pub struct Tokens {
    known: Vec<Known>,
}

/// A token's digest, so that comparing takes as long for every length, and memory holds no secret.
#[derive(Clone)]
struct Known {
    name: String,
    digest: [u8; 32],
}

impl std::fmt::Debug for Tokens {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let names: Vec<&str> = self.known.iter().map(|known| known.name.as_str()).collect();
        f.debug_tuple("Tokens").field(&names).finish()
    }
}

impl Tokens {
    /// The tokens of a file.
    ///
    /// # Errors
    ///
    /// [`SecurityError`] if it cannot be read, holds no token, or one that can be guessed; the line is named, the token is not.
    pub fn read(path: &Path) -> Result<Self, SecurityError> {
        let what = "the token file";
        let text = std::fs::read_to_string(path).map_err(|source| SecurityError::Read {
            what,
            path: path.into(),
            source,
        })?;
        Self::parse(&text).map_err(|problem| SecurityError::Secret {
            what,
            path: path.into(),
            problem,
        })
    }

    fn parse(text: &str) -> Result<Self, String> {
        let lines = text.lines().map(str::trim).enumerate();
        let lines = lines.filter(|(_, line)| !line.is_empty() && !line.starts_with('#'));
        let known =
            lines.map(|(index, line)| known(index + 1, line)).collect::<Result<Vec<_>, _>>()?;
        match known.is_empty() {
            true => Err("it holds no token: expected lines of NAME:TOKEN".into()),
            false => Ok(Self { known }),
        }
    }

    /// The name of the client whose token this is. It takes equally long for every wrong one.
    pub fn client(&self, token: &str) -> Option<&str> {
        let digest: [u8; 32] = Sha256::digest(token.as_bytes()).into();
        let mut found = u64::MAX;
        for (index, known) in self.known.iter().enumerate() {
            let equal: Choice = known.digest.ct_eq(&digest);
            found.conditional_assign(&(index as u64), equal);
        }
        self.known.get(usize::try_from(found).ok()?).map(|known| known.name.as_str())
    }
}

fn known(line: usize, text: &str) -> Result<Known, String> {
    let (name, token) =
        text.split_once(':').map_or(("client", text), |(n, t)| (n.trim(), t.trim()));
    if name.is_empty() {
        return Err(format!("line {line} has no name before its colon"));
    }
    if token.chars().count() < LEAST {
        return Err(format!(
            "line {line}: a token needs {LEAST} characters or more; `openssl rand -hex 32` makes a good one"
        ));
    }
    if !token.bytes().all(|byte| byte.is_ascii_graphic()) {
        return Err(format!("line {line}: a token is of visible ASCII characters without spaces"));
    }
    Ok(Known { name: name.into(), digest: Sha256::digest(token.as_bytes()).into() })
}

#[cfg(test)]
mod tests {
    use super::*;

    const FILE: &str = "# the fab\nfab: 0123456789abcdef0123\n\n0123456789abcdefABCD\nfab:another-one-of-the-fab\n";

    #[test]
    fn a_token_names_its_client_and_nothing_else_does() {
        let tokens = Tokens::parse(FILE).expect("three tokens");
        assert_eq!(tokens.client("0123456789abcdef0123"), Some("fab"));
        assert_eq!(tokens.client("another-one-of-the-fab"), Some("fab"));
        assert_eq!(tokens.client("0123456789abcdefABCD"), Some("client"));
        let wrong =
            ["", "fab", "0123456789abcdef012", "0123456789abcdef01234", "0123456789abcdef0124"];
        assert!(wrong.iter().all(|token| tokens.client(token).is_none()));
    }

    #[test]
    fn a_token_file_that_serves_nobody_or_everybody_is_refused_by_line() {
        for (text, wanted) in [
            ("# nothing\n", "no token"),
            ("fab:short\n", "line 1"),
            ("\n:0123456789abcdef0123", "line 2"),
            ("fab:0123456789 abcdef0123", "line 1"),
        ] {
            let refused = Tokens::parse(text).expect_err(text);
            assert!(refused.contains(wanted), "{refused}");
            assert!(!refused.contains("0123456789"), "no secret in a message: {refused}");
        }
        let missing = Tokens::read(Path::new("/no/such/file")).expect_err("missing");
        assert!(missing.to_string().contains("/no/such/file"), "{missing}");
        let shown = format!("{:?}", Tokens::parse(FILE).expect("tokens"));
        assert!(shown.contains("fab") && !shown.contains("0123456789"), "{shown}");
    }
}
