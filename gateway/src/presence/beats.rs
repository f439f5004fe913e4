//! Beats travel in groups: those of tickets that beat at the same time are one call of the script. A gateway with
//! thousands of quiet tickets does hardly anything else.

use fred::{
    clients::Client,
    error::{Error as RedisError, ErrorKind},
    types::{Key, Value},
};
use ticket_shared::{lifecycle::Lifecycle, stream::Keys};

use super::Position;
use crate::{
    error::Error,
    lane::{Carrier, Lanes},
    script::{Items, Script, refused},
};

/// How many keys a beat has.
const KEYS: usize = 4;

/// Sends beats to Redis.
pub(super) struct Beats(Lanes<Beating>);

/// The keys and arguments of a ticket's beat.
pub(super) struct Beat {
    pub(super) keys: [String; KEYS],
    pub(super) args: Vec<Value>,
    /// How many sockets it renews.
    pub(super) leases: usize,
}

struct Beating {
    client: Client,
    script: Script,
}

impl Beats {
    pub(super) fn start(client: &Client, keys: &Keys, life: &Lifecycle) -> Self {
        let beating = || Beating {
            client: client.clone(),
            script: Script::new(concat!(
                "local function presence(KEYS, ARGV)\n",
                include_str!("../presence.lua"),
                "end\n",
                include_str!("beats.lua"),
            )),
        };
        Self(Lanes::start(client, keys, life, beating))
    }

    /// Sends a beat of a ticket in this partition with others.
    ///
    /// # Errors
    /// Redis can't be reached or refuses it.
    pub(super) async fn call(&self, partition: u16, beat: Beat) -> Result<Position, Error> {
        let mut answer = Items::of(self.0.call(partition, beat).await??);
        let _ok = answer.value();
        let seq = answer.text().and_then(|seq| seq.parse().ok());
        let epoch = answer.text().unwrap_or_default();
        Ok(Position { seq, epoch })
    }
}

impl Carrier for Beating {
    type Call = Beat;
    type Answer = Result<Value, Error>;
    const NAME: &'static str = "presence";
    /// Some half a millisecond of Redis' time.
    const GROUP: usize = 64;
    /// Each followed ticket has one beat on its way at most; after a reconnect all of them come at once.
    const QUEUE: usize = 65_536;

    fn size(beat: &Beat) -> usize {
        2 + beat.leases
    }

    async fn send(&self, beats: Vec<Beat>) -> Result<Vec<Self::Answer>, RedisError> {
        let count = beats.len();
        let mut keys = Vec::with_capacity(count * KEYS);
        let mut args = Vec::with_capacity(beats.iter().map(|beat| beat.args.len() + 1).sum());
        for beat in beats {
            keys.extend(beat.keys.map(Key::from));
            args.push(beat.args.len().to_string().into());
            args.extend(beat.args);
        }
        match self.script.call(&self.client, keys, args).await? {
            Value::Array(answers) if answers.len() == count => {
                Ok(answers.into_iter().map(refused).collect())
            }
            _ => Err(RedisError::new(ErrorKind::Parse, "answers are missing")),
        }
    }
}
