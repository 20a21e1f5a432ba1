use super::*;
use crate::config::{Config, JwtAlgorithm, Secret};
use jsonwebtoken::{Algorithm, EncodingKey, Header};
use serde_json::{Value, json};
use std::time::Duration;

const NOW: UnixSeconds = UnixSeconds(1_800_000_000);

const RSA_PRIVATE: &[u8] = include_bytes!("../../tests/auth/keys/rsa.private.pem");
const RSA_PUBLIC: &str = include_str!("../../tests/auth/keys/rsa.public.pem");
const P256_PRIVATE: &[u8] = include_bytes!("../../tests/auth/keys/p256.private.pem");
const ED_PRIVATE: &[u8] = include_bytes!("../../tests/auth/keys/ed25519.private.pem");
const SECRET: &str = "a secret of more than thirty-two bytes";

/// The files that a configuration may name.
fn read(path: &Path) -> Result<String, String> {
    let text = match path.to_str().expect("a plain path") {
        "rsa" => RSA_PUBLIC,
        "p256" => include_str!("../../tests/auth/keys/p256.public.pem"),
        "ed25519" => include_str!("../../tests/auth/keys/ed25519.public.pem"),
        "p384" => include_str!("../../tests/auth/keys/p384.public.pem"),
        "rsa1024" => include_str!("../../tests/auth/keys/rsa1024.public.pem"),
        "rsa private" => std::str::from_utf8(RSA_PRIVATE).expect("PEM is text"),
        "secret" => "a secret of more than thirty-two bytes\n",
        "short" => "secret\n",
        "robot" => "robots-token\n",
        "empty" => "\n",
        _ => return Err("cannot be read: no such file".to_owned()),
    };
    Ok(text.to_owned())
}

fn jwt_config(algorithms: &[JwtAlgorithm], files: &[&str]) -> config::Auth {
    config::Auth {
        kind: AuthKind::Jwt,
        algorithms: algorithms.to_vec(),
        key_files: files.iter().map(Into::into).collect(),
        leeway: Duration::from_secs(10),
        ..config::Auth::default()
    }
}

const ALL: [JwtAlgorithm; 4] =
    [JwtAlgorithm::Hs256, JwtAlgorithm::Rs256, JwtAlgorithm::Es256, JwtAlgorithm::EdDsa];

fn all_algorithms() -> config::Auth {
    jwt_config(&ALL, &["secret", "rsa", "p256", "ed25519"])
}

fn open(config: &config::Auth) -> Auth {
    Auth::open(config, read).expect("a good configuration")
}

fn access(
    auth: &Auth,
    path: &str,
    anonymous: Option<Rights>,
    token: Option<&str>,
) -> Result<Access, Unauthorized> {
    auth.access(&auth.bearer(token, NOW)?, path, anonymous)
}

fn sign(algorithm: Algorithm, key: &EncodingKey, claims: &Value) -> String {
    jsonwebtoken::encode(&Header::new(algorithm), claims, key).expect("a signature")
}

fn hs256(claims: &Value) -> String {
    sign(Algorithm::HS256, &EncodingKey::from_secret(SECRET.as_bytes()), claims)
}

fn claims() -> Value {
    json!({"sub": "ann", "exp": NOW.0 + 60})
}

fn with(changes: Value) -> Value {
    let mut claims = claims();
    let changes = changes.as_object().expect("an object").clone();
    claims.as_object_mut().expect("an object").extend(changes);
    claims
}

/// Why the token is not good at `NOW`; `None` if it is.
fn fault(auth: &Auth, token: &str) -> Option<&'static str> {
    match access(auth, "/", None, Some(token)) {
        Ok(_) => None,
        Err(Unauthorized::BadToken(why)) => Some(why),
        Err(Unauthorized::NoToken) => panic!("there is a token"),
    }
}

#[test]
fn each_algorithm_is_good_with_its_own_key() {
    let keys = [
        (Algorithm::HS256, EncodingKey::from_secret(SECRET.as_bytes())),
        (Algorithm::RS256, EncodingKey::from_rsa_pem(RSA_PRIVATE).expect("a key")),
        (Algorithm::ES256, EncodingKey::from_ec_pem(P256_PRIVATE).expect("a key")),
        (Algorithm::EdDSA, EncodingKey::from_ed_pem(ED_PRIVATE).expect("a key")),
    ];
    let auth = open(&all_algorithms());
    for (number, (algorithm, key)) in keys.iter().enumerate() {
        let token = sign(*algorithm, key, &claims());
        let access = access(&auth, "/", None, Some(&token)).expect("a good token");
        let expected = Access {
            subject: Some("ann".into()),
            rights: Rights::READ_AND_ACT,
            expires_at: Some(UnixSeconds(NOW.0 + 60 + 10)),
        };
        assert_eq!(access, expected, "{algorithm:?}");
        let (signed, signature) = token.rsplit_once('.').expect("three parts");
        let other = if signature.starts_with('A') { "B" } else { "A" };
        let forged = format!("{signed}.{other}{}", &signature[1..]);
        assert!(fault(&auth, &forged).is_some(), "{algorithm:?} with another signature");
        let files = ["secret", "rsa", "p256", "ed25519"];
        let others: Vec<_> = (0..4).filter(|other| *other != number).collect();
        let algorithms: Vec<_> = others.iter().map(|other| ALL[*other]).collect();
        let files: Vec<_> = others.iter().map(|other| files[*other]).collect();
        let without = open(&jwt_config(&algorithms, &files));
        let why = fault(&without, &token);
        assert_eq!(why, Some("its algorithm is not accepted"), "{algorithm:?} without its key");
    }
}

#[test]
fn a_token_that_is_not_good_is_refused_with_the_reason() {
    let auth = open(&all_algorithms());
    let unsigned = |header: &str| {
        use base64::{Engine, prelude::BASE64_URL_SAFE_NO_PAD as BASE64};
        let claims = claims().to_string();
        format!("{}.{}.", BASE64.encode(header), BASE64.encode(claims))
    };
    // The attack: the public key, which everyone has, taken for the secret of an HMAC.
    let confused =
        sign(Algorithm::HS256, &EncodingKey::from_secret(RSA_PUBLIC.trim().as_bytes()), &claims());
    let other_key = sign(Algorithm::HS256, &EncodingKey::from_secret(b"other"), &claims());
    let no_token = "it is no JSON Web Token";
    let not_ours = "its signature is not by a key of this server";
    let missing = "a claim that is needed (sub, exp, and aud or iss if they are set) is missing or \
                   wrong";
    let cases = [
        ("good", hs256(&claims()), None),
        ("with a fraction", hs256(&with(json!({"exp": NOW.0 as f64 + 0.5}))), None),
        ("expired within the leeway", hs256(&with(json!({"exp": NOW.0 - 9}))), None),
        ("expired", hs256(&with(json!({"exp": NOW.0 - 10}))), Some("it has expired")),
        ("for ever", hs256(&with(json!({"exp": 1e300}))), None),
        ("never", hs256(&with(json!({"exp": -1}))), Some("its times are no times")),
        ("exp is text", hs256(&with(json!({"exp": "soon"}))), Some(missing)),
        ("no exp", hs256(&json!({"sub": "ann"})), Some(missing)),
        ("no sub", hs256(&json!({"exp": NOW.0 + 60})), Some(missing)),
        ("sub is a number", hs256(&with(json!({"sub": 5}))), Some(missing)),
        ("valid since", hs256(&with(json!({"nbf": NOW.0 + 10}))), None),
        ("valid later", hs256(&with(json!({"nbf": NOW.0 + 11}))), Some("it is not valid yet")),
        ("for somebody", hs256(&with(json!({"aud": "x"}))), Some("it is for somebody else")),
        ("alg none", unsigned(r#"{"alg":"none"}"#), Some(no_token)),
        ("alg None", unsigned(r#"{"alg":"None"}"#), Some(no_token)),
        ("no signature", unsigned(r#"{"alg":"HS256"}"#), Some(not_ours)),
        ("alg ES384", unsigned(r#"{"alg":"ES384"}"#), Some("its algorithm is not accepted")),
        (
            "crit",
            unsigned(r#"{"alg":"HS256","crit":["x"],"x":"y"}"#),
            Some("it needs something that this server does not know"),
        ),
        ("a public key as a secret", confused, Some(not_ours)),
        ("another secret", other_key, Some(not_ours)),
        ("empty", String::new(), Some(no_token)),
        ("garbage", "garbage".into(), Some(no_token)),
        ("dots", "..".into(), Some(no_token)),
        ("four parts", "a.b.c.d".into(), Some(no_token)),
        ("8 KiB of garbage", "x.".repeat(MAX_TOKEN_BYTES / 2), Some(no_token)),
        ("more than 8 KiB", "x".repeat(MAX_TOKEN_BYTES + 1), Some("it is too long")),
    ];
    for (name, token, expected) in cases {
        assert_eq!(fault(&auth, &token), expected, "{name}");
    }
}

#[test]
fn audience_and_issuer_are_held_to_what_is_set() {
    let auth = open(&config::Auth {
        audience: "statesync".into(),
        issuer: "https://login.example".into(),
        ..all_algorithms()
    });
    let both = |aud: Value, iss: Value| hs256(&with(json!({"aud": aud, "iss": iss})));
    let issuer = || json!("https://login.example");
    let cases = [
        (both(json!("statesync"), issuer()), true),
        (both(json!(["other", "statesync"]), issuer()), true),
        (both(json!("other"), issuer()), false),
        (both(json!(["other"]), issuer()), false),
        (both(json!("statesync"), json!("https://evil.example")), false),
        (hs256(&with(json!({"aud": "statesync"}))), false),
        (hs256(&with(json!({"iss": "https://login.example"}))), false),
        (hs256(&claims()), false),
    ];
    for (number, (token, is_good)) in cases.into_iter().enumerate() {
        assert_eq!(fault(&auth, &token).is_none(), is_good, "case {number}");
    }
}

#[test]
fn a_claim_says_what_the_bearer_may_do_and_where() {
    let auth = open(&all_algorithms());
    let grants = json!([
        {"rooms": ["/", "/games/*"], "rights": ["read", "act"]},
        {"rooms": ["/games/chess"], "rights": ["administer", "fly"]},
        {"rooms": ["no path", "/news"], "rights": ["read"]},
    ]);
    let token = hs256(&with(json!({"statesync": grants})));
    let names = |path| {
        let access = access(&auth, path, None, Some(&token)).expect("a good token");
        access.rights.names().collect::<Vec<_>>().join(" ")
    };
    assert_eq!(names("/"), "read act");
    assert_eq!(names("/games/go"), "read act");
    assert_eq!(names("/games/chess"), "read act administer");
    assert_eq!(names("/news"), "read");
    assert_eq!(names("/chat"), "");
    for wrong in [json!("all"), json!([1]), json!({"rooms": []}), json!([{"rooms": "/"}])] {
        let token = hs256(&with(json!({"statesync": wrong})));
        assert_eq!(fault(&auth, &token), Some("its rights are no list of rights"), "{wrong}");
    }
}

#[test]
fn each_key_is_for_one_algorithm_and_must_be_usable() {
    use JwtAlgorithm::{EdDsa, Es256, Hs256, Rs256};
    let cases: &[(&[JwtAlgorithm], &[&str], &str)] = &[
        (&[Es256], &["rsa"], "a key for RS256, which auth.algorithms does not have"),
        (&[Hs256], &["rsa"], "a key for RS256, which"),
        (&[Rs256], &["secret"], "a key for HS256, which"),
        (&[EdDsa, Es256], &["ed25519"], "none of them is a key for ES256"),
        (&[Es256], &["p384"], "no public key in PEM of RSA, P-256 or Ed25519"),
        (&[Rs256], &["rsa1024"], "an RSA key must have 2048 to 4096 bits"),
        (&[Rs256], &["rsa private"], "this is a private key"),
        (&[Hs256], &["short"], "neither a public key in PEM nor a secret of 32 or more bytes"),
        (&[Hs256], &["gone"], "\"gone\": cannot be read: no such file"),
    ];
    for (algorithms, files, want) in cases {
        let problems = Auth::open(&jwt_config(algorithms, files), read).expect_err(want);
        assert!(problems[0].message.contains(want), "{problems:?}, want {want:?}");
        assert_eq!((problems.len(), problems[0].key.as_str()), (1, "auth.key_files"));
    }
}

/// What a file with these tables after `kind = "token"` says.
fn tokens(tables: &str) -> config::Auth {
    let toml = format!("[auth]\nkind = \"token\"\n{tables}");
    Config::parse("test.toml", &toml, []).expect("good TOML").auth
}

#[test]
fn a_token_has_the_rights_of_its_table() {
    let auth = open(&tokens(
        "[[auth.token]]\ntoken = \"anns-token\"\nsubject = \"ann\"\n\
         [[auth.token]]\ntoken_file = \"robot\"\nsubject = \"robot\"\nrooms = [\"/games/*\"]\n\
         rights = [\"read\"]",
    ));
    let who = |path, token: &str| {
        let access = access(&auth, path, None, Some(token)).ok()?;
        assert_eq!(access.expires_at, None);
        Some((access.subject?, access.rights.names().collect::<Vec<_>>().join(" ")))
    };
    let is = |subject: &str, rights: &str| Some((subject.to_owned(), rights.to_owned()));
    assert_eq!(who("/", "anns-token"), is("ann", "read act"));
    assert_eq!(who("/games/chess", "robots-token"), is("robot", "read"));
    assert_eq!(who("/", "robots-token"), is("robot", ""));
    for wrong in ["", "anns-toke", "anns-token ", "ANNS-TOKEN", "***"] {
        assert_eq!(who("/", wrong), None, "{wrong:?}");
    }
    assert_eq!(access(&auth, "/", None, None), Err(Unauthorized::NoToken));
    assert!(!format!("{auth:?}").contains("anns-token"));
}

#[test]
fn what_is_wrong_with_a_file_of_a_token_is_said() {
    let table = |file: &str| format!("[[auth.token]]\ntoken_file = \"{file}\"\nsubject = \"a\"\n");
    let twice = table("robot").repeat(2);
    let cases = [
        (table("gone"), "test.toml:3:1: auth.token.token_file: \"gone\": cannot be read"),
        (table("empty"), "test.toml:3:1: auth.token.token_file: \"empty\": a token is one or more"),
        (twice, "test.toml:6:1: auth.token.subject: another [[auth.token]] has the same token"),
    ];
    for (tables, want) in cases {
        let problems = Auth::open(&tokens(&tables), read).expect_err(want);
        assert!(problems[0].to_string().starts_with(want), "{problems:?}, want {want:?}");
    }
}

#[test]
fn those_without_a_token_may_what_the_room_says() {
    let read = Rights { read: true, ..Rights::NONE };
    let act = Rights { act: true, ..Rights::NONE };
    let nobody = open(&config::Auth::default());
    let token = config::Token {
        source: TokenSource::Inline(Secret::new("anns-token")),
        subject: "ann".into(),
        rooms: vec!["/".parse().expect("a pattern")],
        rights: act,
        place: Default::default(),
    };
    let kind = AuthKind::Token;
    let asking = open(&config::Auth { kind, tokens: vec![token], ..Default::default() });
    let rights = |auth: &Auth, anonymous, token| {
        access(auth, "/", anonymous, token).map(|access| access.rights)
    };
    assert_eq!(rights(&nobody, None, None), Ok(Rights::READ_AND_ACT));
    assert_eq!(rights(&nobody, Some(read), None), Ok(read));
    assert_eq!(rights(&nobody, None, Some("whatever")), Ok(Rights::READ_AND_ACT));
    assert_eq!(rights(&asking, None, None), Err(Unauthorized::NoToken));
    assert_eq!(rights(&asking, Some(read), None), Ok(read));
    assert_eq!(rights(&asking, Some(act), None), Err(Unauthorized::NoToken));
    assert_eq!(rights(&asking, Some(read), Some("anns-token")), Ok(Rights::READ_AND_ACT));
    let unknown = Err(Unauthorized::BadToken("it is not known"));
    assert_eq!(rights(&asking, Some(read), Some("wrong")), unknown, "it is not nobody's");
}
