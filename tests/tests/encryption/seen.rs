//! Where a text or a key is to be seen, in whatever form it is written.

use std::collections::{BTreeMap, BTreeSet};
use std::io::Read as _;
use std::path::Path;

use anyhow::Result;
use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD_NO_PAD, URL_SAFE_NO_PAD};
use regex::bytes::RegexSet;
use zstd::stream::Decoder;

/// What each frame of zstd begins with.
const ZSTD: [u8; 4] = [0x28, 0xb5, 0x2f, 0xfd];

/// The most that is unpacked of a frame: what is random may claim anything.
const MOST: u64 = 16 << 20;

/// What is looked for: as it is, in hex, in base64 wherever that begins, and as a list of numbers.
#[derive(Debug)]
pub(super) struct Wanted {
    names: Vec<String>,
    forms: RegexSet,
}

impl Wanted {
    /// These texts, each under its own name.
    pub(super) fn texts(texts: &[&str]) -> Result<Self> {
        Self::of(texts.iter().map(|text| ((*text).to_owned(), text.as_bytes().to_vec())))
    }

    /// Keys under their names, and each quarter of them.
    pub(super) fn keys(keys: &[(String, Vec<u8>)]) -> Result<Self> {
        Self::of(keys.iter().flat_map(|(name, key)| key.chunks(8).map(|part| (name.clone(), part.to_vec()))))
    }

    fn of(wanted: impl Iterator<Item = (String, Vec<u8>)>) -> Result<Self> {
        let (mut names, mut patterns) = (Vec::new(), Vec::new());
        for (name, bytes) in wanted {
            for form in forms(&bytes) {
                names.push(name.clone());
                let escaped: String = form.iter().map(|byte| format!("\\x{byte:02x}")).collect();
                patterns.push(format!("(?-u){escaped}"));
            }
        }
        Ok(Self { names, forms: RegexSet::new(patterns)? })
    }

    /// The names of those that are seen in some bytes, or in what is compressed there.
    pub(super) fn seen_in(&self, bytes: &[u8]) -> BTreeSet<&str> {
        let seen = |bytes: &[u8]| self.forms.matches(bytes).iter().map(|form| self.names[form].as_str()).collect();
        let mut all: BTreeSet<&str> = seen(bytes);
        for (at, _) in bytes.windows(ZSTD.len()).enumerate().filter(|(_, begin)| *begin == ZSTD) {
            all.extend(seen(&unpacked(&bytes[at..])));
        }
        all
    }

    /// The same of all files below a directory and of their names, each with one of the files.
    pub(super) fn seen_below(&self, dir: &Path) -> Result<BTreeMap<&str, String>> {
        let mut all = BTreeMap::new();
        for path in super::files(dir)? {
            let name = path.strip_prefix(dir)?.display().to_string();
            let seen = [self.seen_in(&std::fs::read(&path)?), self.seen_in(name.as_bytes())];
            all.extend(seen.into_iter().flatten().map(|seen| (seen, name.clone())));
        }
        Ok(all)
    }
}

/// In which forms bytes may be written.
fn forms(bytes: &[u8]) -> Vec<Vec<u8>> {
    let hex: String = bytes.iter().map(|byte| format!("{byte:02x}")).collect();
    let numbers: Vec<String> = bytes.iter().map(u8::to_string).collect();
    let mut forms = vec![bytes.to_vec(), hex.to_uppercase().into_bytes(), hex.into_bytes()];
    forms.extend([", ", ","].map(|between| numbers.join(between).into_bytes()));
    for skipped in 0..3 {
        // Without its ends, which what stands beside it decides with.
        let rest = &bytes[skipped.min(bytes.len())..];
        let whole = &rest[..rest.len() / 3 * 3];
        forms.extend([STANDARD_NO_PAD.encode(whole), URL_SAFE_NO_PAD.encode(whole)].map(String::into_bytes));
    }
    forms
}

/// What the frame at the beginning of these bytes holds, as far as it is one.
fn unpacked(bytes: &[u8]) -> Vec<u8> {
    let mut plain = Vec::new();
    if let Ok(decoder) = Decoder::new(bytes) {
        // What came before an error is looked at like the rest.
        let _read = decoder.single_frame().take(MOST).read_to_end(&mut plain);
    }
    plain
}

#[test]
fn a33_what_is_looked_for_is_seen_in_every_form() -> Result<()> {
    let (text, key) = ("planted-value-of-a-record", (0x90..0xb0).collect::<Vec<u8>>());
    let wanted = Wanted::texts(&[text, "another-text-that-is-nowhere"])?;
    let keys = Wanted::keys(&[("the key".to_owned(), key.clone())])?;
    for begin in ["", "a", "ab"] {
        let within = format!("{begin}{text}, and more");
        let hex: String = within.bytes().map(|byte| format!("{byte:02x}")).collect();
        let shown = [
            within.clone().into_bytes(),
            hex.into_bytes(),
            STANDARD_NO_PAD.encode(&within).into_bytes(),
            [&b"before "[..], &zstd::encode_all(within.as_bytes(), 1)?, b" after"].concat(),
        ];
        for bytes in shown {
            assert_eq!(wanted.seen_in(&bytes), BTreeSet::from([text]), "{}", String::from_utf8_lossy(&bytes));
        }
        let shown = [begin.as_bytes(), &key[8..], b"and more"].concat();
        for bytes in [format!("{shown:?}").into_bytes(), STANDARD_NO_PAD.encode(&shown).into_bytes(), shown] {
            assert_eq!(keys.seen_in(&bytes), BTreeSet::from(["the key"]), "{}", String::from_utf8_lossy(&bytes));
        }
    }
    assert!(wanted.seen_in(b"planted-value-of-a-recor").is_empty() && keys.seen_in(text.as_bytes()).is_empty());
    Ok(())
}
