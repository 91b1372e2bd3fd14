//! Certificates of a test's own: an authority that no system trusts, and a server at `127.0.0.1` that it vouches for.

use std::{
    path::PathBuf,
    process::{Command, Stdio},
};

use super::process::{folder, program};

/// The files, as PEM; gone when dropped.
pub struct Certificates(tempfile::TempDir);

impl Certificates {
    /// Makes an authority, and by it the certificate of a server.
    pub fn make() -> Self {
        let made = Self(folder());
        made.openssl("req -subj /CN=authority -keyout authority.key -out authority.crt");
        made.openssl(
            "req -subj /CN=server -CA authority.crt -CAkey authority.key -keyout server.key -out server.crt \
             -addext subjectAltName=IP:127.0.0.1 -addext basicConstraints=CA:FALSE",
        );
        made
    }

    fn openssl(&self, arguments: &str) {
        let mut command = Command::new(program("openssl"));
        command.current_dir(self.0.path()).args(arguments.split(' '));
        command.args(["-newkey", "ed25519", "-nodes", "-x509"]).stdin(Stdio::null());
        let ran = command.output().expect("openssl runs");
        assert!(ran.status.success(), "{}", String::from_utf8_lossy(&ran.stderr));
    }

    /// The certificate of the authority.
    pub fn authority(&self) -> PathBuf {
        self.0.path().join("authority.crt")
    }

    /// The certificate of the server.
    pub fn server(&self) -> PathBuf {
        self.0.path().join("server.crt")
    }

    /// The key of the server.
    pub fn key(&self) -> PathBuf {
        self.0.path().join("server.key")
    }
}
