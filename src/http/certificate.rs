//! Reads a certificate and its key (PEM, RFC 7468) for the listeners that speak TLS.

use crate::config::Tls;
use rustls::{
    Error, ServerConfig,
    crypto::ring,
    pki_types::{
        CertificateDer, PrivateKeyDer,
        pem::{PemObject, SectionKind},
    },
};
use std::{
    fmt,
    fs::File,
    io::{self, Read},
    path::{Path, PathBuf},
    sync::Arc,
};

/// The largest file that is read. Chains of certificates have some KiB.
const MAX_FILE_BYTES: u64 = 1024 * 1024;

/// Why a certificate, or its key, cannot be used.
#[derive(Debug)]
pub struct TlsError {
    file: PathBuf,
    flaw: Flaw,
}

/// What is wrong with a file.
#[derive(Debug)]
enum Flaw {
    Unreadable(io::Error),
    TooLarge,
    NotPem,
    BadPem(String),
    NoCertificate,
    NoKey { also_looked_at: Option<PathBuf> },
    SeveralKeys,
    EncryptedKey,
    OfAnother { certificate: PathBuf },
    BadCertificate(Error),
    BadKey(Error),
}

impl std::error::Error for TlsError {}

impl fmt::Display for TlsError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let file = self.file.display();
        match &self.flaw {
            Flaw::Unreadable(error) => write!(
                f,
                "{file} cannot be read: {error}; check server.tls.cert and server.tls.key \
                 (`statesync cert` makes a certificate for development)"
            ),
            Flaw::TooLarge => {
                write!(f, "{file} is larger than 1 MiB, so hardly a certificate or a key")
            }
            Flaw::NotPem => write!(
                f,
                "{file} is not PEM, which begins with \"-----BEGIN\"; if it is DER, convert it: \
                 `openssl x509 -inform der -in FILE -out cert.pem`, for a key `openssl pkey`"
            ),
            Flaw::BadPem(what) => {
                write!(f, "{file} is damaged PEM: {what}; copy it again, as a whole")
            }
            Flaw::NoCertificate => write!(
                f,
                "{file} has no certificate; server.tls.cert needs a file with \"-----BEGIN \
                 CERTIFICATE-----\", the server's own first, then those that it is signed with"
            ),
            Flaw::NoKey { also_looked_at: None } => {
                write!(f, "{file} has no private key; set server.tls.key to the file that has it")
            }
            Flaw::NoKey { also_looked_at: Some(certificate) } => write!(
                f,
                "{file} has no private key; set server.tls.key to the file that has it, or leave \
                 it out if {} has both",
                certificate.display()
            ),
            Flaw::SeveralKeys => {
                write!(f, "{file} has several private keys; leave only the one of the certificate")
            }
            Flaw::EncryptedKey => write!(
                f,
                "the key in {file} is encrypted, and nobody is there to type the password; \
                 decrypt it: `openssl pkey -in {file} -out key.pem`, and keep key.pem to yourself"
            ),
            Flaw::OfAnother { certificate } => write!(
                f,
                "the key in {file} does not belong to the certificate in {}; find the key that \
                 the certificate was made with, and make sure that the server's own certificate \
                 stands first",
                certificate.display()
            ),
            Flaw::BadCertificate(error) => {
                write!(f, "the certificate in {file} cannot be used: {error}; get it anew")
            }
            Flaw::BadKey(error) => write!(
                f,
                "the key in {file} cannot be used: {error}; ECDSA on P-256 or P-384, Ed25519, and \
                 RSA from 2048 bits are known"
            ),
        }
    }
}

/// What a PEM file may bring.
#[derive(Default)]
struct Contents {
    certificates: Vec<CertificateDer<'static>>,
    keys: Vec<PrivateKeyDer<'static>>,
    has_encrypted_key: bool,
}

/// What TLS is spoken with, if it is.
///
/// # Errors
/// Which file is wrong, and what to do.
pub fn load(tls: &Tls) -> Result<Option<Arc<ServerConfig>>, TlsError> {
    let Some(cert) = &tls.cert else { return Ok(None) };
    let key = tls.key.as_ref().unwrap_or(cert);
    let flawed = |file: &Path, flaw| TlsError { file: file.into(), flaw };
    let mut contents = read(cert)?;
    if contents.certificates.is_empty() {
        return Err(flawed(cert, Flaw::NoCertificate));
    }
    let mut others = if key == cert { Contents::default() } else { read(key)? };
    let keys = if key == cert { &mut contents } else { &mut others };
    let private_key = match (keys.keys.pop(), keys.keys.is_empty()) {
        (Some(private_key), true) => private_key,
        (Some(_), false) => return Err(flawed(key, Flaw::SeveralKeys)),
        (None, _) if keys.has_encrypted_key => return Err(flawed(key, Flaw::EncryptedKey)),
        (None, _) => {
            let also_looked_at = tls.key.is_some().then(|| cert.clone());
            return Err(flawed(key, Flaw::NoKey { also_looked_at }));
        }
    };
    let provider = Arc::new(ring::default_provider());
    let config = ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .map(|builder| builder.with_no_client_auth())
        .and_then(|builder| builder.with_single_cert(contents.certificates, private_key));
    let mut config = config.map_err(|error| match error {
        Error::InconsistentKeys(_) => flawed(key, Flaw::OfAnother { certificate: cert.clone() }),
        Error::InvalidCertificate(_) => flawed(cert, Flaw::BadCertificate(error)),
        _ => flawed(key, Flaw::BadKey(error)),
    })?;
    // A WebSocket begins with HTTP/1.1, and nothing else is spoken.
    config.alpn_protocols = vec![b"http/1.1".to_vec()];
    Ok(Some(Arc::new(config)))
}

fn read(path: &Path) -> Result<Contents, TlsError> {
    let flawed = |flaw| TlsError { file: path.into(), flaw };
    let mut bytes = Vec::new();
    File::open(path)
        .and_then(|file| file.take(MAX_FILE_BYTES + 1).read_to_end(&mut bytes))
        .map_err(|error| flawed(Flaw::Unreadable(error)))?;
    if bytes.len() as u64 > MAX_FILE_BYTES {
        return Err(flawed(Flaw::TooLarge));
    }
    parse(&bytes).map_err(flawed)
}

fn parse(bytes: &[u8]) -> Result<Contents, Flaw> {
    let has = |text: &str| bytes.windows(text.len()).any(|part| part == text.as_bytes());
    if !has("-----BEGIN ") {
        return Err(Flaw::NotPem);
    }
    // The headers of RFC 1421 that old encrypted keys have are no base64.
    let is_encrypted = has("BEGIN ENCRYPTED PRIVATE KEY") || has("Proc-Type: 4,ENCRYPTED");
    let mut contents = Contents { has_encrypted_key: is_encrypted, ..Contents::default() };
    for section in <(SectionKind, Vec<u8>)>::pem_slice_iter(bytes) {
        match section {
            Ok((SectionKind::Certificate, der)) => contents.certificates.push(der.into()),
            Ok((kind, der)) => contents.keys.extend(PrivateKeyDer::from_pem(kind, der)),
            Err(_) if is_encrypted => {}
            Err(error) => return Err(Flaw::BadPem(error.to_string())),
        }
    }
    Ok(contents)
}

#[cfg(test)]
mod tests;
