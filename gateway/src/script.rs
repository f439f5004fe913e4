//! Redis scripts: sent by hash, with their text where Redis does not know them (a new or restarted server).

use fred::{
    clients::Client,
    error::{Error, ErrorKind},
    interfaces::{ClientLike, LuaInterface},
    types::{MultipleKeys, Value},
};
use ticket_shared::redis::{Failure, failure, hot_path};

/// One script.
#[derive(Debug)]
pub struct Script {
    text: &'static str,
    sha: String,
}

impl Script {
    /// The script with this text.
    pub fn new(text: &'static str) -> Self {
        Self {
            text,
            sha: fred::util::sha1_hash(text),
        }
    }

    /// Its text.
    pub fn text(&self) -> &'static str {
        self.text
    }

    /// Its hash.
    pub fn sha(&self) -> &str {
        &self.sha
    }

    /// Runs it, with the deadline of a command that somebody waits for, in one attempt.
    ///
    /// # Errors
    /// What Redis or the connection says. After a time-out it may have run all the same.
    pub async fn call(
        &self,
        client: &Client,
        keys: impl Into<MultipleKeys> + Clone + Send,
        args: Vec<Value>,
    ) -> Result<Value, Error> {
        let client = client.with_options(&hot_path());
        match client
            .evalsha(self.sha.as_str(), keys.clone(), args.clone())
            .await
        {
            Err(error) if failure(&error) == Failure::NoScript => {
                client.eval(self.text, keys, args).await
            }
            answer => answer,
        }
    }
}

/// What a script says of one of several things that it was asked for, or why Redis refused that one, where the script
/// says `{'failed', reason}`.
pub(crate) fn refused(answer: Value) -> Result<Value, crate::error::Error> {
    let Value::Array(items) = &answer else {
        return Ok(answer);
    };
    match &items[..] {
        [word, reason] if word.as_bytes() == Some(b"failed") => {
            let reason = reason.as_string().unwrap_or_default();
            Err(Error::new(ErrorKind::Unknown, reason).into())
        }
        _ => Ok(answer),
    }
}

/// The items of a script's answer, taken one by one in their order.
#[derive(Debug)]
pub struct Items(std::vec::IntoIter<Value>);

impl Items {
    /// The items of an array; none of anything else.
    pub fn of(answer: Value) -> Self {
        Self(match answer {
            Value::Array(items) => items.into_iter(),
            _ => Vec::new().into_iter(),
        })
    }

    /// The next item.
    pub fn value(&mut self) -> Value {
        self.0.next().unwrap_or(Value::Null)
    }

    /// The next item as bytes, where it is there and not nil.
    pub fn bytes(&mut self) -> Option<bytes::Bytes> {
        match self.value() {
            Value::String(text) => Some(text.into_inner()),
            Value::Bytes(bytes) => Some(bytes),
            _ => None,
        }
    }

    /// The next item as text.
    pub fn text(&mut self) -> Option<String> {
        String::from_utf8(self.bytes()?.to_vec()).ok()
    }

    /// The next item as a number; 0 where it is missing or none.
    pub fn number(&mut self) -> u64 {
        match self.value() {
            Value::Integer(number) => u64::try_from(number).unwrap_or(0),
            Value::String(text) => text.parse().unwrap_or(0),
            Value::Bytes(bytes) => std::str::from_utf8(&bytes)
                .ok()
                .and_then(|text| text.parse().ok())
                .unwrap_or(0),
            _ => 0,
        }
    }
}
