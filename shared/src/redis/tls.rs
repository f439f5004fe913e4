//! Which certificates a TLS connection to Redis trusts: the system's, or those of a file.
//!
//! The file's path travels inside the URL, as MongoDB has it (`tlsCAFile`), so that every client that is made of
//! the URL trusts the same ones.

use std::path::Path;

use fred::{
    rustls::{
        ClientConfig, RootCertStore,
        pki_types::{CertificateDer, pem::PemObject},
    },
    types::config::TlsConnector,
};

use crate::config::{BadSetting, Secret};

const SETTING: &str = "REDIS_CA_FILE";
const PARAMETER: &str = "tlsCAFile=";

/// The URL, of a server whose certificate must come from an authority in this file.
///
/// # Errors
/// Names `REDIS_CA_FILE` where the URL asks for no TLS, or the path can't stand in a URL.
pub fn trusting(url: &Secret, path: &Path) -> Result<Secret, BadSetting> {
    let text = url.expose();
    if !text.starts_with("rediss") {
        return Err(BadSetting::new(
            SETTING,
            "needs a REDIS_URL that begins with rediss",
        ));
    }
    let path = path.to_str().filter(|path| !path.contains(['&', '?', '#']));
    let path = path.ok_or_else(|| BadSetting::new(SETTING, "must be UTF-8 without &, ? and #"))?;
    let glue = if text.contains('?') { '&' } else { '?' };
    Ok(Secret::new(format!("{text}{glue}{PARAMETER}{path}")))
}

/// Takes the path out of a URL again: the URL without it, and the path.
pub(super) fn split(url: &str) -> (String, Option<&str>) {
    let Some((address, query)) = url.split_once('?') else {
        return (url.to_owned(), None);
    };
    let path = query
        .split('&')
        .find_map(|each| each.strip_prefix(PARAMETER));
    let others: Vec<_> = query
        .split('&')
        .filter(|each| !each.starts_with(PARAMETER))
        .collect();
    let rest = match others.as_slice() {
        [] => address.to_owned(),
        others => format!("{address}?{}", others.join("&")),
    };
    (rest, path)
}

/// A connector that trusts the authorities in this file and no others.
///
/// # Errors
/// Names `REDIS_CA_FILE` where it can't be read or holds no certificate.
pub(super) fn connector(path: &str) -> Result<TlsConnector, BadSetting> {
    let pem = std::fs::read(path).map_err(|error| {
        BadSetting::new(SETTING, format!("can't read the file: {}", error.kind()))
    })?;
    let wrong = || BadSetting::new(SETTING, "must hold certificates in the PEM format");
    let mut trusted = RootCertStore::empty();
    for certificate in CertificateDer::pem_slice_iter(&pem) {
        let certificate = certificate.map_err(|_| wrong())?;
        trusted.add(certificate).map_err(|_| wrong())?;
    }
    if trusted.is_empty() {
        return Err(wrong());
    }
    let config = ClientConfig::builder()
        .with_root_certificates(trusted)
        .with_no_client_auth();
    Ok(config.into())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_file_goes_into_the_url_and_out_again() {
        for url in ["rediss://u:p@h:1/2", "rediss-cluster://h:1?node=h2:2"] {
            let both = trusting(&Secret::new(url), Path::new("/etc/ca.pem")).unwrap();
            assert!(!both.to_string().contains("u:p"), "{both}");
            assert_eq!(split(both.expose()), (url.to_owned(), Some("/etc/ca.pem")));
            assert_eq!(split(url), (url.to_owned(), None));
        }
    }

    #[test]
    fn what_can_not_work_is_refused() {
        let refused = |url: &str, path: &str| trusting(&Secret::new(url), Path::new(path)).is_err();
        assert!(refused("redis://h", "/etc/ca.pem"));
        assert!(refused("rediss://h", "/etc/a&b"));
        assert_eq!(connector("/nothing/here").unwrap_err().setting, SETTING);
        assert_eq!(connector("Cargo.toml").unwrap_err().setting, SETTING);
    }
}
