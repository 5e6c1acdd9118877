//! What the image is built of. No test builds the stage that compiles, and a file that does not reach it is missed in a
//! release.

use std::path::Path;

use anyhow::{Context, Result, bail, ensure};
use regex::Regex;

use super::{files, read};

/// The members of the workspace that the image holds programs of.
const MEMBERS: [&str; 3] = ["format", "operator", "streamer"];

/// Whether a build gets this file of the clone: of the patterns of .dockerignore, the last one that fits decides.
fn is_sent(ignored: &str, file: &str) -> Result<bool> {
    let mut is_sent = true;
    for line in ignored.lines().filter(|line| !line.is_empty() && !line.starts_with('#')) {
        let (brings_back, pattern) = line.strip_prefix('!').map_or((false, line), |pattern| (true, pattern));
        let is_plain = !pattern.contains(['*', '?', '[', '\\']);
        ensure!(pattern == "*" || is_plain, ".dockerignore has a pattern that this test does not know: {line}");
        if pattern == "*" || Path::new(file).starts_with(pattern) {
            is_sent = brings_back;
        }
    }
    Ok(is_sent)
}

/// What the stage that compiles copies, each to where it was.
fn copied(dockerfile: &str) -> Result<Vec<&str>> {
    let (_, stage) = dockerfile.split_once(" AS build\n").context("no stage of the Dockerfile is named build")?;
    let stage = stage.split("\nFROM ").next().unwrap_or(stage);
    let mut copied = Vec::new();
    for words in stage.lines().filter_map(|line| line.strip_prefix("COPY ")) {
        match words.split_whitespace().collect::<Vec<_>>()[..] {
            [source, target] if source == target => copied.push(source),
            _ => bail!("the Dockerfile copies in a way that this test does not know: {words}"),
        }
    }
    Ok(copied)
}

/// The files that the code of the programs includes, without that of their unit tests, each with the one that names it.
fn included() -> Result<Vec<(String, String)>> {
    let named = Regex::new(r#"\binclude_(?:str|bytes)!\s*\(\s*"([^"]+)"\s*,?\s*\)"#)?;
    let mut found = Vec::new();
    for path in files(&[".rs"])? {
        let is_of_a_program = MEMBERS.iter().any(|member| Path::new(&path).starts_with(member));
        if !is_of_a_program || path.contains("/tests/") || path.ends_with("/tests.rs") {
            continue;
        }
        let text = read(&path)?;
        let code = text.split("#[cfg(test)]\nmod tests {").next().unwrap_or(&text);
        let names: Vec<String> = named.captures_iter(code).map(|named| beside(&path, &named[1])).collect();
        let written = code.matches("include_str!").count() + code.matches("include_bytes!").count();
        ensure!(names.len() == written, "{path} includes a file in a way that this test does not know");
        found.extend(names.into_iter().map(|name| (name, path.clone())));
    }
    Ok(found)
}

/// The path below the root of what a file names as seen from its own folder.
fn beside(path: &str, name: &str) -> String {
    let mut parts: Vec<&str> = path.split('/').collect();
    parts.pop();
    for part in name.split('/') {
        match part {
            "." => {}
            ".." => {
                parts.pop();
            }
            part => parts.push(part),
        }
    }
    parts.join("/")
}

#[test]
fn what_the_programs_include_is_there_where_the_image_is_built() -> Result<()> {
    let (ignored, dockerfile) = (read(".dockerignore")?, read("Dockerfile")?);
    let copied = copied(&dockerfile)?;
    let included = included()?;
    ensure!(included.iter().any(|(file, _)| file == "deploy/install.yaml"), "files are included in another way now");
    let mut faults = Vec::new();
    for (file, by) in included {
        if !is_sent(&ignored, &file)? {
            faults.push(format!(".dockerignore keeps {file} away, which {by} includes"));
        }
        if !copied.iter().any(|source| *source == "." || Path::new(&file).starts_with(source)) {
            faults.push(format!("no COPY of the Dockerfile brings {file}, which {by} includes"));
        }
    }
    ensure!(faults.is_empty(), "the image cannot be built:\n{}", faults.join("\n"));
    Ok(())
}

#[test]
fn the_workflow_tests_in_what_the_image_is_built_in() -> Result<()> {
    let dockerfile = read("Dockerfile")?;
    let rust = dockerfile.lines().find_map(|line| line.strip_prefix("ARG RUST=")).context("the image of Rust")?;
    let workflow = read(".github/workflows/test.yaml")?;
    ensure!(workflow.lines().any(|line| line.trim() == format!("image: {rust}")), "test.yaml has to say image: {rust}");
    Ok(())
}

#[test]
fn the_last_pattern_that_fits_decides_what_a_build_gets() -> Result<()> {
    let ignored = "# All.\n*\n!deploy/install.yaml\n!tests\ntests/parts\n";
    for (file, wanted) in [
        ("README.md", false),
        ("deploy/install.yaml", true),
        ("deploy/install.yaml.old", false),
        ("deploy/grafana/strimzi-backup.json", false),
        ("tests/src/lib.rs", true),
        ("tests/parts/dir.sh", false),
    ] {
        assert_eq!(is_sent(ignored, file)?, wanted, "{file}");
    }
    ensure!(is_sent("**/*.md", "README.md").is_err(), "what it does not know it has to say");
    assert_eq!(copied("FROM a AS build\nCOPY . .\n\nFROM b\nCOPY --from=build /c /\n")?, ["."]);
    ensure!(copied("FROM a AS build\nCOPY format/src src\n").is_err(), "it would lie elsewhere");
    assert_eq!(beside("operator/src/manifests.rs", "../../deploy/install.yaml"), "deploy/install.yaml");
    Ok(())
}
