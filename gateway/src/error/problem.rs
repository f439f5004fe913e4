//! Errors as HTTP answers (RFC 9457).

use axum::{
    Json,
    http::{HeaderName, HeaderValue, StatusCode, header},
    response::{IntoResponse, Response},
};
use serde::Serialize;
use ticket_shared::domain::Ticket;

use super::{Error, NO_TOKEN};

/// An error as RFC 9457 wants it.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Problem {
    title: &'static str,
    status: u16,
    detail: String,
    code: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    field: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    retry_after_ms: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    ticket: Option<Box<Ticket>>,
}

impl Error {
    /// The header that says what would be accepted.
    fn hint(&self) -> Option<(HeaderName, &'static str)> {
        match self {
            // RFC 6750, 3: who showed no token is told nothing of one.
            Self::Unauthenticated(reason) if *reason == NO_TOKEN => {
                Some((header::WWW_AUTHENTICATE, "Bearer"))
            }
            Self::Unauthenticated(_) => {
                Some((header::WWW_AUTHENTICATE, "Bearer error=\"invalid_token\""))
            }
            Self::MediaType => Some((header::ACCEPT, "application/json")),
            Self::ContentCoding => Some((header::ACCEPT_ENCODING, "gzip")),
            _ => None,
        }
    }
}

impl IntoResponse for Error {
    fn into_response(self) -> Response {
        self.log("rest");
        let (status, hint) = (self.status(), self.hint());
        let body = self.body();
        let mut answer = problem(
            status,
            body.code.as_str(),
            body.message,
            body.field,
            body.retry_after_ms,
            body.ticket,
        );
        if let Some((name, value)) = hint {
            answer
                .headers_mut()
                .insert(name, HeaderValue::from_static(value));
        }
        answer
    }
}

/// An answer for what no error of the contract stands for: an unknown path, a method that a path does not take.
pub fn plain_problem(status: StatusCode, code: &'static str, detail: &str) -> Response {
    problem(status, code, detail.to_owned(), None, None, None)
}

fn problem(
    status: StatusCode,
    code: &'static str,
    detail: String,
    field: Option<String>,
    retry_after_ms: Option<u64>,
    ticket: Option<Box<Ticket>>,
) -> Response {
    let title = status.canonical_reason().unwrap_or("Error");
    let body = Problem {
        title,
        status: status.as_u16(),
        detail,
        code,
        field,
        retry_after_ms,
        ticket,
    };
    let mut response = (status, Json(body)).into_response();
    let headers = response.headers_mut();
    headers.insert(
        header::CONTENT_TYPE,
        HeaderValue::from_static("application/problem+json"),
    );
    if let Some(ms) = retry_after_ms {
        headers.insert(header::RETRY_AFTER, HeaderValue::from(ms.div_ceil(1_000)));
    }
    response
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_answer_says_what_would_be_accepted() {
        for (error, status, name, value) in [
            (
                Error::Unauthenticated(NO_TOKEN),
                401,
                header::WWW_AUTHENTICATE,
                "Bearer",
            ),
            (
                Error::Unauthenticated("expired"),
                401,
                header::WWW_AUTHENTICATE,
                "Bearer error=\"invalid_token\"",
            ),
            (Error::MediaType, 415, header::ACCEPT, "application/json"),
            (Error::ContentCoding, 415, header::ACCEPT_ENCODING, "gzip"),
        ] {
            let answer = error.into_response();
            assert_eq!(answer.status(), status);
            assert_eq!(answer.headers()[name], value);
        }
        assert!(
            !Error::TooLarge
                .into_response()
                .headers()
                .contains_key(header::ACCEPT)
        );
    }
}
