//! What librdkafka's own threads call back for: its log, and fresh tokens.
//!
//! Owns: the way of a log line into tracing, and reading a bearer token's file. Does not own: the callbacks' C side
//! ([`super::ffi`]). Invariants: a token is never logged, nor is any text that may quote it.

use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde::Deserialize;

use super::credentials;
use super::ffi::{RefreshToken, Token};

/// How long a token that does not say when it ends is used before its file is read again.
const OPAQUE_TOKEN_LIFE: Duration = Duration::from_secs(300);

/// Hands one line of librdkafka's log to tracing. A connection that breaks is `LOG_ERR` there and mends itself here:
/// whoever waits for the connection reports it, so the line is a warning.
pub(super) fn log(level: i32, facility: &str, line: &str) {
    match level {
        ..=2 => tracing::error!(target: "librdkafka", facility, "{line}"),
        3 | 4 => tracing::warn!(target: "librdkafka", facility, "{line}"),
        5 | 6 => tracing::info!(target: "librdkafka", facility, "{line}"),
        _ => tracing::debug!(target: "librdkafka", facility, "{line}"),
    }
}

/// A callback that reads the token from `file` each time. librdkafka asks at the start and at 80 % of a token's life.
pub(super) fn token_from_file(file: PathBuf) -> RefreshToken {
    Box::new(move || read_token(&file))
}

fn read_token(file: &Path) -> Result<Token, String> {
    let value = credentials::read_text(file).map_err(|fault| fault.to_string())?;
    let now = SystemTime::now();
    let claims = claims(&value).unwrap_or_default();
    let expires = match claims.exp {
        // librdkafka wants whole milliseconds; `as` saturates, and an absurd time is refused there.
        #[allow(clippy::cast_possible_truncation, reason = "saturates")]
        Some(seconds) => (seconds * 1000.0) as i64,
        None => millis_since_epoch(now + OPAQUE_TOKEN_LIFE),
    };
    if expires <= millis_since_epoch(now) {
        return Err(format!("the token in {} has expired", file.display()));
    }
    Ok(Token { value, expires_ms: expires, principal: claims.sub.unwrap_or_else(|| "strimzi-backup".to_owned()) })
}

fn millis_since_epoch(time: SystemTime) -> i64 {
    time.duration_since(UNIX_EPOCH).ok().and_then(|since| i64::try_from(since.as_millis()).ok()).unwrap_or(0)
}

/// What a JSON Web Token says about itself. The broker judges it; here it only tells when to read the next one.
#[derive(Default, Deserialize)]
struct Claims {
    exp: Option<f64>,
    sub: Option<String>,
}

fn claims(token: &str) -> Option<Claims> {
    let payload = token.split('.').nth(1)?;
    serde_json::from_slice(&URL_SAFE_NO_PAD.decode(payload.trim_end_matches('=')).ok()?).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn token(claims: &str) -> String {
        format!("e30.{}.c2ln", URL_SAFE_NO_PAD.encode(claims))
    }

    fn read(content: &str) -> Result<Token, String> {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("token");
        std::fs::write(&file, content).unwrap();
        read_token(&file)
    }

    #[test]
    fn a_token_says_when_it_ends_and_whom_it_is_about() {
        let found = read(&format!("{}\n", token(r#"{"exp":4102444800,"sub":"backup"}"#))).unwrap();
        assert_eq!((found.expires_ms, found.principal.as_str()), (4_102_444_800_000, "backup"));
        assert!(!found.value.ends_with('\n'));
    }

    #[test]
    fn an_opaque_token_is_read_again_soon() {
        let found = read("opaque").unwrap();
        assert!(found.expires_ms > millis_since_epoch(SystemTime::now()));
    }

    #[test]
    fn an_expired_token_is_not_offered_and_not_told() {
        let expired = token(r#"{"exp":1,"sub":"backup"}"#);
        let reason = read(&expired).err().unwrap();
        assert!(reason.ends_with("has expired") && !reason.contains(&expired));
    }
}
