//! The check of `MONGO_URI`, the same for both processes: what would only fail later, or never say why, is refused at
//! the start, and the option that is wrong is named.

use futures::FutureExt;
use mongodb::options::{Acknowledgment, ClientOptions, ConnectionString, Tls};
use ticket_shared::config::{BadSetting, Secret};

/// The setting that errors name.
const SETTING: &str = "MONGO_URI";

/// What is wrong with a URI if nothing more can be said of it.
const REFUSED: &str =
    "is not a URI such as mongodb://host:27017/database, or has an option that the driver refuses";

/// Options that this build or the product can't honour, and what to do instead.
const UNUSABLE: [(&str, &str); 4] = [
    (
        "timeoutms",
        "is not supported: leave it out, each operation has a deadline of its own",
    ),
    (
        "sockettimeoutms",
        "is not supported: leave it out, each operation has a deadline of its own",
    ),
    ("proxyhost", "is not supported by this build"),
    ("authmechanism", ""),
];

/// The mechanisms of authentication that are built in.
const MECHANISMS: [&str; 4] = ["SCRAM-SHA-1", "SCRAM-SHA-256", "MONGODB-X509", "PLAIN"];

/// Checks that a URI is one of a MongoDB, that its options can be honoured, and that the files which it names can be
/// read.
///
/// # Errors
/// Names `MONGO_URI` and the option. The driver's own words are not handed on: they may quote the URI, password and
/// all.
pub fn check(uri: &Secret) -> Result<(), BadSetting> {
    let bad = |problem: String| Err(BadSetting::new(SETTING, problem));
    if let Some(problem) = unusable(uri.expose()) {
        return bad(problem);
    }
    let Ok(parsed) = ConnectionString::parse(uri.expose()) else {
        return bad(problem(uri.expose()));
    };
    if parsed
        .write_concern
        .as_ref()
        .and_then(|concern| concern.w.as_ref())
        == Some(&Acknowledgment::Nodes(0))
    {
        return bad("has the option w=0: writes must be acknowledged; leave it out".to_owned());
    }
    match parsed.default_database.as_deref() {
        None => {
            return bad("names no database; write it behind the hosts: \
                        mongodb://host:27017/ticket-system (the name that the former server had)"
                .to_owned());
        }
        Some(own @ ("admin" | "local" | "config")) => {
            return bad(format!(
                "{own} is a database of the server itself; name one for the tickets, such as ticket-system \
                 (and authSource={own} if users are there)"
            ));
        }
        Some(_) => {}
    }
    if let Some(Tls::Enabled(tls)) = &parsed.tls {
        let files = [
            ("tlsCAFile", &tls.ca_file_path),
            ("tlsCertificateKeyFile", &tls.cert_key_file_path),
        ];
        for (option, path) in files {
            if let Some(Err(error)) = path.as_ref().map(std::fs::read) {
                return bad(format!("can't read the file of {option}: {}", error.kind()));
            }
        }
    }
    if uri.expose().starts_with("mongodb+srv") {
        // Its names have to be looked up, which takes a runtime and a name server.
        return Ok(());
    }
    match ClientOptions::parse(uri.expose())
        .into_future()
        .now_or_never()
    {
        Some(Err(_)) => bad(problem(uri.expose())),
        _ => Ok(()),
    }
}

/// The options in a URI: name as written, and value.
fn options(uri: &str) -> impl Iterator<Item = (&str, &str)> {
    let query = uri.split_once('?').map_or("", |(_, query)| query);
    query
        .split(['&', ';'])
        .filter_map(|option| option.split_once('='))
}

fn unusable(uri: &str) -> Option<String> {
    options(uri).find_map(|(name, value)| {
        let (_, instead) = *UNUSABLE
            .iter()
            .find(|(option, _)| name.eq_ignore_ascii_case(option))?;
        if !instead.is_empty() {
            return Some(format!("its option {name} {instead}"));
        }
        let known = MECHANISMS
            .iter()
            .any(|mechanism| value.eq_ignore_ascii_case(mechanism));
        let built_in = MECHANISMS.join(", ");
        (!known)
            .then(|| format!("its option {name} names what is not built in; there are {built_in}"))
    })
}

/// Says why a URI can't be read: each option is tried alone.
fn problem(uri: &str) -> String {
    let Some((scheme @ ("mongodb" | "mongodb+srv"), rest)) = uri.split_once("://") else {
        return "must begin with mongodb:// or mongodb+srv://".to_owned();
    };
    let (place, query) = rest.split_once('?').unwrap_or((rest, ""));
    let parses = |rest: &str| ConnectionString::parse(format!("{scheme}://{rest}")).is_ok();
    if !parses(place) {
        let bare = place.rsplit_once('@').map(|(_, bare)| bare);
        if bare.is_some_and(parses) {
            return "user name and password must be percent-encoded".to_owned();
        }
        return REFUSED.to_owned();
    }
    let refused = query
        .split('&')
        .find(|option| !parses(&format!("{place}?{option}")));
    let name = refused.and_then(|option| option.split_once('='));
    match name {
        Some((name, _)) if name.bytes().all(|byte| byte.is_ascii_alphanumeric()) => {
            format!("the driver refuses its option {name}")
        }
        _ => REFUSED.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_wrong_is_named_and_nothing_is_quoted() {
        for (uri, named) in [
            ("mongodb://h/d?w=0", "w=0"),
            ("mongodb://h/d?timeoutMS=hunter2", "timeoutMS"),
            ("mongodb://h/d?socketTimeoutMS=5000", "socketTimeoutMS"),
            (
                "mongodb://h/d?retryWrites=false&compressors=hunter2",
                "compressors",
            ),
            ("mongodb://h/d?authMechanism=MONGODB-AWS", "authMechanism"),
            ("mongodb://h/d?authMechanism=MONGODB-OIDC", "authMechanism"),
            (
                "mongodb://h/d?readConcernLevel=hunter2&appName=a&tls=maybe",
                "tls",
            ),
            ("mongodb://h/d?maxPoolSize=-1", "maxPoolSize"),
            ("http://hunter2", "begin with"),
            ("mongodb://h", "no database"),
            ("mongodb://h/admin", "authSource"),
            ("mongodb://root:hunter2/x@h/d", "percent-encoded"),
        ] {
            let error = check(&Secret::new(uri)).unwrap_err();
            assert_eq!(error.setting, SETTING);
            assert!(error.problem.contains(named), "{uri}: {error}");
            assert!(!error.problem.contains("hunter2"), "{uri}: {error}");
        }
        for uri in [
            "mongodb://h/d",
            "mongodb://a:b@h:1,i:2/d?replicaSet=r&w=majority&retryWrites=false",
            "mongodb://h/d?compressors=zstd",
            "mongodb+srv://cluster.example.net/d",
        ] {
            assert_eq!(check(&Secret::new(uri)), Ok(()), "{uri}");
        }
    }
}
