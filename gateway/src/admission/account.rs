//! One account of a session: opened when the engine accepts it and closed with it, whatever namespaces come and go on it.
//!
//! The engine reports every packet and control frame here before anything is made of it. Events, entering and leaving the
//! namespace are counted by the socket, where they can be answered; everything else is counted here: heartbeats, control
//! frames, CONNECT of a socket that is in, acknowledgements, and whatever names a namespace that does not exist.

use std::{
    sync::{
        Arc, Mutex, MutexGuard, PoisonError, Weak,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    time::Duration,
};

use engineioxide::{Received, Session, SessionObserver, TransportType, Verdict};
use ticket_shared::lifecycle::Lifecycle;

use super::{
    Admission, Client, EventRate, Line, Place, Refused,
    attachments::{Attachments, Step},
    left::Leaving,
    line::BYTES,
};
use crate::{access::Caller, audit::Cut, net::Peer};

/// The time in which the attachments of an event must come.
const UNFINISHED: Duration = Duration::from_secs(5);

/// The account of one session.
#[derive(Debug)]
pub struct Account {
    me: Weak<Self>,
    admission: Arc<Admission>,
    client: Option<Client>,
    line: Arc<Line>,
    /// The rate of the socket that came in, else that of the address, once there is something to count.
    rate: Mutex<Option<Arc<EventRate>>>,
    attachments: Mutex<Attachments>,
    /// The sockets that have come in over this session.
    pub(super) entries: AtomicU64,
    /// No CONNECT came since the beginning, or since the last socket left.
    pub(super) outside: AtomicBool,
    pub(super) leaving: Mutex<Leaving>,
    pub(super) life: Lifecycle,
    /// Given back with the session.
    _place: Option<Place>,
}

impl Account {
    /// The account of a session that `client` is about to open.
    pub fn new(
        admission: &Arc<Admission>,
        client: Option<Client>,
        place: Option<Place>,
        life: &Lifecycle,
    ) -> Arc<Self> {
        Arc::new_cyclic(|me| Self {
            me: me.clone(),
            admission: Arc::clone(admission),
            client,
            line: Arc::new(Line::new(admission.metrics.slow.clone())),
            rate: Mutex::default(),
            attachments: Mutex::default(),
            entries: AtomicU64::new(0),
            outside: AtomicBool::new(true),
            leaving: Mutex::default(),
            life: life.clone(),
            _place: place,
        })
    }

    /// The limits that it is held to.
    pub(crate) fn admission(&self) -> &Admission {
        &self.admission
    }

    /// The way out to the client.
    pub(crate) fn line(&self) -> &Arc<Line> {
        &self.line
    }

    /// The socket that came in is counted by this rate, and so is everything else from now on.
    pub(crate) fn counts_by(&self, rate: Arc<EventRate>) {
        *self.rate() = Some(rate);
    }

    fn rate(&self) -> MutexGuard<'_, Option<Arc<EventRate>>> {
        self.rate.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn count(&self) -> Result<(), Refused> {
        let rate = Arc::clone(self.rate().get_or_insert_with(|| {
            let session = self.line.session();
            let session = session.map_or("", |session| session.sid.as_str());
            Arc::new(self.admission.rate(session, &Caller::Anyone, self.client))
        }));
        self.admission.event(&rate)
    }

    fn cut(&self, why: Cut) {
        self.admission.metrics.audit.cut(why, None);
    }

    /// Counts anything but an event: it has no answer that could say that it was refused.
    fn counted(&self, refused: Verdict) -> Verdict {
        match self.count() {
            Ok(()) => Verdict::Accept,
            Err(Refused { abuse: false, .. }) => refused,
            Err(_) => {
                self.cut(Cut::Flood);
                Verdict::Close
            }
        }
    }

    fn attachments(&self) -> MutexGuard<'_, Attachments> {
        self.attachments
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
    }

    /// Holds an event to its bounds.
    fn event_grows(&self, step: Step) -> Result<(), Verdict> {
        match step {
            Step::Fine => Ok(()),
            Step::Begun => {
                self.life.spawn(close_unfinished(self.me.clone()));
                Ok(())
            }
            Step::Beyond => {
                self.cut(Cut::EventTooLarge);
                Err(Verdict::Close)
            }
        }
    }

    fn connect(&self, text: &str) -> Verdict {
        if self.holds(text) {
            return Verdict::Ignore;
        }
        Verdict::Accept
    }

    fn message(&self, text: &str) -> Verdict {
        let packet = Packet::of(text);
        if let Some(count) = packet.attachments
            && let Err(verdict) = self.event_grows(self.attachments().announced(count, text.len()))
        {
            return verdict;
        }
        match (packet.kind, packet.namespace) {
            // The socket counts it.
            (b'1' | b'2' | b'5', "/") => Verdict::Accept,
            (b'0', namespace) if namespace != "/" => match self.counted(Verdict::Ignore) {
                Verdict::Accept => Verdict::Answer(format!(
                    "4{namespace},{{\"message\":\"Invalid namespace\"}}"
                )),
                verdict => verdict,
            },
            // It is counted once its caller is known.
            (b'0', _) if self.outside.swap(false, Ordering::AcqRel) => self.connect(text),
            (b'0', _) => match self.counted(Verdict::Ignore) {
                Verdict::Accept => self.connect(text),
                verdict => verdict,
            },
            // Its attachments are expected by now.
            (b'5' | b'6', _) => self.counted(Verdict::Accept),
            _ => self.counted(Verdict::Ignore),
        }
    }
}

/// Closes the session if an event waits too long for its attachments. There is one such task for a session at most.
async fn close_unfinished(account: Weak<Account>) {
    loop {
        let Some(since) = account
            .upgrade()
            .and_then(|account| account.attachments().watched())
        else {
            return;
        };
        tokio::time::sleep_until(since + UNFINISHED).await;
        let Some(account) = account.upgrade() else {
            return;
        };
        if account.attachments().since() == Some(since) {
            account.cut(Cut::EventUnfinished);
            return account.line.close();
        }
    }
}

impl SessionObserver for Account {
    fn max_queued_bytes(&self) -> usize {
        BYTES
    }

    fn opened(&self, session: Session) {
        let sid = session.sid;
        self.line.opened(session);
        self.admission.lines().insert(sid, Arc::clone(&self.line));
    }

    fn carried(&self, transport: TransportType, request: &axum::http::Extensions) {
        if transport == TransportType::Websocket
            && let Some(peer) = request.get::<Peer>()
        {
            self.line.over(&peer.wire);
        }
    }

    fn received(&self, received: Received<'_>) -> Verdict {
        match received {
            Received::Message(text) => self.message(text),
            Received::Binary(bytes) => {
                let step = self.attachments().came(bytes);
                self.event_grows(step).err().unwrap_or(Verdict::Accept)
            }
            // They are taken even if there are too many: nothing is made of them.
            Received::Heartbeat | Received::Control | Received::Request => {
                self.counted(Verdict::Accept)
            }
        }
    }

    fn overflowed(&self) {
        self.line.end("its queue is full");
    }

    fn unfinished(&self) {
        self.cut(Cut::EventUnfinished);
    }

    fn closed(&self) {
        if let Some(session) = self.line.session() {
            self.admission.lines().remove(&session.sid);
        }
    }
}

/// The head of a packet of Socket.IO (<https://socket.io/docs/v4/socket-io-protocol/#packet-encoding>).
#[derive(Debug, PartialEq, Eq)]
struct Packet<'a> {
    kind: u8,
    attachments: Option<usize>,
    namespace: &'a str,
}

impl<'a> Packet<'a> {
    fn of(text: &'a str) -> Self {
        let kind = text.as_bytes().first().copied().unwrap_or(0);
        // A character of several bytes is no kind, and what follows is not looked at.
        let mut rest = text.get(1..).unwrap_or_default();
        let mut attachments = None;
        if matches!(kind, b'5' | b'6')
            && let Some((count, after)) = rest.split_once('-')
            && count.bytes().all(|byte| byte.is_ascii_digit())
        {
            attachments = Some(count.parse().unwrap_or(usize::MAX));
            rest = after;
        }
        let namespace = if rest.starts_with('/') {
            rest.split(',').next().unwrap_or(rest)
        } else {
            "/"
        };
        Self {
            kind,
            attachments,
            namespace,
        }
    }
}

#[cfg(test)]
mod tests;
