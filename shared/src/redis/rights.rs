//! Tries each command that a program will use, so that a missing right is known at the start and by its name.

use fred::{
    clients::Client,
    error::{Error, ErrorKind},
    interfaces::{ClientLike, LuaInterface, PubsubInterface},
    types::{CustomCommand, Value},
};

use super::{hot_path, words};
use crate::stream::Keys;

/// Commands of both programs. The first one makes the key a hash: what is for another type then fails without a trace,
/// and only after the server has looked at the rights.
const BOTH: [&str; 26] = [
    "HSET {} f v",
    "HGET {} f",
    "HMGET {} f",
    "HSETNX {} f v",
    "EXISTS {}",
    "EXPIRE {} 60",
    "DEL {}",
    "TIME",
    "INFO replication",
    "XADD {} * d v",
    "XRANGE {} - + COUNT 1",
    "XREVRANGE {} + - COUNT 1",
    "XTRIM {} MAXLEN 1",
    "XINFO GROUPS {}",
    "ZADD {} 1 m",
    "ZRANGE {} 0 0",
    "ZREM {} m",
    "ZCARD {}",
    "ZCOUNT {} 0 1",
    "HEXISTS {} f",
    "HLEN {}",
    "GET {}",
    "TYPE {}",
    "ZSCORE {} m",
    "UNLINK {}",
    "SET {} v",
];
/// Further ones of the gateway.
const GATEWAY: [&str; 10] = [
    "HDEL {} f",
    "HGETALL {}",
    "HINCRBY {} n 1",
    "PERSIST {}",
    "PEXPIRE {} 60000",
    "PTTL {}",
    "XLEN {}",
    "ZRANGEBYSCORE {} 0 1",
    "ZREMRANGEBYSCORE {} 0 1",
    "SPUBLISH {} m",
];
/// Further ones of the worker.
const WORKER: [&str; 9] = [
    "XLEN {}",
    "XACK {} g 1-0",
    "XDEL {} 1-0",
    "XPENDING {} g",
    "XGROUP CREATE {} g 0",
    "XINFO CONSUMERS {} g",
    "XGROUP DELCONSUMER {} g c",
    "XREADGROUP GROUP g c STREAMS {} >",
    "XAUTOCLAIM {} g c 60000 0-0",
];

/// A program, by the commands that it needs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Program {
    /// The gateway.
    Gateway,
    /// The worker, its subcommands included.
    Worker,
}

/// Returns the commands that the user of `client` may not run, each with the server's words.
///
/// # Errors
/// What the connection says. A refusal is no error.
pub(super) async fn refused(
    client: &Client,
    keys: &Keys,
    program: Program,
) -> Result<Vec<String>, Error> {
    let client = client.with_options(&hot_path());
    let own: &[&str] = match program {
        Program::Gateway => &GATEWAY,
        Program::Worker => &WORKER,
    };
    let lines: Vec<&str> = BOTH.iter().chain(own).copied().collect();
    let mut refused = Vec::new();
    let tried = client.eval(include_str!("rights.lua"), vec![keys.probe()], lines);
    if let Some(Value::Array(names)) = note("EVAL", tried.await, &mut refused)? {
        let said = names.iter().filter_map(Value::as_string);
        refused.extend(said.map(|said| words(&Error::new(ErrorKind::Unknown, said))));
    }
    // Of a script that the server does not know: what is asked for is the right.
    let hash = fred::util::sha1_hash("return 1");
    let known: Result<Value, Error> = client.evalsha(hash, vec![keys.probe()], vec!["x"]).await;
    note("EVALSHA", known, &mut refused)?;
    if program == Program::Gateway {
        let channel = keys.probe();
        let heard: Result<(), Error> = client.ssubscribe(channel.as_str()).await;
        if note("SSUBSCRIBE", heard, &mut refused)?.is_some() {
            let left: Result<(), Error> = client.sunsubscribe(channel.as_str()).await;
            note("SUNSUBSCRIBE", left, &mut refused)?;
        }
        let count = CustomCommand::new_static("PUBSUB", None, false);
        let counted: Result<Value, Error> = client.custom(count, vec!["SHARDNUMSUB"]).await;
        note("PUBSUB SHARDNUMSUB", counted, &mut refused)?;
    }
    Ok(refused)
}

/// Notes a refusal; passes on what is none.
fn note<T>(
    command: &str,
    answer: Result<T, Error>,
    refused: &mut Vec<String>,
) -> Result<Option<T>, Error> {
    match answer {
        Ok(answer) => Ok(Some(answer)),
        Err(error) if is_refusal(error.details()) => {
            refused.push(format!("{command}: {}", words(&error)));
            Ok(None)
        }
        // Such as NOSCRIPT: the server got as far as performing it.
        Err(error)
            if error
                .details()
                .starts_with(|first: char| first.is_ascii_uppercase())
                && error.details().split(' ').next().is_some_and(is_code) =>
        {
            Ok(None)
        }
        Err(error) => Err(error),
    }
}

fn is_refusal(said: &str) -> bool {
    said.starts_with("NOPERM") || said.starts_with("ERR unknown command")
}

fn is_code(word: &str) -> bool {
    word.len() > 1 && word.bytes().all(|byte| byte.is_ascii_uppercase())
}
