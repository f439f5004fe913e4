//! The first pass: messages are put into our words.

use mongodb::bson::{Bson, Document, doc};
use ticket_mongo::MARK;

use super::{
    AdoptError, Run, Scan,
    report::{HOMELESS, MESSAGES, REFUSED, TRANSLATED},
    translate,
};

/// Messages that are looked at together.
const PAGE: u32 = 1_000;

impl Run<'_> {
    pub(super) async fn messages(&mut self) -> Result<(), AdoptError> {
        let mut scan = Scan::new("messages", PAGE);
        loop {
            let (next, page) = self.patiently(|| scan.next(self.store)).await?;
            if page.is_empty() {
                return Ok(());
            }
            let updates: Vec<Document> = page.iter().filter_map(|old| self.update(old)).collect();
            self.report.add(MESSAGES, page.len());
            let homeless = page.iter().filter(|old| self.is_homeless(old)).count();
            self.report.add(HOMELESS, homeless);
            let refused = self.write("messages", &updates).await?;
            self.report.add(TRANSLATED, updates.len() - refused);
            self.passed(page.len()).await?;
            scan = next;
        }
    }

    fn update(&self, old: &Document) -> Option<Document> {
        let set = translate::message(old, &self.mapping);
        if set.is_empty() {
            return None;
        }
        let mut filter = doc! { "_id": old.get("_id")?.clone() };
        if !old.contains_key(MARK) {
            // Numbered since it was read, it is in use.
            filter.insert(MARK, Bson::Null);
        }
        Some(doc! { "q": filter, "u": { "$set": set } })
    }

    fn is_homeless(&self, old: &Document) -> bool {
        let names = self.mapping.names("ticketId");
        names
            .map(|name| old.get(name))
            .all(|id| matches!(id, None | Some(Bson::Null)))
    }

    /// Performs updates, and says how many were refused.
    pub(super) async fn write(
        &mut self,
        collection: &str,
        updates: &[Document],
    ) -> Result<usize, AdoptError> {
        if self.dry || updates.is_empty() {
            return Ok(0);
        }
        let command = doc! { "update": collection, "updates": updates.to_vec(), "ordered": false };
        let reply = self
            .patiently(|| self.store.write_command(command.clone()))
            .await?;
        let refused = reply.get_array("writeErrors").map_or(0, Vec::len);
        self.report.add(REFUSED, refused);
        Ok(refused)
    }
}
