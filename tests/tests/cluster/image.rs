//! The image of the product.

use anyhow::{Result, ensure};

use crate::place::prepared;

#[test]
fn the_image_runs_as_a_user_by_number_and_says_what_it_is() -> Result<()> {
    let described = prepared()?.images().inspect()?;
    let config = &described["OCIv1"]["config"];
    assert_eq!(config["User"], "65532:65532", "{config}");
    assert_eq!(config["Entrypoint"][0], "/usr/local/bin/strimzi-backup");
    for label in ["title", "description", "source", "licenses", "version", "revision"] {
        let value = &config["Labels"][format!("org.opencontainers.image.{label}")];
        ensure!(value.as_str().is_some_and(|value| !value.is_empty()), "{label}: {config}");
    }
    Ok(())
}
