//! Audit: events that whoever answers for security wants to find later, each a log line and a counter. They name
//! people and tokens by their ids, and hold no token, no key and no word of a customer.

use prometheus_client::{
    encoding::EncodeLabelSet,
    metrics::{counter::Counter, family::Family},
    registry::Registry,
};

use crate::auth::{Claims, Revoked, TokenFault};

/// Counters of audited events. Cheap to clone.
#[derive(Clone, Debug, Default)]
pub struct Audit {
    tokens_refused: Family<ReasonLabel, Counter>,
    revocations: Family<KindLabel, Counter>,
    connections_cut: Family<CutLabel, Counter>,
}

#[derive(Clone, Debug, Hash, PartialEq, Eq, EncodeLabelSet)]
struct ReasonLabel {
    reason: &'static str,
}

#[derive(Clone, Debug, Hash, PartialEq, Eq, EncodeLabelSet)]
struct KindLabel {
    kind: &'static str,
}

#[derive(Clone, Debug, Hash, PartialEq, Eq, EncodeLabelSet)]
struct CutLabel {
    reason: &'static str,
}

/// Reasons for which the server ends a connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Cut {
    /// Its token was revoked.
    Revoked,
    /// Its token expired, and no other one came.
    Expired,
    /// It sent far more than its rate.
    Flood,
    /// It sent an event beyond its bounds.
    EventTooLarge,
    /// It began an event and did not finish it in time.
    EventUnfinished,
    /// The task of a ticket that it was in panicked.
    RoomDied,
}

impl Cut {
    const fn as_str(self) -> &'static str {
        match self {
            Self::Revoked => "revoked",
            Self::Expired => "expired",
            Self::Flood => "flood",
            Self::EventTooLarge => "event_too_large",
            Self::EventUnfinished => "event_unfinished",
            Self::RoomDied => "room_died",
        }
    }
}

impl Audit {
    /// Registers the counters under the names that operators see.
    pub fn register(&self, registry: &mut Registry) {
        registry.register(
            "tokens_refused",
            "Tokens refused, by reason",
            self.tokens_refused.clone(),
        );
        registry.register(
            "revocations",
            "Revocations accepted by this gateway, of people and of tokens",
            self.revocations.clone(),
        );
        registry.register(
            "connections_cut",
            "Connections ended by the server, by reason",
            self.connections_cut.clone(),
        );
    }

    /// Records a refused token, with its claims if they are verified.
    pub fn token_refused(&self, fault: TokenFault, claims: Option<&Claims>) {
        let reason = fault.as_str();
        self.tokens_refused
            .get_or_create(&ReasonLabel { reason })
            .inc();
        match claims {
            Some(claims) => tracing::info!(
                reason,
                token.sub = claims.sub,
                token.id = claims.token_id,
                "token refused"
            ),
            // Whoever asks without one did not try to pass for somebody.
            None if fault == TokenFault::Missing => tracing::debug!(reason, "token refused"),
            None => tracing::info!(reason, "token refused"),
        }
    }

    /// Records that the person of `by` revoked tokens.
    pub fn revoked(&self, by: &Claims, what: &Revoked) {
        let (kind, id) = match what {
            Revoked::Sub(sub) => ("person", sub),
            Revoked::Token(id) => ("token", id),
        };
        self.revocations.get_or_create(&KindLabel { kind }).inc();
        // Each: the field keeps the line from being sampled.
        tracing::info!(
            audit = true,
            by.sub = by.sub,
            by.token.id = by.token_id,
            revoked.kind = kind,
            revoked.id = id,
            "tokens revoked"
        );
    }

    /// Records that the server ends a connection of this caller.
    pub fn cut(&self, why: Cut, claims: Option<&Claims>) {
        let reason = why.as_str();
        self.connections_cut
            .get_or_create(&CutLabel { reason })
            .inc();
        tracing::info!(
            audit = true,
            reason,
            token.sub = claims.map(|claims| claims.sub.as_str()),
            token.id = claims.and_then(|claims| claims.token_id.as_deref()),
            "connection cut"
        );
    }
}
