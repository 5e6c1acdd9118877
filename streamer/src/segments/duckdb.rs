//! The `duckdb` form: SQL that tells DuckDB how the store is reached, and reads exactly the slice.
//!
//! Files of which all rows count are read in one list. A file with retired rows is read apart, by the offsets of its live runs:
//! what is retired in it a base may have as well.
//!
//! No credential is ever part of it: DuckDB looks for them itself, as the providers' own tools do. Where it cannot, an SQL
//! comment says what to fill in.

use std::fmt;

use strimzi_backup_format::job::{Azure, AzureCredentials, Gcs, Location, S3, S3Credentials};
use strimzi_backup_format::layout::ObjectKey;
use strimzi_backup_format::store::Store;

use super::{Entry, RunEntry, Slice, location};

/// The columns as DuckDB reads them, for a slice without a file: `read_parquet` refuses an empty list.
const NO_ROWS: &str = "SELECT NULL::VARCHAR AS topic, NULL::INTEGER AS lineage, NULL::INTEGER AS partition, \
    NULL::BIGINT AS \"offset\", NULL::TIMESTAMPTZ AS \"timestamp\", NULL::VARCHAR AS timestamp_type, \
    NULL::BLOB AS \"key\", NULL::BLOB AS \"value\", NULL::STRUCT(\"key\" VARCHAR, \"value\" BLOB)[] AS headers, \
    NULL::BLOB AS headers_raw, NULL::BIGINT AS timestamp_raw WHERE false;\n";

/// Only some of the paths are in Hive style: what they say is in the columns of every file anyway.
const BY_COLUMNS: &str = "hive_partitioning = false";

/// The region of a store that has none, which is the one it is signed for.
const DEFAULT_REGION: &str = "us-east-1";

/// What is printed for a slice.
pub(super) struct Script<'a> {
    pub(super) store: &'a Store,
    pub(super) place: &'a Location,
    pub(super) slice: &'a Slice,
    pub(super) entries: &'a [Entry],
}

impl fmt::Display for Script<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.entries.is_empty() {
            return f.write_str(NO_ROWS);
        }
        match self.place {
            Location::Filesystem(_) => {}
            Location::S3(s3) => f.write_str(&s3_access(s3, &self.scope()))?,
            Location::Azure(azure) => f.write_str(&azure_access(azure, &self.scope()))?,
            Location::Gcs(gcs) => f.write_str(&gcs_access(gcs, &self.scope()))?,
        }
        self.query(f)
    }
}

impl Script<'_> {
    fn query(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let slice = self.slice;
        let (cut, whole): (Vec<&Entry>, Vec<&Entry>) = self.entries.iter().partition(|entry| entry.holds_retired);
        if cut.is_empty() {
            f.write_str(&self.read_whole(&whole, ""))?;
        } else {
            let whole = (!whole.is_empty()).then(|| self.read_whole(&whole, "  "));
            let reads: Vec<String> =
                whole.into_iter().chain(cut.into_iter().map(|entry| self.read_live(entry))).collect();
            // No other line may begin with `SELECT`: who makes a view of it puts the view's name before that word.
            write!(f, "SELECT * FROM (\n{}\n)", reads.join("\n  UNION ALL\n"))?;
        }
        let mut conditions = Vec::new();
        if !slice.topics.is_empty() {
            let names: Vec<String> = slice.topics.iter().map(|topic| format!("'{topic}'")).collect();
            conditions.push(format!("topic IN ({})", names.join(", ")));
        }
        conditions.extend(slice.from.map(|from| format!("\"timestamp\" >= TIMESTAMPTZ '{}'", from.to_rfc3339())));
        conditions.extend(slice.to.map(|to| format!("\"timestamp\" < TIMESTAMPTZ '{}'", to.to_rfc3339())));
        if !conditions.is_empty() {
            write!(f, "\nWHERE {}", conditions.join("\n  AND "))?;
        }
        f.write_str(";\n")
    }

    /// Reads every row of these.
    fn read_whole(&self, entries: &[&Entry], indent: &str) -> String {
        let paths = entries.iter().map(|entry| format!("{indent}  {}", quoted(&self.path(&entry.object))));
        let paths = paths.collect::<Vec<_>>().join(",\n");
        format!("{indent}SELECT * FROM read_parquet([\n{paths}\n{indent}], {BY_COLUMNS})")
    }

    /// Reads the rows of one file that are live, of the runs that overlap the slice.
    fn read_live(&self, entry: &Entry) -> String {
        let path = quoted(&self.path(&entry.object));
        let runs = entry.runs.iter().map(condition).collect::<Vec<_>>().join("\n     OR ");
        format!("  SELECT * FROM read_parquet({path}, {BY_COLUMNS})\n  WHERE {runs}")
    }

    fn path(&self, object: &ObjectKey) -> String {
        match self.place {
            Location::Azure(azure) if needs_connection_string(azure) => {
                format!("az://{}/{}", azure.container, object.below(&self.store.prefix))
            }
            _ => location(self.store, object),
        }
    }

    /// What the paths have in common: a secret of this scope touches no other store.
    fn scope(&self) -> String {
        let object = self.entries.first().map(|entry| &entry.object);
        object.map_or_else(String::new, |object| self.path(object).trim_end_matches(object.as_str()).to_owned())
    }
}

/// What holds for the rows of a run.
fn condition(run: &RunEntry) -> String {
    let RunEntry { topic, lineage, partition, range, .. } = run;
    let (base, next) = (range.base(), range.next_offset());
    format!(
        "(topic = '{topic}' AND lineage = {lineage} AND \"partition\" = {partition} AND \"offset\" >= {base} AND \
         \"offset\" < {next})"
    )
}

fn s3_access(s3: &S3, scope: &str) -> String {
    let mut sql = String::from(
        "-- With DuckDB's extensions httpfs and aws. Keys are looked for as AWS's tools do: environment, files, roles.\n",
    );
    match &s3.credentials {
        S3Credentials::Environment => {}
        S3Credentials::KeyFiles { .. } => {
            sql.push_str(
                "-- Those of the job: AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, set to what its files hold.\n",
            );
        }
        S3Credentials::CredentialsFile(file) => {
            sql.push_str(&format!("-- Those of the job: AWS_SHARED_CREDENTIALS_FILE={}\n", one_line(file)));
        }
    }
    let region = s3.known_region().unwrap_or_else(|| DEFAULT_REGION.to_owned());
    let mut options = vec![
        "TYPE s3".to_owned(),
        "PROVIDER credential_chain".to_owned(),
        format!("SCOPE {}", quoted(scope)),
        format!("REGION {}", quoted(&region)),
        format!("URL_STYLE '{}'", if s3.virtual_hosted_style { "vhost" } else { "path" }),
    ];
    if let Some(endpoint) = &s3.endpoint {
        options.push(format!("ENDPOINT {}", quoted(host(endpoint))));
        options.push(format!("USE_SSL {}", !s3.allow_http()));
    }
    sql.push_str(&secret(&options));
    if let Some(file) = &s3.ca_file {
        sql.push_str(&format!("SET ca_cert_file = {};\n", quoted(&file.display().to_string())));
    }
    sql
}

/// DuckDB's credential chain takes neither a key nor a signature, and goes to Azure's own endpoint.
fn needs_connection_string(azure: &Azure) -> bool {
    azure.endpoint.is_some() || azure.credentials != AzureCredentials::Environment
}

fn azure_access(azure: &Azure, scope: &str) -> String {
    let account = &azure.storage_account;
    if needs_connection_string(azure) {
        let endpoint = azure.endpoint.clone().unwrap_or_else(|| format!("https://{account}.blob.core.windows.net"));
        let key = match azure.credentials {
            AzureCredentials::SasTokenFile(_) => "SharedAccessSignature=<signature>".to_owned(),
            _ => format!("AccountName={account};AccountKey=<key>"),
        };
        let connection = quoted(&format!("BlobEndpoint={endpoint};{key}"));
        let options =
            ["TYPE azure".to_owned(), format!("SCOPE {}", quoted(scope)), format!("CONNECTION_STRING {connection}")];
        return commented("With DuckDB's extension azure. Fill in what no output shows, and run this first:", &options);
    }
    let options = [
        "TYPE azure".to_owned(),
        "PROVIDER credential_chain".to_owned(),
        format!("SCOPE {}", quoted(scope)),
        format!("ACCOUNT_NAME {}", quoted(account)),
    ];
    let comment = "-- With DuckDB's extension azure. Credentials are looked for as Azure's tools do.\n".to_owned();
    comment + &secret(&options)
}

fn gcs_access(gcs: &Gcs, scope: &str) -> String {
    let mut options = vec!["TYPE gcs".to_owned(), format!("SCOPE {}", quoted(scope))];
    if let Some(endpoint) = &gcs.endpoint {
        options.push(format!("ENDPOINT {}", quoted(host(endpoint))));
        options.push(format!("USE_SSL {}", !gcs.allow_http()));
    }
    options.push("KEY_ID '<id>'".to_owned());
    options.push("SECRET '<secret>'".to_owned());
    let what = "With DuckDB's extension httpfs, which wants an HMAC key. Fill it in, and run this first:";
    commented(what, &options)
}

fn secret(options: &[String]) -> String {
    format!("CREATE OR REPLACE SECRET strimzi_backup (\n  {}\n);\n", options.join(",\n  "))
}

fn commented(what: &str, options: &[String]) -> String {
    format!("{what}\n{}", secret(options)).lines().map(|line| format!("-- {line}\n")).collect()
}

fn quoted(text: &str) -> String {
    format!("'{}'", text.replace('\'', "''"))
}

/// A path in a comment must not end it.
fn one_line(path: &std::path::Path) -> String {
    path.display().to_string().replace(char::is_control, " ")
}

fn host(endpoint: &str) -> &str {
    endpoint.split_once("://").map_or(endpoint, |(_, host)| host)
}

#[cfg(test)]
mod tests {
    use std::path::PathBuf;

    use object_store::path::Path;
    use strimzi_backup_format::ids::{Lineage, Offset, PartitionId, TimestampMs, TopicName};
    use strimzi_backup_format::job::Job;
    use strimzi_backup_format::offset_range::OffsetRange;
    use strimzi_backup_format::store::Kind;

    use super::*;

    fn entries() -> Vec<Entry> {
        let keys = [
            "intake/2026-02-13/07/0000-0000000003-00000000000000000042-0000.parquet",
            "topics/topic=orders/date=2026-02-13/hour=07/0000-0000000003-00000000000000000042-0001.parquet",
        ];
        let key = |text: &str| ObjectKey::try_from(text.to_owned()).expect("a segment's key");
        keys.map(|object| Entry { object: key(object), bytes: 9, runs: Vec::new(), holds_retired: false }).to_vec()
    }

    fn place(storage: &str) -> Location {
        let job: Job = format!("{{cluster: {{bootstrapServers: 'a:1'}}, storage: {storage}}}").parse().expect("a job");
        job.storage.location
    }

    /// The lines before the query.
    fn access(kind: Kind, description: &str, storage: &str) -> String {
        let store = Store { kind, description: description.to_owned(), prefix: Path::from("p"), ..Store::memory() };
        let place = place(storage);
        let sql =
            Script { store: &store, place: &place, slice: &Slice::default(), entries: &entries()[..1] }.to_string();
        let (access, query) = sql.split_once("SELECT").expect("a query");
        format!("{access}{}", query.lines().nth(1).expect("a path"))
    }

    #[test]
    fn the_statement_reads_the_slice_and_quotes_what_it_must() {
        let slice = Slice {
            topics: vec![TopicName::new("orders").expect("topic")],
            from: Some(TimestampMs::new(1_770_966_000_000)),
            to: Some(TimestampMs::new(1_770_966_000_250)),
        };
        let place = place("{type: filesystem, filesystem: {path: \"/o'hara\"}}");
        let kind = Kind::Filesystem(PathBuf::from("/o'hara"));
        let store = Store { kind, description: "file:///o'hara".to_owned(), ..Store::memory() };
        let sql = Script { store: &store, place: &place, slice: &slice, entries: &entries() }.to_string();
        assert_eq!(
            sql,
            "SELECT * FROM read_parquet([\n  \
             '/o''hara/intake/2026-02-13/07/0000-0000000003-00000000000000000042-0000.parquet',\n  \
             '/o''hara/topics/topic=orders/date=2026-02-13/hour=07/0000-0000000003-00000000000000000042-0001.parquet'\n\
             ], hive_partitioning = false)\n\
             WHERE topic IN ('orders')\n  AND \"timestamp\" >= TIMESTAMPTZ '2026-02-13T07:00:00.000Z'\n  \
             AND \"timestamp\" < TIMESTAMPTZ '2026-02-13T07:00:00.250Z';\n"
        );
        let none = Script { store: &store, place: &place, slice: &slice, entries: &[] }.to_string();
        assert!(none.contains("WHERE false"), "{none}");
    }

    fn run(partition: i32, base: i64, next: i64) -> RunEntry {
        RunEntry {
            topic: TopicName::new("orders").expect("topic"),
            lineage: Lineage::new(1),
            partition: PartitionId::new(partition),
            range: OffsetRange::new(Offset::new(base), Offset::new(next)).expect("legal range"),
            rows: 1,
            min_timestamp: TimestampMs::new(0),
            max_timestamp: TimestampMs::new(0),
        }
    }

    #[test]
    fn of_a_file_with_retired_rows_the_statement_reads_what_is_live() {
        let place = place("{type: filesystem, filesystem: {path: /b}}");
        let store = Store { kind: Kind::Filesystem(PathBuf::from("/b")), ..Store::memory() };
        let slice = Slice { topics: vec![TopicName::new("orders").expect("topic")], ..Slice::default() };
        let sql = |entries: &[Entry]| Script { store: &store, place: &place, slice: &slice, entries }.to_string();
        let [whole, mut cut] = <[Entry; 2]>::try_from(entries()).expect("two");
        cut.holds_retired = true;
        cut.runs = vec![run(0, 40, 60), run(3, 0, 7)];
        let live = "  SELECT * FROM read_parquet('/b/topics/topic=orders/date=2026-02-13/hour=07/\
                    0000-0000000003-00000000000000000042-0001.parquet', hive_partitioning = false)\n  \
                    WHERE (topic = 'orders' AND lineage = 1 AND \"partition\" = 0 AND \
                    \"offset\" >= 40 AND \"offset\" < 60)\n     \
                    OR (topic = 'orders' AND lineage = 1 AND \"partition\" = 3 AND \
                    \"offset\" >= 0 AND \"offset\" < 7)";
        assert_eq!(
            sql(&[whole.clone(), cut.clone(), whole]),
            format!(
                "SELECT * FROM (\n  SELECT * FROM read_parquet([\n    \
                 '/b/intake/2026-02-13/07/0000-0000000003-00000000000000000042-0000.parquet',\n    \
                 '/b/intake/2026-02-13/07/0000-0000000003-00000000000000000042-0000.parquet'\n  \
                 ], hive_partitioning = false)\n  UNION ALL\n{live}\n)\nWHERE topic IN ('orders');\n"
            )
        );
        assert_eq!(
            sql(&[cut]),
            format!("SELECT * FROM (\n{live}\n)\nWHERE topic IN ('orders');\n"),
            "no list is empty"
        );
    }

    #[test]
    fn s3_is_reached_as_the_job_says_and_no_key_is_shown() {
        let compatible = "{type: s3, s3: {bucket: backup, prefix: p, region: eu-1, endpoint: 'http://10.0.0.1:9000', \
                          credentialsFile: /keys/credentials, caFile: /ca.pem}}";
        insta::assert_snapshot!(access(Kind::S3, "s3://backup/p", compatible));
        let amazon = "{type: s3, s3: {bucket: backup, prefix: p, region: eu-central-1, virtualHostedStyle: true}}";
        insta::assert_snapshot!(access(Kind::S3, "s3://backup/p", amazon));
    }

    #[test]
    fn azure_and_google_say_what_to_fill_in() {
        let own = "{type: azure, azure: {container: backup, storageAccount: account, prefix: p}}";
        insta::assert_snapshot!(access(Kind::Azure, "azure://account/backup/p", own));
        let key = "{type: azure, azure: {container: backup, storageAccount: account, prefix: p, accountKeyFile: /key}}";
        insta::assert_snapshot!(access(Kind::Azure, "azure://account/backup/p", key));
        let google = "{type: gcs, gcs: {bucket: backup, prefix: p}}";
        insta::assert_snapshot!(access(Kind::Gcs, "gs://backup/p", google));
    }
}
