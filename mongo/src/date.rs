//! Points in time as other servers stored them, and the one way to read them: in Rust, and as a pipeline's expression
//! that gives the same.
//!
//! Understood are dates, timestamps, numbers, and texts in the forms of [`FORMS`]; a text without an offset is in UTC.
//! A number's unit follows from its size: seconds, milliseconds, microseconds or nanoseconds since 1970; zero is no
//! time. Neither side uses the server's or a library's own reading of texts: those differ between versions.

use std::sync::LazyLock;

use mongodb::bson::{Bson, DateTime, Document, RawBsonRef, doc};
use regex_lite::{Captures, Regex};

/// The beginning of the year 1. Dates of a database reach beyond what RFC 3339 can write; cut to it, they keep
/// their order.
pub const FIRST: i64 = -62_135_596_800_000;

/// Nearly the end of the year 9999.
pub const LAST: i64 = 253_402_207_200_000;

/// Below this, a number counts seconds; as milliseconds it would be a day before March of 1973.
const SECONDS: f64 = 1e11;
/// Below this, it counts milliseconds.
const MILLISECONDS: f64 = 1e14;
/// Below this, it counts microseconds, and from here on nanoseconds.
const MICROSECONDS: f64 = 1e17;

/// The months, by what their names begin with.
const MONTHS: [&str; 12] = [
    "jan", "feb", "mar", "apr", "may", "jun", "jul", "aug", "sep", "oct", "nov", "dec",
];

/// A number in a text.
const NUMBER: &str = r"^[ \t\r\n]*(-?[0-9]{9,19}(?:\.[0-9]{1,9})?)[ \t\r\n]*$";

/// The end of a text: the zone, and its name in brackets.
macro_rules! zone {
    () => {
        r"[ ]*(?:Z|z|UTC|GMT)?(?:([+-])([0-9]{2}):?([0-9]{2})?)?(?:[ ]*[(\[][^)\]]*[)\]])?[ \t\r\n]*$"
    };
}

/// The places of the parts among the groups of a form: year, month, day, hour, minute, second, fraction, half of the
/// day, sign, hours and minutes of the offset. Zero is none.
type Places = [usize; 11];

/// The forms of texts: `2023-05-05T10:00:00.000+03:00` and what is left of it, `5 May 2023 10:00:00 GMT` (RFC 9110,
/// e-mail), and `Fri May 05 2023 10:00:00 GMT+0300 (Arabian Standard Time)` (JavaScript's own), also with `AM` or `PM`.
const FORMS: [(&str, Places); 3] = [
    (
        concat!(
            r"^[ \t\r\n]*([0-9]{4})[-/.]([0-9]{1,2})[-/.]([0-9]{1,2})",
            r"(?:(?:[Tt]|,?[ ]+)([0-9]{1,2}):([0-9]{2})(?::([0-9]{2})(?:[.,]([0-9]{1,9}))?)?(?:[ ]*([AaPp])[Mm])?)?",
            zone!()
        ),
        [1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11],
    ),
    (
        concat!(
            r"^[ \t\r\n]*(?:[A-Za-z]{3,9},?[ ]+)?([0-9]{1,2})[ -]([A-Za-z]{3,9})\.?,?[ -]([0-9]{4})",
            r"(?:,?[ ]+([0-9]{1,2}):([0-9]{2})(?::([0-9]{2})(?:[.,]([0-9]{1,9}))?)?(?:[ ]*([AaPp])[Mm])?)?",
            zone!()
        ),
        [3, 2, 1, 4, 5, 6, 7, 8, 9, 10, 11],
    ),
    (
        concat!(
            r"^[ \t\r\n]*(?:[A-Za-z]{3,9},?[ ]+)?([A-Za-z]{3,9})\.?[ ]+([0-9]{1,2}),?[ ]+([0-9]{4})",
            r"(?:,?[ ]+(?:at[ ]+)?([0-9]{1,2}):([0-9]{2})(?::([0-9]{2})(?:[.,]([0-9]{1,9}))?)?(?:[ ]*([AaPp])[Mm])?)?",
            zone!()
        ),
        [3, 1, 2, 4, 5, 6, 7, 8, 9, 10, 11],
    ),
];

static READ_NUMBER: LazyLock<Option<Regex>> = LazyLock::new(|| Regex::new(NUMBER).ok());
static READ_FORMS: LazyLock<Vec<(Regex, Places)>> = LazyLock::new(|| {
    let compiled = FORMS
        .iter()
        .map(|(form, places)| Some((Regex::new(form).ok()?, *places)));
    compiled.flatten().collect()
});

/// The point in time in a value, in ms since 1970.
pub fn millis(value: RawBsonRef<'_>) -> Option<i64> {
    let ms = match value {
        RawBsonRef::DateTime(date) => date.timestamp_millis(),
        RawBsonRef::Timestamp(stamp) => i64::from(stamp.time) * 1_000,
        RawBsonRef::Int32(number) => of_number(f64::from(number))?,
        #[expect(
            clippy::cast_precision_loss,
            reason = "the expression, too, counts in doubles; exact for every time in milliseconds"
        )]
        RawBsonRef::Int64(number) => of_number(number as f64)?,
        RawBsonRef::Double(number) => of_number(number)?,
        RawBsonRef::String(text) => of_text(text)?,
        _ => return None,
    };
    Some(ms.clamp(FIRST, LAST))
}

fn of_number(number: f64) -> Option<i64> {
    let size = number.abs();
    if !number.is_finite() || size == 0.0 {
        return None;
    }
    let ms = if size < SECONDS {
        number * 1_000.0
    } else if size < MILLISECONDS {
        number
    } else if size < MICROSECONDS {
        number / 1_000.0
    } else {
        number / 1_000_000.0
    };
    // Beyond this it is no whole number of 64 bits, for the expression either.
    #[expect(clippy::cast_possible_truncation, reason = "within the range")]
    (ms.abs() < 9e18).then_some(ms.trunc() as i64)
}

fn of_text(text: &str) -> Option<i64> {
    if let Some(found) = READ_NUMBER.as_ref().and_then(|form| form.captures(text)) {
        return of_number(found.get(1)?.as_str().parse().ok()?);
    }
    READ_FORMS.iter().find_map(|(form, places)| {
        let found = form.captures(text)?;
        Some(of_parts(&found, *places))
    })?
}

fn of_parts(found: &Captures<'_>, places: Places) -> Option<i64> {
    let [
        year,
        named,
        day,
        hour,
        minute,
        second,
        fraction,
        half,
        sign,
        hours,
        minutes,
    ] = places.map(|place| found.get(place).map(|part| part.as_str()));
    let number = |part: Option<&str>| part.map_or(Some(0), |digits| digits.parse::<i16>().ok());
    let fraction = fraction.map(|digits| format!("{digits:0<3}")[..3].to_owned());
    let hour = number(hour)?;
    let hour = match half.map(str::to_ascii_lowercase).as_deref() {
        None => hour,
        Some(_) if !(1..=12).contains(&hour) => return None,
        Some("a") => hour % 12,
        Some(_) => hour % 12 + 12,
    };
    let (offset_hours, offset_minutes) = (number(hours)?, number(minutes)?);
    if number(year)? < 1 || offset_hours > 23 || offset_minutes > 59 {
        return None;
    }
    let small = |part: i16| i8::try_from(part).ok();
    let at = jiff::civil::DateTime::new(
        number(year)?,
        small(month(named?)?)?,
        small(number(day)?)?,
        small(hour)?,
        small(number(minute)?)?,
        small(number(second)?)?,
        i32::from(number(fraction.as_deref())?) * 1_000_000,
    );
    let epoch = jiff::civil::date(1970, 1, 1).at(0, 0, 0, 0);
    let since = i64::try_from(at.ok()?.duration_since(epoch).as_millis()).ok()?;
    let offset = (i64::from(offset_hours) * 60 + i64::from(offset_minutes)) * 60_000;
    let offset = if sign == Some("-") { -offset } else { offset };
    Some(since - offset)
}

/// The number of a month: its digits, or the beginning of its name.
fn month(text: &str) -> Option<i16> {
    if let Ok(number) = text.parse() {
        return Some(number);
    }
    let name = text.get(..3)?.to_ascii_lowercase();
    let place = MONTHS.iter().position(|month| *month == name)?;
    i16::try_from(place + 1).ok()
}

/// The expression of a pipeline that gives the date of the value of `input`, such as `$createdAt`, or null: the same as
/// [`millis`].
pub fn expression(input: &str) -> Document {
    let is = |kinds: &[&str]| doc! { "$in": [{ "$type": "$$value" }, kinds.to_vec()] };
    let date = doc! { "$switch": {
        "branches": [
            { "case": is(&["date"]), "then": "$$value" },
            { "case": is(&["timestamp"]), "then": convert("$$value", "date") },
            { "case": is(&["int", "long", "double"]), "then": number_expression("$$value") },
            { "case": is(&["string"]), "then": text_expression() },
        ],
        "default": null,
    } };
    let bound = |ms| Bson::from(DateTime::from_millis(ms));
    doc! { "$let": {
        "vars": { "value": input },
        "in": { "$let": {
            "vars": { "date": date },
            "in": { "$switch": {
                "branches": [
                    { "case": { "$eq": ["$$date", null] }, "then": null },
                    { "case": { "$lt": ["$$date", bound(FIRST)] }, "then": bound(FIRST) },
                    { "case": { "$gt": ["$$date", bound(LAST)] }, "then": bound(LAST) },
                ],
                "default": "$$date",
            } },
        } },
    } }
}

fn convert(input: impl Into<Bson>, to: &str) -> Document {
    doc! { "$convert": { "input": input.into(), "to": to, "onError": null, "onNull": null } }
}

fn number_expression(input: impl Into<Bson>) -> Document {
    let below = |bound: f64| doc! { "$lt": [{ "$abs": "$$number" }, bound] };
    let ms = doc! { "$switch": {
        "branches": [
            { "case": below(SECONDS), "then": { "$multiply": ["$$number", 1_000.0] } },
            { "case": below(MILLISECONDS), "then": "$$number" },
            { "case": below(MICROSECONDS), "then": { "$divide": ["$$number", 1_000.0] } },
        ],
        "default": { "$divide": ["$$number", 1_000_000.0] },
    } };
    // Whole milliseconds first: a date made of a double is rounded by some servers and cut by others.
    let date = convert(convert(doc! { "$trunc": ms }, "long"), "date");
    doc! { "$let": {
        "vars": { "number": convert(input, "double") },
        "in": { "$cond": [
            { "$in": ["$$number", [Bson::Null, Bson::Double(0.0), Bson::Double(f64::NAN)]] },
            null,
            date,
        ] },
    } }
}

fn text_expression() -> Document {
    let found = |form: &str| doc! { "$regexFind": { "input": "$$value", "regex": form } };
    let mut branches = Vec::new();
    for (form, places) in FORMS {
        let parts: Vec<Document> = places
            .iter()
            .map(|place| doc! { "$arrayElemAt": ["$$found.captures", bson_place(*place)] })
            .collect();
        branches.push(doc! { "$let": {
            "vars": { "found": found(form) },
            "in": { "$cond": [{ "$eq": ["$$found", null] }, null, parts] },
        } });
    }
    let first = branches.into_iter().rev().fold(Bson::Null, |rest, branch| {
        doc! { "$ifNull": [branch, rest] }.into()
    });
    let number = doc! { "$arrayElemAt": ["$$number.captures", 0] };
    doc! { "$let": {
        "vars": { "number": found(NUMBER) },
        "in": { "$cond": [
            { "$ne": ["$$number", null] },
            number_expression(number),
            { "$let": {
                "vars": { "parts": first },
                "in": { "$cond": [{ "$eq": ["$$parts", null] }, null, parts_expression()] },
            } },
        ] },
    } }
}

/// Groups count from zero in an answer of `$regexFind`.
fn bson_place(place: usize) -> i32 {
    i32::try_from(place).unwrap_or(1) - 1
}

fn part(place: i32) -> Document {
    doc! { "$arrayElemAt": ["$$parts", place] }
}

fn parts_expression() -> Document {
    let int = |place| doc! { "$toInt": { "$ifNull": [part(place), "0"] } };
    let lower = |place, length: i32| {
        doc! { "$toLower": { "$substrCP": [{ "$ifNull": [part(place), ""] }, 0, length] } }
    };
    let fraction = doc! { "$concat": [{ "$ifNull": [part(6), ""] }, "000"] };
    let month = doc! { "$ifNull": [
        convert(part(1), "int"),
        { "$add": [{ "$indexOfArray": [MONTHS.to_vec(), lower(1, 3)] }, 1] },
    ] };
    let vars = doc! {
        "year": int(0), "month": month, "day": int(2), "hour": int(3), "minute": int(4),
        "second": int(5), "ms": { "$toInt": { "$substrCP": [fraction, 0, 3] } },
        "half": lower(7, 1), "sign": part(8), "oh": int(9), "om": int(10),
    };
    let within = |name: &str, low: i32, high: i32| {
        let name = format!("$${name}");
        [
            doc! { "$gte": [&name, low] },
            doc! { "$lte": [&name, high] },
        ]
    };
    let mut valid: Vec<Document> = [
        within("year", 1, 9_999),
        within("month", 1, 12),
        within("day", 1, 31),
        within("hour", 0, 23),
        within("minute", 0, 59),
        within("second", 0, 59),
        within("oh", 0, 23),
        within("om", 0, 59),
    ]
    .concat();
    let twelve = within("hour", 1, 12).to_vec();
    valid.push(doc! { "$or": [{ "$eq": ["$$half", ""] }, { "$and": twelve }] });
    doc! { "$let": {
        "vars": vars,
        "in": { "$cond": [{ "$and": valid }, moment_expression(), null] },
    } }
}

fn moment_expression() -> Document {
    let afternoon = doc! { "$cond": [{ "$eq": ["$$half", "p"] }, 12, 0] };
    let hour = doc! { "$cond": [
        { "$eq": ["$$half", ""] },
        "$$hour",
        { "$add": [{ "$mod": ["$$hour", 12] }, afternoon] },
    ] };
    let date = doc! { "$dateFromParts": {
        "year": "$$year", "month": "$$month", "day": "$$day", "hour": hour,
        "minute": "$$minute", "second": "$$second", "millisecond": "$$ms",
    } };
    let offset = doc! { "$multiply": [
        { "$add": [{ "$multiply": ["$$oh", 60] }, "$$om"] },
        { "$cond": [{ "$eq": ["$$sign", "-"] }, -60_000_i64, 60_000_i64] },
    ] };
    doc! { "$let": {
        "vars": { "moment": date },
        // A day that the month does not have is carried over into the next.
        "in": { "$cond": [
            { "$eq": [{ "$dayOfMonth": "$$moment" }, "$$day"] },
            convert(doc! { "$subtract": [convert("$$moment", "long"), offset] }, "date"),
            null,
        ] },
    } }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_form_compiles() {
        assert_eq!(READ_FORMS.len(), FORMS.len());
        assert!(READ_NUMBER.is_some());
    }

    #[test]
    fn texts_are_read_as_they_are_meant() {
        let at = 1_683_280_800_000;
        for text in [
            "2023-05-05T10:00:00.000Z",
            "2023-05-05T10:00:00",
            "2023-05-05 10:00:00",
            "2023-05-05 10:00",
            "2023/5/5 10:00",
            "2023-05-05T13:00:00+03:00",
            "2023-05-05T06:30:00-0330",
            " 2023-05-05T13:00:00.000000+03[Asia/Riyadh]\n",
            "Fri, 05 May 2023 10:00:00 GMT",
            "Fri May 05 2023 13:00:00 GMT+0300 (Arabian Standard Time)",
            "May 5, 2023, 10:00:00 AM",
            "May 5, 2023 at 10:00 AM",
            "5 May 2023 10:00",
            "1683280800",
            "1683280800000",
        ] {
            assert_eq!(of_text(text), Some(at), "{text}");
        }
        for text in [
            "",
            "yesterday",
            "2023-02-30",
            "5/5/2023",
            "2023-05-05T25:00",
            "0000-01-01",
        ] {
            assert_eq!(of_text(text), None, "{text}");
        }
    }
}
