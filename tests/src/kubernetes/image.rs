//! Images, built without a registry: from Debian's packages and from programs that are there.

use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result};

use crate::process::run;
use crate::run_dir::RunDir;
use crate::{binary, parts};

/// The image that holds the namespaces of a pod.
pub(super) const PAUSE: &str = "localhost/pause:test";

/// The image of the product.
const PRODUCT: &str = "localhost/strimzi-backup:test";

/// The line of the Dockerfile that its last stage begins with.
const LAST_STAGE: &str = "FROM ${BASE} AS runtime";

/// An image in an archive.
#[derive(Clone, Debug)]
pub struct Image {
    name: String,
    archive: PathBuf,
}

impl Image {
    /// The name that pods have to give.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// The file that it is in.
    pub fn archive(&self) -> &Path {
        &self.archive
    }
}

/// Builds images, in a directory that they stay in.
#[derive(Debug)]
pub struct Builder {
    dir: RunDir,
}

impl Builder {
    /// A builder without images.
    ///
    /// # Errors
    /// Where there is no room for its directory.
    pub fn new() -> Result<Self> {
        Ok(Self { dir: RunDir::new("images")? })
    }

    /// The image that every pod needs.
    ///
    /// # Errors
    /// Where the part is not installed, or buildah fails.
    pub fn pause(&self) -> Result<Image> {
        let node = parts::part("node")?;
        self.bud(PAUSE, &node.join("pause.Dockerfile"), &node, &[])?;
        self.archive(PAUSE)
    }

    /// The image of the product: the last stage of its own Dockerfile with the programs of this build, without what
    /// debuggers read, on a base of the packages that the real one is made of.
    ///
    /// # Errors
    /// Where a program cannot be built, the part is not installed, or buildah fails.
    pub fn product(&self) -> Result<Image> {
        let (node, base) = (parts::part("node")?, "localhost/base:test");
        self.bud(base, &node.join("base.Dockerfile"), &node, &[])?;
        let binaries = self.dir.path().join("binaries");
        std::fs::create_dir_all(&binaries)?;
        for program in [binary::strimzi_backup()?, binary::strimzi_backup_operator()?] {
            let name = program.file_name().context("the name of a program")?;
            let mut strip = Command::new("strip");
            run("strip", strip.arg("-o").arg(binaries.join(name)).arg(&program))?;
        }
        let dockerfile = self.dir.path().join("Dockerfile");
        std::fs::write(&dockerfile, last_stage()?)?;
        let context = format!("binaries={}", binaries.display());
        self.bud(
            PRODUCT,
            &dockerfile,
            &binaries,
            &["--build-context", &context, "--build-arg", &format!("BASE={base}")],
        )?;
        self.archive(PRODUCT)
    }

    /// What the image of the product says of itself.
    ///
    /// # Errors
    /// Where it was not built.
    pub fn inspect(&self) -> Result<serde_json::Value> {
        let described = run("buildah inspect", self.buildah().args(["inspect", "--type", "image", PRODUCT]))?;
        serde_json::from_str(&described).context("decode the description of an image")
    }

    fn bud(&self, name: &str, dockerfile: &Path, context: &Path, arguments: &[&str]) -> Result<()> {
        let mut command = self.buildah();
        command.args(["bud", "--isolation", "chroot", "--pull-never", "--tag", name, "--file"]).arg(dockerfile);
        run(&format!("the build of {name}"), command.args(arguments).arg(context))?;
        Ok(())
    }

    fn archive(&self, name: &str) -> Result<Image> {
        let archive = self.dir.path().join(name.replace(['/', ':'], "-"));
        let target = format!("docker-archive:{}:{name}", archive.display());
        run("buildah push", self.buildah().args(["push", "--quiet", name, &target]))?;
        Ok(Image { name: name.to_owned(), archive })
    }

    /// With its storage in the directory, and what it keeps elsewhere in memory: nothing is left on the machine.
    fn buildah(&self) -> Command {
        let mut command = Command::new("unshare");
        let dir = self.dir.path();
        command.args(["--mount", "sh", "-c", "mount -t tmpfs buildah /var/lib && exec buildah \"$@\"", "buildah"]);
        command.arg("--root").arg(dir.join("storage")).arg("--runroot").arg(dir.join("run"));
        command.args(["--storage-driver", "vfs"]).env("TMPDIR", dir).env("HOME", dir);
        command
    }
}

/// The last stage of the product's Dockerfile, and the argument that it begins with.
fn last_stage() -> Result<String> {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../Dockerfile");
    let text = std::fs::read_to_string(&path).with_context(|| format!("read {}", path.display()))?;
    let (_, stage) = text.split_once(LAST_STAGE).with_context(|| format!("no line is `{LAST_STAGE}`"))?;
    Ok(format!("ARG BASE\n{LAST_STAGE}{stage}"))
}
