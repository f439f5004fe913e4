//! What routes take: JSON bodies, ids in paths, numbers in queries. Each refusal names what is wrong.

use std::{
    collections::HashMap, error::Error as StdError, iter::successors, sync::Arc, time::Duration,
};

use axum::{
    body::to_bytes,
    extract::{FromRequest, FromRequestParts, Path, Request},
    http::{HeaderMap, StatusCode, header, request::Parts},
    response::{IntoResponse, Response},
};
use http_body_util::LengthLimitError;
use serde_json::Value;
use ticket_shared::{
    domain::limits,
    event::{Invalid, json::from_client},
    id::Id,
};

use super::coding::Coding;
use crate::{
    access::Caller,
    admission::Client,
    app::App,
    error::{Error, plain_problem},
    identify::bearer,
};

/// How long a body may take. Shorter than a request may: what takes long is known by its cause.
const BODY_TIMEOUT: Duration = Duration::from_secs(10);

/// A JSON body within the size limit.
pub(super) struct Body(pub Value);

impl FromRequest<Arc<App>> for Body {
    type Rejection = Response;

    async fn from_request(request: Request, _: &Arc<App>) -> Result<Self, Response> {
        let read = tokio::time::timeout(BODY_TIMEOUT, read(request)).await;
        if let Ok(read) = read {
            return read.map(Self).map_err(IntoResponse::into_response);
        }
        let (status, detail) = (StatusCode::REQUEST_TIMEOUT, "the body did not come in time");
        Err(plain_problem(status, "request_timeout", detail))
    }
}

/// Reads a body that is JSON.
async fn read(request: Request) -> Result<Value, Error> {
    if !is_json(request.headers()) {
        return Err(Error::MediaType);
    }
    let coding = Coding::of(request.headers())?;
    // Said before the client is told to go on (RFC 9110, 10.1.1).
    let length = request.headers().get(header::CONTENT_LENGTH);
    let length = length.and_then(|length| length.to_str().ok()?.parse::<u64>().ok());
    if length.is_some_and(|length| length > limits::FRAME as u64) {
        return Err(Error::TooLarge);
    }
    let bytes = to_bytes(request.into_body(), limits::FRAME)
        .await
        .map_err(|error| {
            let first: &(dyn StdError + 'static) = &error;
            let mut causes = successors(Some(first), |error| (*error).source());
            if causes.any(<dyn StdError>::is::<LengthLimitError>) {
                Error::TooLarge
            } else {
                Error::Malformed("the body ends too early, or its chunks are none")
            }
        })?;
    let bytes = coding.decode(bytes)?;
    // The former server took a byte order mark.
    let text = bytes.strip_prefix(b"\xEF\xBB\xBF").unwrap_or(&bytes);
    from_client(text).map_err(|_| Error::Malformed("the body must be JSON"))
}

/// Whether the body says that it is JSON. Pages of foreign origins can send others, or say nothing, without asking first.
fn is_json(headers: &HeaderMap) -> bool {
    let mut types = headers.get_all(header::CONTENT_TYPE).iter();
    let (Some(only), None) = (types.next(), types.next()) else {
        return false;
    };
    let text = only.to_str().unwrap_or_default();
    let (essence, _parameters) = text.split_once(';').unwrap_or((text, ""));
    essence.trim().eq_ignore_ascii_case("application/json")
}

impl FromRequestParts<Arc<App>> for Caller {
    type Rejection = Error;

    async fn from_request_parts(parts: &mut Parts, app: &Arc<App>) -> Result<Self, Error> {
        let caller = app.identify.caller(bearer(&parts.headers)).await?;
        let client = parts.extensions.get::<Client>().copied();
        app.admission.caller(&caller, client)?;
        Ok(caller)
    }
}

/// The ticket in the path.
pub(super) struct TicketId(pub Id);

impl FromRequestParts<Arc<App>> for TicketId {
    type Rejection = Error;

    async fn from_request_parts(parts: &mut Parts, app: &Arc<App>) -> Result<Self, Error> {
        let Path(text) = Path::<String>::from_request_parts(parts, app)
            .await
            .map_err(|_| Error::Malformed("the path can't be read"))?;
        text.parse()
            .map(Self)
            .map_err(|error: ticket_shared::id::InvalidId| {
                Invalid::new("id", error.to_string()).into()
            })
    }
}

/// Names of ignored parameters that an answer says, and the part of each.
const IGNORED: usize = 20;
const IGNORED_CHARS: usize = 64;

/// The parameters of the query. Unknown ones are ignored; lists say which.
pub(super) struct Query(HashMap<String, String>);

impl FromRequestParts<Arc<App>> for Query {
    type Rejection = Error;

    async fn from_request_parts(parts: &mut Parts, app: &Arc<App>) -> Result<Self, Error> {
        let query =
            axum::extract::Query::<HashMap<String, String>>::from_request_parts(parts, app).await;
        query
            .map(|axum::extract::Query(query)| Self(query))
            .map_err(|_| Error::Malformed("the query can't be read"))
    }
}

impl Query {
    /// The names that are not among these: a filter with a typing error must not look like one that everything passes.
    pub(super) fn ignored(&self, known: &[&str]) -> Vec<String> {
        let unknown = self.0.keys().filter(|name| !known.contains(&name.as_str()));
        let mut names: Vec<String> = unknown
            .map(|name| name.chars().take(IGNORED_CHARS).collect())
            .collect();
        names.sort_unstable();
        names.truncate(IGNORED);
        names
    }

    /// How many items are wanted: 1 to 200, 50 where nothing is said.
    pub(super) fn limit(&self) -> Result<usize, Error> {
        match self.0.get("limit").map(|text| text.parse::<usize>()) {
            None => Ok(50),
            Some(Ok(limit @ 1..=200)) => Ok(limit),
            Some(_) => Err(Invalid::new("limit", "must be a number from 1 to 200").into()),
        }
    }

    /// A `seq`.
    pub(super) fn seq(&self, name: &str) -> Result<Option<u64>, Error> {
        match self.0.get(name).map(|text| text.parse::<u64>()) {
            None => Ok(None),
            // Far beyond any counter, and safe to count from.
            Some(Ok(seq)) if seq <= 1 << 53 => Ok(Some(seq)),
            Some(_) => Err(Invalid::new(name, "must be a whole number from 0").into()),
        }
    }

    /// A text that `read` understands; an empty one is none.
    pub(super) fn parsed<T>(
        &self,
        name: &str,
        read: fn(&str) -> Option<T>,
    ) -> Result<Option<T>, Error> {
        let given = self.0.get(name).filter(|text| !text.is_empty());
        match given.map(|text| read(text)) {
            None => Ok(None),
            Some(Some(value)) => Ok(Some(value)),
            Some(None) => Err(Invalid::new(name, "is not one that was given out").into()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bodies_are_json_by_their_type() {
        let said = |types: &[&'static str]| {
            let mut headers = HeaderMap::new();
            for each in types {
                headers.append(header::CONTENT_TYPE, each.parse().unwrap());
            }
            is_json(&headers)
        };
        for good in [
            "application/json",
            "application/json; charset=utf-8",
            "Application/JSON ;charset=\"UTF-8\"",
        ] {
            assert!(said(&[good]), "{good}");
        }
        for bad in [
            "text/plain",
            "application/x-www-form-urlencoded",
            "multipart/form-data; boundary=x",
            "application/jsonp",
            "application/json, text/plain",
            "text/plain; application/json",
            "application/problem+json",
            "",
        ] {
            assert!(!said(&[bad]), "{bad}");
        }
        assert!(!said(&[]));
        assert!(!said(&["application/json", "text/plain"]));
    }
}
