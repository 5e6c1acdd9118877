//! A private CA with a broker certificate and two client certificates, as PEM files.

use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result};

use crate::process::run;

/// The files of one CA. Clients are named `backup` and `admin`; that is also their Kafka principal.
#[derive(Debug, Clone)]
pub struct Certs {
    dir: PathBuf,
}

impl Certs {
    /// Makes a CA and signs certificates for `broker`, `backup` and `admin` in `dir`, valid for localhost.
    pub fn generate(dir: &Path) -> Result<Certs> {
        Certs::generate_for(dir, &[])
    }

    /// The same, valid for more names as well: `DNS:host` or `IP:address`.
    pub fn generate_for(dir: &Path, names: &[&str]) -> Result<Certs> {
        Certs::generate_by("test-ca", dir, names)
    }

    /// The same by a CA of another name, as the one that replaces it has.
    pub fn generate_by(ca: &str, dir: &Path, names: &[&str]) -> Result<Certs> {
        std::fs::create_dir_all(dir)?;
        let certs = Certs { dir: dir.to_owned() };
        let request = ["req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes"];
        let subject = format!("/CN={ca}");
        let files = ["-days", "30", "-subj", &subject, "-keyout", "ca.key", "-out", "ca.crt"];
        certs.openssl(&[&request[..], &files[..]].concat())?;
        let names = [&["DNS:localhost", "IP:127.0.0.1"], names].concat().join(",");
        std::fs::write(certs.dir.join("san.cnf"), format!("subjectAltName={names}\n"))?;
        for name in ["broker", "backup", "admin"] {
            certs.sign(name)?;
        }
        Ok(certs)
    }

    /// Signs one more certificate with the common name `name`.
    pub fn sign(&self, name: &str) -> Result<()> {
        let (key, csr, crt) = (format!("{name}.key"), format!("{name}.csr"), format!("{name}.crt"));
        let subject = format!("/CN={name}");
        let request = ["req", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes"];
        self.openssl(&[&request[..], &["-subj", &subject, "-keyout", &key, "-out", &csr]].concat())?;
        let sign = ["x509", "-req", "-in", &csr, "-CA", "ca.crt", "-CAkey", "ca.key", "-CAcreateserial"];
        self.openssl(&[&sign[..], &["-days", "30", "-extfile", "san.cnf", "-out", &crt]].concat())?;
        // Kafka's PEM store wants the key, as PKCS#8 (which `req -nodes` writes), and the certificate in one file.
        let key = std::fs::read_to_string(self.dir.join(key))?;
        let crt = std::fs::read_to_string(self.dir.join(crt))?;
        std::fs::write(self.dir.join(format!("{name}.pem")), key + &crt).context("write a PEM store")
    }

    /// Gives the CA another certificate of the same key, which lasts longer. What it has signed stays good.
    pub fn renew_ca(&self) -> Result<()> {
        self.openssl(&["x509", "-in", "ca.crt", "-signkey", "ca.key", "-days", "60", "-out", "renewed.crt"])?;
        std::fs::rename(self.dir.join("renewed.crt"), self.ca()).context("put the new certificate in place")
    }

    /// The certificate of the CA.
    pub fn ca(&self) -> PathBuf {
        self.dir.join("ca.crt")
    }

    /// The certificate of `name`.
    pub fn certificate(&self, name: &str) -> PathBuf {
        self.dir.join(format!("{name}.crt"))
    }

    /// The private key of `name`, PKCS#8 without a password.
    pub fn key(&self, name: &str) -> PathBuf {
        self.dir.join(format!("{name}.key"))
    }

    /// Key and certificate of `name` in one file, Kafka's PEM key store.
    pub fn key_store(&self, name: &str) -> PathBuf {
        self.dir.join(format!("{name}.pem"))
    }

    fn openssl(&self, arguments: &[&str]) -> Result<()> {
        run("openssl", Command::new("openssl").args(arguments).current_dir(&self.dir))?;
        Ok(())
    }
}
