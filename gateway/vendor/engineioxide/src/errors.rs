use http::{HeaderValue, Response, StatusCode, header};
use tokio_tungstenite::tungstenite;

use crate::body::ResponseBody;
use engineioxide_core::{Packet, Sid};

pub use engineioxide_core::PacketParseError;

#[derive(thiserror::Error, Debug)]
pub enum Error {
    #[error("error decoding packet from request: {0}")]
    PacketParse(#[from] PacketParseError),
    #[error("invalid packet received: {0:?}")]
    BadPacket(Packet),
    #[error("ws transport error: {0}")]
    WsTransport(#[from] Box<tungstenite::Error>),
    #[error("heartbeat timeout")]
    HeartbeatTimeout,
    #[error("a message did not come whole in time, or came in too many pieces")]
    Unfinished,
    #[error("upgrade error")]
    Upgrade,
    #[error("multiple ws upgrade requests")]
    MultipleWebsocketRequests,

    #[error("multiple http polling error")]
    MultipleHttpPolling,
    #[error("not a websocket handshake")]
    NoWebSocketHandshake,
    #[error("unsupported version of the websocket protocol")]
    WebSocketVersion,

    #[error("unknown session id")]
    UnknownSessionID(Sid),
    #[error("transport mismatch")]
    TransportMismatch,
}

/// Convert an error into an http response, as the JavaScript server answers it
impl<B> From<Error> for Response<ResponseBody<B>> {
    fn from(err: Error) -> Self {
        match err {
            Error::PacketParse(PacketParseError::PayloadTooLarge { .. }) => Response::builder()
                .status(StatusCode::PAYLOAD_TOO_LARGE)
                .body(ResponseBody::empty_response())
                .unwrap(),

            Error::UnknownSessionID(_) => refusal(1, "Session ID unknown"),

            Error::Unfinished => {
                let mut res = refusal(3, "Bad request");
                *res.status_mut() = StatusCode::REQUEST_TIMEOUT;
                res
            }

            Error::WebSocketVersion => {
                let mut res = refusal(3, "Bad request");
                *res.status_mut() = StatusCode::UPGRADE_REQUIRED;
                let version = HeaderValue::from_static("13");
                res.headers_mut()
                    .insert(header::SEC_WEBSOCKET_VERSION, version);
                res
            }

            Error::BadPacket(_)
            | Error::PacketParse(_)
            | Error::MultipleHttpPolling
            | Error::MultipleWebsocketRequests
            | Error::NoWebSocketHandshake
            | Error::TransportMismatch => refusal(3, "Bad request"),

            _e => {
                #[cfg(feature = "tracing")]
                tracing::debug!("uncaught error {_e:?}");
                Response::builder()
                    .status(StatusCode::INTERNAL_SERVER_ERROR)
                    .body(ResponseBody::empty_response())
                    .unwrap()
            }
        }
    }
}

/// The answer to a request that is not accepted, with a code of the JavaScript server
pub(crate) fn refusal<B>(code: u8, message: &str) -> Response<ResponseBody<B>> {
    let body = format!("{{\"code\":{code},\"message\":\"{message}\"}}");
    Response::builder()
        .status(StatusCode::BAD_REQUEST)
        .header(header::CONTENT_TYPE, "application/json")
        .body(ResponseBody::custom_response(body.into()))
        .unwrap()
}

impl From<tungstenite::Error> for Error {
    fn from(err: tungstenite::Error) -> Self {
        Error::WsTransport(Box::new(err))
    }
}
