use super::*;
use rcgen::{CertifiedKey, generate_simple_self_signed};

/// An RSA key as PKCS#1, behind its certificate.
const RSA_PKCS1: &str = include_str!("rsa_pkcs1.pem");
/// An EC key as SEC1, before its certificate.
const EC_SEC1: &str = include_str!("ec_sec1.pem");

/// A certificate and its key (PKCS#8).
fn pair() -> (String, String) {
    let CertifiedKey { cert, signing_key } =
        generate_simple_self_signed(["localhost".to_owned()]).expect("a good name");
    (cert.pem(), signing_key.serialize_pem())
}

/// Loads a file with this text as the certificate, and one as the key.
fn load_texts(cert: &str, key: Option<&str>) -> Result<Option<Arc<ServerConfig>>, String> {
    let directory = tempfile::tempdir().expect("a directory");
    let write = |name: &str, text: &str| {
        let file = directory.path().join(name);
        std::fs::write(&file, text).expect("room on the disk");
        file
    };
    let cert = Some(write("cert.pem", cert));
    let key = key.map(|key| write("key.pem", key));
    let shown = |error: TlsError| error.to_string();
    load(&Tls { bind: vec!["localhost:1".into()], cert, key }).map_err(shown)
}

#[test]
fn without_a_certificate_there_is_no_tls() {
    assert!(load(&Tls::default()).expect("nothing to read").is_none());
}

#[test]
fn keys_of_all_forms_are_read_from_a_file_of_their_own_or_the_certificates() {
    let (cert, key) = pair();
    let crlf = |text: &str| text.replace('\n', "\r\n");
    let cases: &[(&str, &str, Option<&str>)] = &[
        ("two files", &cert, Some(&key)),
        ("the certificate first", &format!("{cert}{key}"), None),
        ("the key first", &format!("{key}{cert}"), None),
        ("text around", &format!("subject=/CN=x\n{cert}\nBag Attributes\n{key}\nend"), None),
        ("line ends of Windows", &crlf(&cert), Some(&crlf(&key))),
        ("the same key as well beside the certificate", &format!("{cert}{key}"), Some(&key)),
        ("PKCS#1", RSA_PKCS1, None),
        ("SEC1", EC_SEC1, None),
        (
            "SEC1 with its parameters",
            &format!(
                "-----BEGIN EC PARAMETERS-----\nBggqhkjOPQMBBw==\n-----END EC PARAMETERS-----\n{EC_SEC1}"
            ),
            None,
        ),
        ("a chain", &format!("{cert}{}", pair().0), Some(&key)),
    ];
    for (name, cert, key) in cases {
        let config = load_texts(cert, *key).unwrap_or_else(|error| panic!("{name}: {error}"));
        let config = config.unwrap_or_else(|| panic!("{name}: no TLS"));
        assert_eq!(config.alpn_protocols, [b"http/1.1"], "{name}");
    }
}

#[test]
fn files_that_cannot_be_used_are_named_with_what_to_do() {
    let (cert, key) = pair();
    let encrypted =
        "-----BEGIN ENCRYPTED PRIVATE KEY-----\nMIGj\n-----END ENCRYPTED PRIVATE KEY-----\n";
    let old_encrypted = "-----BEGIN RSA PRIVATE KEY-----\nProc-Type: 4,ENCRYPTED\n\
        DEK-Info: AES-256-CBC,00\n\nMIGj\n-----END RSA PRIVATE KEY-----\n";
    let garbage = "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n";
    let garbage_key = "-----BEGIN PRIVATE KEY-----\nAAAA\n-----END PRIVATE KEY-----\n";
    let (both, other_key) = (format!("{cert}{key}"), pair().1);
    let large = "x".repeat(1024 * 1024 + 1);
    // What stands in the files; the file that is to blame, what is wrong, what to do.
    let cases: &[(&str, Option<&str>, [&str; 3])] = &[
        ("", None, ["cert.pem", "not PEM", "convert it"]),
        ("\u{30}\u{1}DER", Some(&key), ["cert.pem", "not PEM", "convert it"]),
        (&cert, Some("DER"), ["key.pem", "not PEM", "convert it"]),
        (&cert, None, ["cert.pem", "no private key", "set server.tls.key"]),
        (&cert, Some(&cert), ["key.pem", "no private key", "set server.tls.key"]),
        (&key, Some(&key), ["cert.pem", "no certificate", "BEGIN CERTIFICATE"]),
        (&cert, Some(encrypted), ["key.pem", "is encrypted", "openssl pkey"]),
        (&cert, Some(old_encrypted), ["key.pem", "is encrypted", "openssl pkey"]),
        (&format!("{cert}{encrypted}"), None, ["cert.pem", "is encrypted", "openssl pkey"]),
        (&cert, Some(&other_key), ["key.pem", "does not belong", "stands first"]),
        (
            &format!("{}{cert}", pair().0),
            Some(&key),
            ["key.pem", "does not belong", "stands first"],
        ),
        (
            &both,
            Some(&format!("{key}{other_key}")),
            ["key.pem", "several private keys", "leave only"],
        ),
        (&cert[..cert.len() - 30], Some(&key), ["cert.pem", "damaged PEM", "copy it again"]),
        (&cert.replace("MII", "M!I"), Some(&key), ["cert.pem", "damaged PEM", "copy it again"]),
        (garbage, Some(&key), ["cert.pem", "cannot be used", "get it anew"]),
        (&cert, Some(garbage_key), ["key.pem", "cannot be used", "are known"]),
        (&large, None, ["cert.pem", "larger than 1 MiB", "hardly"]),
    ];
    for (cert, key, parts) in cases {
        let what = parts[1];
        let error = load_texts(cert, *key).expect_err(what);
        for part in parts {
            assert!(error.contains(part), "{part:?} is missing in {error:?}");
        }
    }
}

#[test]
fn a_file_that_is_missing_is_named() {
    let cert = Some(PathBuf::from("/nowhere/cert.pem"));
    let error = load(&Tls { cert, ..Tls::default() }).expect_err("there is none").to_string();
    for part in ["/nowhere/cert.pem", "cannot be read", "server.tls.cert", "statesync cert"] {
        assert!(error.contains(part), "{part:?} is missing in {error:?}");
    }
}
