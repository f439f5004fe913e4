//! Dates of every form: what Rust reads and what the database's own expression gives are the same.

use futures::TryStreamExt;
use mongodb::bson::{Bson, DateTime, Document, RawDocumentBuf, Timestamp, doc, oid::ObjectId};
use ticket_gateway::access::Grant;
use ticket_mongo::date;

use super::{id, insert, oid, with_store};

/// A value, and if it is understood.
fn forms() -> Vec<(Bson, bool)> {
    let mut forms: Vec<(Bson, bool)> = Vec::new();
    let understood = [
        "2023-05-05T10:00:00.000Z",
        "2023-05-05T10:00:00.123456789Z",
        "2023-05-05T10:00:00,5Z",
        "2023-05-05T10:00:00",
        "2023-05-05 10:00:00",
        "2023-05-05 10:00",
        "2023-05-05",
        "2023/05/05",
        "2023.5.5 7:05 PM",
        "2023-05-05T00:00:00+03:00",
        "2023-05-05T23:59:59-0330",
        "2023-05-05T23:59:59+03",
        "2023-05-05 10:00:00 UTC",
        "2023-05-05T13:00:00+03:00[Asia/Riyadh]",
        "  2023-05-05T10:00:00Z\n",
        "1969-07-20T20:17:40Z",
        "0001-01-01T00:00:00Z",
        "9999-12-31T23:59:59Z",
        "2024-02-29",
        "Fri, 05 May 2023 10:00:00 GMT",
        "05 May 2023 10:00:00 +0300",
        "5-May-2023",
        "Fri May 05 2023 13:00:00 GMT+0300 (Arabian Standard Time)",
        "May 5, 2023",
        "September 5, 2023 at 12:05 AM",
        "sep 5 2023, 12:05 pm",
        "1683280800",
        "1683280800000",
        "1683280800.25",
        "-1683280800000",
        "1683280800000000",
        "1683280800000000000",
    ];
    let not = [
        "",
        " ",
        "yesterday",
        "5/5/2023",
        "05.05.2023",
        "2023-02-30",
        "2023-02-29",
        "2023-13-01",
        "2023-00-10",
        "2023-05-05T24:00:00",
        "2023-05-05T10:60",
        "2023-05-05T10:00:60",
        "2023-05-05T10:00:00+24:00",
        "2023-05-05 13:00 PM",
        "2023-05-05 0:30 am",
        "0000-05-05",
        "5 Foo 2023",
        "20230505",
        "2023-05-05T10",
        "٢٠٢٣-٠٥-٠٥",
    ];
    forms.extend(understood.map(|text| (text.into(), true)));
    forms.extend(not.map(|text| (text.into(), false)));
    let numbers = [
        1_683_280_800.0,
        1_683_280_800.999,
        1_683_280_800_123.0,
        1_683_280_800_123.9,
        -86_400_000.0,
        -86_400_000_000.5,
        1.683e15,
        1.683e18,
        1.0,
    ];
    forms.extend(numbers.map(|number| (number.into(), true)));
    forms.extend([
        (1_683_280_800_i32.into(), true),
        (1_683_280_800_123_i64.into(), true),
        (99_999_999_999_i64.into(), true),
        (100_000_000_000_i64.into(), true),
        (DateTime::from_millis(1_683_280_800_123).into(), true),
        (DateTime::from_millis(-5).into(), true),
        // The first and last that every server takes.
        (DateTime::from_millis(253_402_300_799_999).into(), true),
        (DateTime::from_millis(-62_135_596_800_000).into(), true),
        (
            Timestamp {
                time: 1_683_280_800,
                increment: 3,
            }
            .into(),
            true,
        ),
        (0.into(), false),
        (0.0.into(), false),
        (f64::NAN.into(), false),
        (1e300.into(), false),
        (f64::INFINITY.into(), false),
        (true.into(), false),
        (Bson::Null, false),
        (doc! {}.into(), false),
        (ObjectId::from_bytes([1; 12]).into(), false),
        (vec!["2023-05-05"].into(), false),
    ]);
    forms
}

#[tokio::test]
async fn a_date_is_the_same_for_rust_and_for_the_database() {
    with_store(|database, _| async move {
        let forms = forms();
        let documents = forms.iter().zip(0..);
        let documents = documents.map(|((value, _), n)| doc! { "_id": n, "at": value });
        insert(&database, "forms", documents).await;
        let read = doc! { "$project": { "at": 1, "read": date::expression("$at") } };
        let collection = database.collection::<Document>("forms");
        let found = collection.aggregate([read, doc! { "$sort": { "_id": 1 } }]);
        let found: Vec<Document> = found.await.unwrap().try_collect().await.unwrap();
        assert_eq!(found.len(), forms.len());
        for (document, (value, understood)) in found.iter().zip(&forms) {
            let raw = RawDocumentBuf::try_from(&doc! { "at": value }).unwrap();
            let ours = date::millis(raw.get("at").unwrap().unwrap());
            let theirs = match document.get("read") {
                Some(Bson::DateTime(date)) => Some(date.timestamp_millis()),
                _ => None,
            };
            assert_eq!(ours, theirs, "{value}");
            assert_eq!(ours.is_some(), *understood, "{value}");
        }
    })
    .await;
}

#[tokio::test]
async fn pages_go_through_dates_of_every_form() {
    with_store(|database, store| async move {
        let all = forms().len();
        let tickets = forms().into_iter().zip(0_u8..);
        let tickets = tickets
            .map(|((value, _), n)| doc! { "_id": oid(id(1_600_000_000, n)), "createdAt": value });
        insert(&database, "tickets", tickets).await;
        let whole = store.tickets(None, &[], 1_000, &Grant::TEAM).await.unwrap();
        assert_eq!(whole.len(), all);
        for limit in [1, 7] {
            assert_eq!(super::former::pages(&store, &[], limit).await, whole);
        }
    })
    .await;
}
