//! Which keys of a Secret are which credentials of a store, and whether one holds a master key.

use std::collections::BTreeMap;

use k8s_openapi::ByteString;
use strimzi_backup_format::crypt::FileKeys;

use crate::api::{CredentialsSecret, StorageType};

/// The keys of a Secret that hold the credentials of a store.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum StoreKeys {
    /// Of S3, one value to a key.
    S3 {
        /// The access key id.
        access: String,
        /// The secret access key.
        secret: String,
        /// The session token of temporary keys.
        session: Option<String>,
    },
    /// Of S3, an AWS credentials file.
    S3File(String),
    /// Of Azure, an account key.
    AzureAccountKey(String),
    /// Of Azure, a shared access signature.
    AzureSas(String),
    /// Of Google Cloud, a service account's key as JSON.
    GcsServiceAccount(String),
}

impl StoreKeys {
    /// All keys that are used.
    pub fn all(&self) -> Vec<&str> {
        match self {
            Self::S3 { access, secret, session } => {
                [Some(access), Some(secret), session.as_ref()].into_iter().flatten().map(String::as_str).collect()
            }
            Self::S3File(key) | Self::AzureAccountKey(key) | Self::AzureSas(key) | Self::GcsServiceAccount(key) => {
                vec![key]
            }
        }
    }
}

/// A Secret does not hold what it is named for. Tells names of keys, never what they hold.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Fault {
    /// The key that was named is not there.
    #[error("Secret {secret:?} has no key {key:?}; it has {present}: name one of them in key, beside its name")]
    NoKey {
        /// The Secret.
        secret: String,
        /// The key.
        key: String,
        /// The keys that there are.
        present: String,
    },
    /// None of the usual keys is there.
    #[error(
        "Secret {secret:?} has none of the usual keys ({usual}); it has {present}: rename them, or name one that holds a \
         whole file in key, beside its name"
    )]
    NoUsualKeys {
        /// The Secret.
        secret: String,
        /// The keys that are looked for.
        usual: &'static str,
        /// The keys that there are.
        present: String,
    },
    /// What is there is no master key.
    #[error(
        "key {key:?} of Secret {secret:?} has {bytes} bytes that are no master key: it is 32 bytes, as they are, as 64 hex digits, \
         or as base64"
    )]
    NoMasterKey {
        /// The Secret.
        secret: String,
        /// The key.
        key: String,
        /// How many bytes it has.
        bytes: usize,
    },
}

const S3_USUAL: &str = "AWS_ACCESS_KEY_ID with AWS_SECRET_ACCESS_KEY, or accessKey with secretKey";
const AZURE_USUAL: &str = "AZURE_STORAGE_KEY, accountKey, AZURE_STORAGE_SAS_TOKEN or sasToken";
const GCS_USUAL: &str = "credentials.json, service-account.json, key.json or GOOGLE_SERVICE_ACCOUNT_KEY";

const S3_PAIRS: [(&str, &str, &str); 4] = [
    ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_SESSION_TOKEN"),
    ("aws_access_key_id", "aws_secret_access_key", "aws_session_token"),
    ("accessKey", "secretKey", "sessionToken"),
    ("access-key-id", "secret-access-key", "session-token"),
];

/// Finds the credentials of a store in the data of a Secret.
///
/// # Errors
/// [`Fault`] where they are not there.
pub fn find(
    kind: StorageType,
    secret: &CredentialsSecret,
    data: &BTreeMap<String, ByteString>,
) -> Result<StoreKeys, Fault> {
    if let Some(key) = &secret.key {
        return Ok(named(kind, key, &of_key(&secret.name, key, data)?.0));
    }
    let has = |key: &str| data.contains_key(key);
    let first = |keys: &[&str]| keys.iter().find(|key| has(key)).map(|key| (*key).to_owned());
    let (found, usual) = match kind {
        StorageType::S3 => (s3_pair(&has), S3_USUAL),
        StorageType::Azure => {
            let account = first(&["AZURE_STORAGE_KEY", "AZURE_STORAGE_ACCOUNT_KEY", "accountKey"]);
            let signature = || first(&["AZURE_STORAGE_SAS_TOKEN", "sasToken"]).map(StoreKeys::AzureSas);
            (account.map(StoreKeys::AzureAccountKey).or_else(signature), AZURE_USUAL)
        }
        StorageType::Gcs => {
            let keys = ["credentials.json", "service-account.json", "key.json", "GOOGLE_SERVICE_ACCOUNT_KEY"];
            (first(&keys).map(StoreKeys::GcsServiceAccount), GCS_USUAL)
        }
    };
    found.ok_or_else(|| Fault::NoUsualKeys { secret: secret.name.clone(), usual, present: present(data) })
}

/// What a Secret holds under a key that somebody named.
///
/// # Errors
/// [`Fault::NoKey`].
pub fn of_key<'a>(secret: &str, key: &str, data: &'a BTreeMap<String, ByteString>) -> Result<&'a ByteString, Fault> {
    let no_key = || Fault::NoKey { secret: secret.to_owned(), key: key.to_owned(), present: present(data) };
    data.get(key).ok_or_else(no_key)
}

/// Finds a master key in a Secret, in one of the forms that pods take.
///
/// # Errors
/// [`Fault::NoKey`], [`Fault::NoMasterKey`].
pub fn master_key(secret: &str, key: &str, data: &BTreeMap<String, ByteString>) -> Result<(), Fault> {
    let content = &of_key(secret, key, data)?.0;
    if FileKeys::is_key(content) {
        return Ok(());
    }
    Err(Fault::NoMasterKey { secret: secret.to_owned(), key: key.to_owned(), bytes: content.len() })
}

/// The keys that there are, for messages.
fn present(data: &BTreeMap<String, ByteString>) -> String {
    match data.len() {
        0 => "none".to_owned(),
        _ => data.keys().map(String::as_str).collect::<Vec<_>>().join(", "),
    }
}

fn s3_pair(has: &impl Fn(&str) -> bool) -> Option<StoreKeys> {
    let (access, secret, session) = S3_PAIRS.iter().find(|(access, secret, _)| has(access) && has(secret))?;
    Some(StoreKeys::S3 {
        access: (*access).to_owned(),
        secret: (*secret).to_owned(),
        session: has(session).then(|| (*session).to_owned()),
    })
}

/// A key that somebody named: a whole file.
fn named(kind: StorageType, key: &str, content: &[u8]) -> StoreKeys {
    let key = key.to_owned();
    match kind {
        StorageType::S3 => StoreKeys::S3File(key),
        // A signature is a query of several parameters; an account key is base64, which has no ampersand.
        StorageType::Azure if content.contains(&b'&') => StoreKeys::AzureSas(key),
        StorageType::Azure => StoreKeys::AzureAccountKey(key),
        StorageType::Gcs => StoreKeys::GcsServiceAccount(key),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn data(keys: &[(&str, &str)]) -> BTreeMap<String, ByteString> {
        keys.iter().map(|(key, value)| ((*key).to_owned(), ByteString(value.as_bytes().to_vec()))).collect()
    }

    fn secret(key: Option<&str>) -> CredentialsSecret {
        CredentialsSecret { name: "creds".to_owned(), key: key.map(str::to_owned) }
    }

    #[test]
    fn the_usual_keys_of_each_store_are_found() {
        let pair = data(&[("accessKey", "a"), ("secretKey", "b")]);
        let found = find(StorageType::S3, &secret(None), &pair).unwrap();
        assert_eq!(found.all(), ["accessKey", "secretKey"]);
        let temporary = data(&[("AWS_ACCESS_KEY_ID", "a"), ("AWS_SECRET_ACCESS_KEY", "b"), ("AWS_SESSION_TOKEN", "c")]);
        assert_eq!(find(StorageType::S3, &secret(None), &temporary).unwrap().all().len(), 3);
        let azure = data(&[("sasToken", "a")]);
        assert_eq!(find(StorageType::Azure, &secret(None), &azure), Ok(StoreKeys::AzureSas("sasToken".to_owned())));
        let gcs = data(&[("key.json", "{}")]);
        let found = find(StorageType::Gcs, &secret(None), &gcs);
        assert_eq!(found, Ok(StoreKeys::GcsServiceAccount("key.json".to_owned())));
    }

    #[test]
    fn a_named_key_is_a_file_in_the_usual_format() {
        let file = data(&[("aws-credentials", "[default]")]);
        let found = find(StorageType::S3, &secret(Some("aws-credentials")), &file);
        assert_eq!(found, Ok(StoreKeys::S3File("aws-credentials".to_owned())));
        let keys = data(&[("sas", "sv=2024&sig=x"), ("account", "aGVsbG8=")]);
        let found = find(StorageType::Azure, &secret(Some("sas")), &keys);
        assert_eq!(found, Ok(StoreKeys::AzureSas("sas".to_owned())));
        let found = find(StorageType::Azure, &secret(Some("account")), &keys);
        assert_eq!(found, Ok(StoreKeys::AzureAccountKey("account".to_owned())));
    }

    #[test]
    fn a_master_key_is_taken_in_each_of_its_forms_and_nothing_else_is() {
        let judge = |content: &[u8]| {
            let data = BTreeMap::from([("aes".to_owned(), ByteString(content.to_vec()))]);
            master_key("sealing", "aes", &data)
        };
        let (hex, base64) = ("0f".repeat(32), format!("{}o", "q".repeat(42)));
        for content in [&[0_u8; 32][..], &[b'\n'; 32][..], hex.as_bytes(), base64.as_bytes()] {
            assert_eq!(judge(content), Ok(()));
        }
        assert_eq!(judge(format!(" {hex}\n").as_bytes()), Ok(()));
        assert_eq!(judge(format!("{base64}=\n").as_bytes()), Ok(()));
        let too_long = [format!("{base64}=="), format!("{base64}q"), "g".repeat(64)];
        for content in ["", "hidden", &hex[1..], &hex[..32], &hex[..43], &too_long[0], &too_long[1], &too_long[2]] {
            let told = judge(content.as_bytes()).unwrap_err().to_string();
            let wanted =
                format!("key \"aes\" of Secret \"sealing\" has {} bytes that are no master key", content.len());
            assert!(told.starts_with(&wanted) && !told.contains("hidden"), "{told}");
        }
        let told = master_key("sealing", "other", &data(&[("aes", "hidden")])).unwrap_err().to_string();
        assert!(told.contains("no key \"other\"; it has aes"), "{told}");
    }

    #[test]
    fn what_is_missing_is_named_and_nothing_that_is_secret() {
        let half = data(&[("AWS_ACCESS_KEY_ID", "hidden")]);
        let error = find(StorageType::S3, &secret(None), &half).unwrap_err().to_string();
        assert!(error.contains("AWS_SECRET_ACCESS_KEY") && error.contains("it has AWS_ACCESS_KEY_ID"), "{error}");
        assert!(!error.contains("hidden"), "{error}");
        let error = find(StorageType::S3, &secret(Some("x")), &BTreeMap::new()).unwrap_err().to_string();
        assert!(error.contains("no key \"x\"; it has none"), "{error}");
    }
}
