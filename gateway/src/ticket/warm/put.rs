//! The call of the script that puts a ticket into Redis.

use fred::types::Value;
use ticket_shared::id::Id;

use super::{super::Tickets, Warmth, fresh_epoch, merge::Line};
use crate::error::Error;

impl Tickets {
    /// Runs the script that puts a ticket into Redis. Answers whether it did, or something has changed since `read`.
    pub(super) async fn put(
        &self,
        id: Id,
        read: [String; 4],
        server: String,
        mut warmth: Warmth,
    ) -> Result<bool, Error> {
        let mut names = self.0.log_keys(id).to_vec();
        names.extend([
            self.0.keys.ahead(id),
            self.0.keys.rest(self.0.keys.partition(id)),
            self.0.keys.takeover(id),
        ]);
        let unkeyed = i128::from(warmth.seq) - warmth.sent.len() as i128;
        let staged = self.stage(id, &mut warmth.sent).await?;
        let staged_ids = staged.as_ref().map_or(0, |(_, ids)| *ids);
        names.push(staged.map_or_else(|| self.0.keys.idem(id), |(key, _)| key));
        let idle = if warmth.clean {
            self.0.hot_for.as_millis().to_string()
        } else {
            String::new()
        };
        let mut args: Vec<Value> = vec![id.to_string().into(), fresh_epoch()?.into(), idle.into()];
        args.extend(read.map(Value::from));
        args.push(staged_ids.to_string().into());
        let mut fields = warmth.state;
        fields.extend([("unkeyed", unkeyed.to_string()), ("server", server)]);
        section(
            &mut args,
            fields.into_iter().map(|(f, v)| [f.into(), v.into()]),
        );
        let log: Result<Vec<[Value; 2]>, Error> = warmth.log.iter().map(line).collect();
        section(&mut args, log?.into_iter());
        let sent = warmth.sent.into_iter();
        section(
            &mut args,
            sent.map(|(message, seq)| {
                let field = Value::Bytes(message.bytes().to_vec().into());
                [field, seq.to_string().into()]
            }),
        );
        let owed: Result<Vec<_>, _> = warmth.owed.iter().map(serde_json::to_string).collect();
        section(&mut args, owed?.into_iter().map(|entry| [entry.into()]));
        let ahead = warmth.ahead.into_iter();
        section(
            &mut args,
            ahead.map(|(lo, hi)| [lo.to_string().into(), hi.to_string().into()]),
        );
        let done = self.0.warm.call(&self.0.redis, names, args).await?;
        tracing::debug!(ticket.id = %id, warmed = done.as_u64(), "ticket brought back into redis");
        Ok(done.as_u64() == Some(1))
    }
}

/// A part of what the script takes, with its length before it.
fn section<const N: usize>(
    args: &mut Vec<Value>,
    items: impl ExactSizeIterator<Item = [Value; N]>,
) {
    args.push((items.len() * N).to_string().into());
    args.extend(items.flatten());
}

/// An entry of the log as the script takes it.
fn line(line: &Line) -> Result<[Value; 2], Error> {
    let entry = line.entry();
    let mark = match entry.message() {
        Some(message) if message.internal => b'i',
        Some(_) => b'm',
        None => b'o',
    };
    let mut frame = vec![mark];
    match line {
        Line::Kept(kept) => frame.extend_from_slice(&kept.frame),
        Line::Stored(entry) => serde_json::to_writer(&mut frame, entry)?,
    }
    Ok([entry.seq.to_string().into(), Value::Bytes(frame.into())])
}
