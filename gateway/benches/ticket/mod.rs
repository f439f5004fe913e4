//! The ticket that benchmarks open.

use ticket_shared::{
    domain::{Priority, Status},
    stream::{Base, Head},
};

/// What never changes of it, and what does.
pub(crate) fn parts() -> (Base, Head) {
    let base = Base {
        description: "It was to come on Monday.".into(),
        user_id: Some("customer-1".into()),
        user_name: Some("سارة".into()),
        created_at: 0,
        fingerprint: None,
    };
    let head = Head {
        subject: "The order has not arrived".into(),
        status: Status::Open,
        priority: Priority::Normal,
        tags: r#"["orders"]"#.into(),
        agent_id: None,
        agent_name: None,
        closed_at: None,
    };
    (base, head)
}
