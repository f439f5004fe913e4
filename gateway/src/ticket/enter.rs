//! Entering a ticket: what it holds and who is there, as of one moment.

use fred::error::{Error as RedisError, ErrorKind};
use ticket_shared::{domain::Person, id::Id};

use super::{
    Tickets,
    view::{Found, Part, View, WARMINGS, gone},
};
use crate::{
    error::Error,
    presence::{Lease, Presence},
    script::Items,
};

/// The text of the script.
pub(super) const ENTER: &str = concat!(
    "local function read(KEYS, ARGV)\n",
    include_str!("read.lua"),
    "end\nlocal function presence(KEYS, ARGV)\n",
    include_str!("../presence.lua"),
    "end\n",
    include_str!("enter.lua"),
);

impl Tickets {
    /// Reads a ticket and takes a lease in it, bringing it back into Redis where it is not there. Answers with everybody
    /// who is there. While Redis refuses writes the one who enters just isn't seen.
    ///
    /// # Errors
    /// As [`Tickets::read`]. Nobody has entered then, unless the answer was lost: such a lease runs out.
    pub async fn enter(
        &self,
        id: Id,
        part: Part,
        lease: Lease<'_>,
    ) -> Result<(View, Vec<Person>), Error> {
        let (mut names, mut args) = self.read_call(id, part);
        let (more_names, more_args) = Presence::join_call(&self.0.keys, id, lease)?;
        names.extend(more_names);
        args.extend(more_args);
        for _ in 0..WARMINGS {
            let call = self
                .0
                .enter
                .call(&self.0.redis, names.clone(), args.clone());
            let answer = call.await?;
            if !answer.is_array() {
                Box::pin(self.warm(id)).await?;
                continue;
            }
            let mut answer = Items::of(answer);
            let Found::Whole(view) = Found::parse(answer.value())? else {
                return Err(gone());
            };
            let people = Presence::people(answer.value())?;
            let Some(reason) = answer.text() else {
                return Ok((*view, people));
            };
            return match RedisError::new(ErrorKind::Unknown, reason).into() {
                Error::Overloaded(_) => Ok((*view, vec![lease.person.clone()])),
                error => Err(error),
            };
        }
        Err(gone())
    }
}
