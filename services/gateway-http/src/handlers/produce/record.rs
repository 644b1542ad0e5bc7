//! A record as JSON, in bodies and in lines.

use std::fmt;
use std::marker::PhantomData;

use serde::de::{Deserializer, Error, SeqAccess, Visitor};
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;
use tidemark_records::Header;
use utoipa::ToSchema;

use super::plan::Incoming;
use crate::Problem;
use crate::encoding::{Encoding, decode_base64};

/// Records of a JSON body, and headers of a record, at the most: what they take in memory is many times their
/// text.
const ITEMS_MAX: usize = 10_000;

/// A record to append.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct RecordIn<'a> {
    /// Decides the partition when none is named. Null: none.
    #[serde(borrow, default)]
    #[schema(value_type = Option<Value>)]
    key: Option<&'a RawValue>,
    /// Null writes a tombstone.
    #[serde(borrow)]
    #[schema(value_type = Option<Value>)]
    value: &'a RawValue,
    /// How the key stands here; the request's `encoding` when absent.
    key_encoding: Option<Encoding>,
    /// How the value stands here; the request's `encoding` when absent.
    value_encoding: Option<Encoding>,
    /// In order; names may repeat.
    #[serde(borrow, default, deserialize_with = "bounded")]
    headers: Vec<HeaderIn<'a>>,
    /// Its partition.
    partition: Option<i32>,
    /// ms since the Unix epoch; now when absent.
    timestamp: Option<i64>,
}

/// A record header.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct HeaderIn<'a> {
    /// Its name.
    key: String,
    /// Its value; may be null.
    #[serde(borrow, default)]
    #[schema(value_type = Option<Value>)]
    value: Option<&'a RawValue>,
    /// How the name stands here: `utf8` or `base64`.
    #[serde(default)]
    key_encoding: Encoding,
    /// How the value stands here.
    #[serde(default)]
    value_encoding: Encoding,
}

impl RecordIn<'_> {
    /// The record's bytes; `now_ms` is the timestamp of one without.
    pub(super) fn read(&self, default: Encoding, now_ms: i64) -> Result<Incoming, Problem> {
        let key = match self.key {
            Some(raw) => self.key_encoding.unwrap_or(default).decode(raw, "key")?,
            None => None,
        };
        let value_encoding = self.value_encoding.unwrap_or(default);
        let headers = self.headers.iter().map(HeaderIn::read);
        Ok(Incoming {
            key,
            value: value_encoding.decode(self.value, "value")?,
            headers: headers.collect::<Result<_, _>>()?,
            partition: self.partition,
            timestamp: self.timestamp.unwrap_or(now_ms),
        })
    }
}

impl HeaderIn<'_> {
    fn read(&self) -> Result<Header, Problem> {
        let key = match self.key_encoding {
            Encoding::Base64 => decode_base64(&self.key, "header key")?,
            Encoding::Utf8 => self.key.clone().into_bytes(),
            Encoding::Json => {
                return Err(Problem::invalid(
                    "read header key: its encoding is utf8 or base64",
                ));
            }
        };
        let value = match self.value {
            Some(raw) => self.value_encoding.decode(raw, "header value")?,
            None => None,
        };
        Ok(Header {
            key: key.into(),
            value: value.map(Into::into),
        })
    }
}

/// Where a record went.
#[derive(Clone, Debug, PartialEq, Serialize, ToSchema)]
pub(crate) struct Place {
    /// Its partition.
    pub(super) partition: i32,
    /// Its offset there; absent when its batch failed.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) offset: Option<i64>,
}

/// A list of at most [`ITEMS_MAX`] items, refused while it is read.
pub(super) fn bounded<'de, D, T>(deserializer: D) -> Result<Vec<T>, D::Error>
where
    D: Deserializer<'de>,
    T: Deserialize<'de>,
{
    struct Items<T>(PhantomData<T>);

    impl<'de, T: Deserialize<'de>> Visitor<'de> for Items<T> {
        type Value = Vec<T>;

        fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
            write!(f, "a list of at most {ITEMS_MAX} items")
        }

        fn visit_seq<A: SeqAccess<'de>>(self, mut items: A) -> Result<Vec<T>, A::Error> {
            let mut out = Vec::new();
            while let Some(item) = items.next_element()? {
                if out.len() == ITEMS_MAX {
                    return Err(Error::custom(format!("more than {ITEMS_MAX} items")));
                }
                out.push(item);
            }
            Ok(out)
        }
    }

    deserializer.deserialize_seq(Items(PhantomData))
}
