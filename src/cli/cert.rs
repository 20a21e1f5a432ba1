//! `statesync cert`: a self-signed certificate for development.

use super::Failure;
use clap::Args;
use rcgen::{
    CertificateParams, DnType, ExtendedKeyUsagePurpose, IsCa, KeyPair, KeyUsagePurpose, SanType,
};
use std::{
    fs::{self, File, OpenOptions},
    io::{self, ErrorKind, Write},
    os::unix::fs::OpenOptionsExt,
    path::{Path, PathBuf},
    process::ExitCode,
    time::{Duration, SystemTime},
};

/// How long the certificate is valid: as long as some browsers take one at all.
const VALID: Duration = Duration::from_secs(365 * 24 * 60 * 60);

/// For clients whose clocks are late.
const VALID_BEFORE: Duration = Duration::from_secs(24 * 60 * 60);

#[derive(Args)]
pub struct CertArguments {
    /// A host name or an IP address by which clients reach the server; may stand several times.
    #[arg(
        short,
        long = "name",
        value_name = "NAME",
        default_values = ["localhost", "127.0.0.1", "::1"]
    )]
    names: Vec<String>,
    /// The directory to write to; made if it is not there.
    #[arg(short, long, value_name = "DIR", default_value = ".")]
    out: PathBuf,
    /// Write over a cert.pem and a key.pem that are there.
    #[arg(long)]
    force: bool,
}

/// Makes `cert.pem` and `key.pem`, and says what to do with them.
pub fn cert(arguments: &CertArguments) -> Result<ExitCode, Failure> {
    let (cert, key) = make(&arguments.names, SystemTime::now()).map_err(Failure::running)?;
    let cert_file = arguments.out.join("cert.pem");
    let key_file = arguments.out.join("key.pem");
    fs::create_dir_all(&arguments.out).map_err(|error| {
        Failure::running(format!("{} cannot be made: {error}", arguments.out.display()))
    })?;
    if !arguments.force
        && let Some(file) = [&cert_file, &key_file].into_iter().find(|file| file.exists())
    {
        return Err(exists(file));
    }
    write(&key_file, &key, 0o600, arguments.force)?;
    write(&cert_file, &cert, 0o644, arguments.force)?;
    // Nobody may be there to read it.
    let _ = writeln!(io::stdout(), "{}", explain(arguments, &cert_file, &key_file));
    Ok(ExitCode::SUCCESS)
}

/// A certificate for `names` and its key, both PEM.
fn make(names: &[String], now: SystemTime) -> Result<(String, String), String> {
    let params = CertificateParams::new(names);
    let mut params = params.map_err(|error| format!("--name: {error}; a name is ASCII"))?;
    let is_wrong = |name: &&SanType| match name {
        SanType::DnsName(name) => !is_host_name(name.as_str()),
        _ => false,
    };
    if let Some(SanType::DnsName(name)) = params.subject_alt_names.iter().find(is_wrong) {
        let name = name.as_str();
        return Err(format!(
            "--name {name:?} is no host name and no IP address: write \"example.com\" or \
             \"192.0.2.1\", without a scheme and without a port"
        ));
    }
    params.not_before = (now - VALID_BEFORE).into();
    params.not_after = (now + VALID).into();
    params.distinguished_name.push(DnType::CommonName, "statesync, for development");
    // It signs nothing but itself: who trusts it trusts no other.
    params.is_ca = IsCa::ExplicitNoCa;
    params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
    params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth];
    let key = KeyPair::generate().map_err(|error| format!("no key can be made: {error}"))?;
    let cert = params.self_signed(&key);
    let cert = cert.map_err(|error| format!("no certificate can be made: {error}"))?;
    Ok((cert.pem(), key.serialize_pem()))
}

/// Letters, digits, dots and hyphens; a whole label may be `*`.
fn is_host_name(name: &str) -> bool {
    let is_label = |label: &str| {
        let is_plain = |c: char| c.is_ascii_alphanumeric() || c == '-' || c == '_';
        label == "*" || (!label.is_empty() && label.chars().all(is_plain))
    };
    name.split('.').all(is_label)
}

fn exists(file: &Path) -> Failure {
    Failure::running(format!(
        "{} is there already: take another --out, or --force to write over it",
        file.display()
    ))
}

fn write(file: &Path, text: &str, mode: u32, force: bool) -> Result<(), Failure> {
    let failure = |error: io::Error| match error.kind() {
        ErrorKind::AlreadyExists => exists(file),
        _ => Failure::running(format!("{} cannot be written: {error}", file.display())),
    };
    if force && let Err(error) = fs::remove_file(file) {
        // A new file has the mode that it should have.
        (error.kind() == ErrorKind::NotFound).then_some(()).ok_or(error).map_err(failure)?;
    }
    let mut options = OpenOptions::new();
    let mut open: File =
        options.write(true).create_new(true).mode(mode).open(file).map_err(failure)?;
    open.write_all(text.as_bytes()).map_err(failure)
}

fn explain(arguments: &CertArguments, cert: &Path, key: &Path) -> String {
    // What TOML takes as it is; a path that is no Unicode must be typed by hand.
    let absolute = |file: &Path| {
        let file = std::path::absolute(file).unwrap_or_else(|_| file.to_owned());
        serde_json::Value::from(file.to_string_lossy()).to_string()
    };
    let name = &arguments.names[0];
    let host = if name.contains(':') { format!("[{name}]") } else { name.clone() };
    format!(
        "{cert} and {key} are for {names}, valid for a year. key.pem is a secret.

In the configuration:

[server.tls]
bind = [\"localhost:6790\"]
cert = {cert_toml}
key = {key_toml}

Nobody trusts this certificate by itself; each client has to be told of it:
  curl      curl --cacert {cert} https://{host}:6790/health/
  Python    ssl.create_default_context(cafile=\"{cert}\"), given as ssl= to websockets.connect
  Node      NODE_EXTRA_CA_CERTS={cert} node client.js
  browser   open https://{host}:6790/ and accept the warning, or import cert.pem
For a server that others use, get a certificate from a certificate authority instead.",
        cert = cert.display(),
        key = key.display(),
        names = arguments.names.join(", "),
        cert_toml = absolute(cert),
        key_toml = absolute(key),
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_hosts_or_addresses() {
        for name in ["localhost", "a.example.com", "*.example.com", "127.0.0.1", "::1"] {
            make(&[name.into()], SystemTime::now()).unwrap_or_else(|e| panic!("{name}: {e}"));
        }
        for name in ["", "https://example.com", "localhost:6790", "a b", "ä.example", "a..b"] {
            let result = make(&[name.into()], SystemTime::now());
            let message = result.expect_err(name);
            assert!(message.contains("--name"), "{name:?}: {message}");
        }
    }
}
