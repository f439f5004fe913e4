//! Codings of request bodies: `gzip`, decoded within the limit of a body, and no other (RFC 9110, 8.4 and 12.5.3).

use std::io::Read;

use axum::http::{HeaderMap, header};
use bytes::Bytes;
use flate2::bufread::MultiGzDecoder;
use ticket_shared::domain::limits;

use crate::error::Error;

/// The coding of a body.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Coding {
    /// None.
    Identity,
    /// `gzip`, or its old name `x-gzip`.
    Gzip,
}

impl Coding {
    /// Reads the header.
    ///
    /// # Errors
    /// [`Error::ContentCoding`] for any other coding, and for several.
    pub(super) fn of(headers: &HeaderMap) -> Result<Self, Error> {
        let mut lines = headers.get_all(header::CONTENT_ENCODING).iter();
        let (first, None) = (lines.next(), lines.next()) else {
            return Err(Error::ContentCoding);
        };
        let name = first.map_or(Ok(""), |line| line.to_str());
        let name = name.map_err(|_| Error::ContentCoding)?.trim();
        let is = |coding: &str| name.eq_ignore_ascii_case(coding);
        if name.is_empty() || is("identity") {
            Ok(Self::Identity)
        } else if is("gzip") || is("x-gzip") {
            Ok(Self::Gzip)
        } else {
            Err(Error::ContentCoding)
        }
    }

    /// Decodes a body.
    ///
    /// # Errors
    /// [`Error::TooLarge`] if it grows over the limit, [`Error::Malformed`] if it is not in this coding.
    pub(super) fn decode(self, body: Bytes) -> Result<Bytes, Error> {
        match self {
            Self::Identity => Ok(body),
            Self::Gzip => gunzip(&body),
        }
    }
}

fn gunzip(body: &[u8]) -> Result<Bytes, Error> {
    let mut plain = Vec::new();
    // One more byte than allowed is enough to know.
    let most = limits::FRAME as u64 + 1;
    MultiGzDecoder::new(body)
        .take(most)
        .read_to_end(&mut plain)
        .map_err(|_| Error::Malformed("the body is not in the coding gzip"))?;
    if plain.len() > limits::FRAME {
        return Err(Error::TooLarge);
    }
    Ok(plain.into())
}

#[cfg(test)]
mod tests {
    use std::io::Write;

    use flate2::{Compression, write::GzEncoder};

    use super::*;

    fn gzip(plain: &[u8]) -> Vec<u8> {
        let mut encoder = GzEncoder::new(Vec::new(), Compression::best());
        encoder.write_all(plain).unwrap();
        encoder.finish().unwrap()
    }

    #[test]
    fn one_coding_is_known() {
        let of = |values: &[&'static str]| {
            let mut headers = HeaderMap::new();
            for value in values {
                headers.append(header::CONTENT_ENCODING, value.parse().unwrap());
            }
            Coding::of(&headers)
        };
        for plain in [&[][..], &[""], &["identity"]] {
            assert_eq!(of(plain).unwrap(), Coding::Identity, "{plain:?}");
        }
        for gzip in ["gzip", "GZip", "x-gzip", " gzip "] {
            assert_eq!(of(&[gzip]).unwrap(), Coding::Gzip, "{gzip}");
        }
        for other in [
            &["br"][..],
            &["gzip, gzip"],
            &["gzip", "gzip"],
            &["deflate"],
            &["*"],
        ] {
            assert!(matches!(of(other), Err(Error::ContentCoding)), "{other:?}");
        }
    }

    #[test]
    fn what_is_decoded_stays_within_the_limit() {
        let decode = |body: &[u8]| Coding::Gzip.decode(Bytes::copy_from_slice(body));
        assert_eq!(decode(&gzip(b"{}")).unwrap(), "{}");
        let members = [gzip(b"{"), gzip(b"}")].concat();
        assert_eq!(decode(&members).unwrap(), "{}");
        assert_eq!(
            decode(&gzip(&vec![b' '; limits::FRAME])).unwrap().len(),
            limits::FRAME
        );
        let bombs = [
            gzip(&vec![b' '; limits::FRAME + 1]),
            gzip(&vec![0; 50_000_000]),
        ];
        for bomb in bombs {
            assert!(matches!(decode(&bomb), Err(Error::TooLarge)));
        }
        let whole = gzip(b"{\"subject\": \"A test\"}");
        let mut wrong = whole.clone();
        let crc = wrong.len() - 5;
        wrong[crc] ^= 1;
        for broken in [
            &b""[..],
            b"{}",
            &whole[..whole.len() - 1],
            &whole[..12],
            &wrong,
        ] {
            assert!(
                matches!(decode(broken), Err(Error::Malformed(_))),
                "{broken:?}"
            );
        }
    }
}
