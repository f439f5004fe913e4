//! The layout of the data: over how many partitions the tickets are spread, kept beside them.

use fred::{
    clients::Client,
    error::Error,
    interfaces::{ClientLike, HashesInterface},
};

use super::{Failure, Unfit, failure, hot_path};
use crate::{config::BadSetting, stream::Keys};

/// The field of the layout's key.
const FIELD: &str = "partitions";

/// Compares the number of partitions with the one that the data is spread over. Where there is none yet, notes it if
/// `begins` says so.
pub(super) async fn check_layout(client: &Client, keys: &Keys, begins: bool) -> Result<(), Unfit> {
    let client = client.with_options(&hot_path());
    let key = keys.layout();
    let mut kept: Option<u16> = client.hget(&key, FIELD).await?;
    if kept.is_none() && begins {
        let noted: Result<bool, Error> = client.hsetnx(&key, FIELD, keys.partitions()).await;
        match noted {
            Ok(_) => kept = client.hget(&key, FIELD).await?,
            // Full: a later start notes it.
            Err(error) if failure(&error) == Failure::Refused => {}
            Err(error) => return Err(error.into()),
        }
    }
    match kept {
        Some(kept) if kept != keys.partitions() => Err(BadSetting::new(
            "PARTITIONS",
            format!(
                "is {} here, but tickets in this Redis are spread over {kept}; set {kept}. To change it: stop the \
                 gateways, let the workers finish (lag and pending 0, nothing parked), stop them, delete the keys that \
                 begin with {}: except {}, and start with the new number",
                keys.partitions(),
                keys.prefix(),
                keys.revoked(),
            ),
        )
        .into()),
        _ => Ok(()),
    }
}
