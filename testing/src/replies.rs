//! Replies that proxies and providers are known to give instead of Redis' own.

use crate::Act;

/// The words of errors, as they come behind the `-`.
pub const ERRORS: [&str; 24] = [
    "LOADING Redis is loading the dataset in memory",
    "BUSY Redis is busy running a script. You can only call SCRIPT KILL or SHUTDOWN NOSAVE.",
    "TRYAGAIN Multiple keys request during rehashing of slot",
    "CLUSTERDOWN The cluster is down",
    "MISCONF Errors writing to the AOF file: No space left on device",
    "OOM command not allowed when used memory > 'maxmemory'.",
    "NOREPLICAS Not enough good replicas to write.",
    "READONLY You can't write against a read only replica.",
    "MASTERDOWN Link with MASTER is down and replica-serve-stale-data is set to 'no'.",
    "NOAUTH Authentication required.",
    "WRONGPASS invalid username-password pair or user is disabled.",
    "NOPERM this user has no permissions to run the command",
    "EXECABORT Transaction discarded because of previous errors.",
    "FAILOVER in progress",
    "NOPROTO unsupported protocol version",
    "ERR max daily request limit exceeded. Limit: 10000, Usage: 10001.",
    "ERR max requests limit exceeded. Limit: 500000, Usage: 500000.",
    "ERR max number of clients reached",
    "ERR DB capacity quota exceeded",
    "ERR Proxy error: no upstream connection",
    "ERR",
    "max request size exceeded",
    "ERROR backend 10.0.0.1:6379 is gone",
    "-double dash",
];

/// Replies that are no error of Redis, or end the connection.
pub fn broken() -> Vec<Act> {
    let close = |bytes: &str| Act::AnswerAndClose(bytes.as_bytes().to_vec());
    vec![
        // Half an array, half a text, half an error, nothing.
        close("*3\r\n$5\r\nhel"),
        close("$100\r\nabc"),
        close("-ERR max dai"),
        close(""),
        // An error, as much as can be said.
        close("-ERR max number of clients reached\r\n"),
        // No RESP at all.
        close("HTTP/1.1 502 Bad Gateway\r\ncontent-length: 0\r\n\r\n"),
        Act::Silence,
    ]
}
