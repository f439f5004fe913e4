//! The errors of the servers behind a driver that finds none to use.
//!
//! What must hold: a wrong password, a name that is not resolved and a refused connection are told apart. The driver's own
//! error says only that it found no server; the reason reaches it by events.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use mongodb::{
    error::{Error, ErrorKind},
    event::{EventHandler, sdam::SdamEvent},
    options::{ClientOptions, ServerAddress},
};

/// The last error of each server that the driver can't use. Clones share it.
#[derive(Debug, Clone, Default)]
pub struct ServerErrors(Arc<Mutex<HashMap<ServerAddress, Error>>>);

impl ServerErrors {
    /// Collects the errors of the servers of the client that will be made with `options`.
    pub fn collect(&self, options: &mut ClientOptions) {
        let errors = self.clone();
        let handler = EventHandler::callback(move |event| errors.note(event));
        options.sdam_event_handler = Some(handler);
    }

    /// Returns the reason behind `error`: the error of a server if it only says that there is none to use, else itself.
    #[must_use]
    pub fn reason(&self, error: Error) -> Error {
        let hides = matches!(
            error.kind.as_ref(),
            ErrorKind::ServerSelection { .. } | ErrorKind::ConnectionPoolCleared { .. }
        );
        if !hides {
            return error;
        }
        let errors = self.errors();
        let denied = errors
            .values()
            .find(|error| matches!(error.kind.as_ref(), ErrorKind::Authentication { .. }));
        denied
            .or_else(|| errors.values().next())
            .cloned()
            .unwrap_or(error)
    }

    fn note(&self, event: SdamEvent) {
        match event {
            SdamEvent::ServerDescriptionChanged(changed) => {
                let error = changed.new_description.error().cloned();
                match error {
                    Some(error) => drop(self.errors().insert(changed.address, error)),
                    // The driver looks at servers without a password: that it succeeds says nothing of one.
                    None => self.errors().retain(|server, error| {
                        *server != changed.address
                            || matches!(error.kind.as_ref(), ErrorKind::Authentication { .. })
                    }),
                }
            }
            SdamEvent::ServerClosed(closed) => drop(self.errors().remove(&closed.address)),
            _ => {}
        }
    }

    fn errors(&self) -> MutexGuard<'_, HashMap<ServerAddress, Error>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use mongodb::{Client, bson::doc};

    use super::*;

    #[tokio::test]
    async fn the_reason_for_which_no_server_is_found_is_the_server_s() {
        let uri = "mongodb://127.0.0.1:1/d?serverSelectionTimeoutMS=500";
        let mut options = ClientOptions::parse(uri).await.unwrap();
        let errors = ServerErrors::default();
        errors.collect(&mut options);
        let database = Client::with_options(options).unwrap().database("d");
        let failed = database.run_command(doc! { "ping": 1 }).await.unwrap_err();
        let kind = failed.kind.as_ref();
        assert!(
            matches!(kind, ErrorKind::ServerSelection { .. }),
            "{failed}"
        );
        let reason = errors.reason(failed);
        assert!(matches!(reason.kind.as_ref(), ErrorKind::Io(_)), "{reason}");
        let other = errors.reason(Error::custom("defect"));
        assert!(matches!(other.kind.as_ref(), ErrorKind::Custom(_)));
    }
}
