//! What is done to one value on its way: most are carried as they stand.

use super::place::Layout;
use super::scalar::Scalar;
use super::shape::{Context, Fault, Shape, Side};
use super::write::Body;
use crate::engine::json::{self, Keys, Value};
use base64::engine::general_purpose::STANDARD as BASE64;
use base64::read::DecoderReader;
use base64::{DecodeError, Engine as _};
use flate2::read::ZlibDecoder;
use serde::{Deserialize, Serialize};
use std::io::{self, Read};

/// What is done to a value.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub enum Convert {
    /// Nothing.
    Carry,
    /// An enumeration, one-to-one: (MQTT, legacy).
    Values {
        /// The pairs.
        pairs: Vec<(Scalar, Scalar)>,
        /// More pairs, which are only read on MQTT: a misspelt value beside the proper one.
        also: Vec<(Scalar, Scalar)>,
        /// Whether a value that is in no pair is carried as it stands.
        open: bool,
    },
    /// The legacy `null` is this on MQTT.
    Null(Scalar),
    /// MQTT has the Base64 of the legacy text.
    Base64 {
        /// Compressed with zlib before that.
        zlib: bool,
    },
    /// An array, each element by a shape of its own.
    Each(Box<Shape>),
    /// Towards MQTT, a legacy path is the name of what it is the path of: (beginning, name).
    Starting(Vec<(String, String)>),
    /// Towards MQTT, a text stands before the legacy one.
    Prefix(String),
    /// Towards MQTT, a legacy text that is not empty begins so.
    Leading(String),
}

/// Appends `raw`, read on `from`, as the other side writes it.
///
/// # Errors
/// [`Fault::Bad`] says what is wrong with the value, not where it stands.
pub fn convert(
    rule: &Convert,
    from: Side,
    raw: &str,
    context: &Context<'_>,
    out: &mut Vec<u8>,
) -> Result<(), Fault> {
    match rule {
        Convert::Carry => carry(raw, out),
        Convert::Values { pairs, also, open } => {
            let also: &[_] = if from == Side::Mqtt { also } else { &[] };
            values(pairs, also, *open, from, raw, out)?;
        }
        Convert::Null(stand_in) => match from {
            Side::Legacy if raw == "null" => stand_in.write(out),
            Side::Mqtt if stand_in.is(raw) => out.extend_from_slice(b"null"),
            _ => carry(raw, out),
        },
        Convert::Base64 { zlib } => match from {
            Side::Legacy => encode(raw, *zlib, out)?,
            Side::Mqtt => decode(raw, *zlib, context.limit, out)?,
        },
        Convert::Each(shape) => each(shape, from, raw, context, out)?,
        Convert::Starting(beginnings) => {
            let name = beginnings.iter().find(|(b, _)| {
                from == Side::Legacy
                    && json::decode(raw).is_some_and(|t| t.starts_with(b.as_bytes()))
            });
            match name {
                Some((_, name)) => json::push_string(out, name),
                None => carry(raw, out),
            }
        }
        Convert::Prefix(text) if from == Side::Legacy => put_before(text, raw, out),
        Convert::Leading(text) if from == Side::Legacy && !begins(raw, text) => {
            put_before(text, raw, out);
        }
        Convert::Prefix(_) | Convert::Leading(_) => carry(raw, out),
    }
    Ok(())
}

fn put_before(text: &str, raw: &str, out: &mut Vec<u8>) {
    match raw.strip_prefix('"') {
        Some(rest) => {
            json::push_string(out, text);
            out.pop();
            out.extend_from_slice(rest.as_bytes());
        }
        None => carry(raw, out),
    }
}

/// Whether a text begins so, or is empty.
fn begins(raw: &str, text: &str) -> bool {
    json::decode(raw).is_some_and(|t| t.is_empty() || t.starts_with(text.as_bytes()))
}

fn carry(raw: &str, out: &mut Vec<u8>) {
    out.extend_from_slice(raw.as_bytes());
}

fn values(
    pairs: &[(Scalar, Scalar)],
    also: &[(Scalar, Scalar)],
    open: bool,
    from: Side,
    raw: &str,
    out: &mut Vec<u8>,
) -> Result<(), Fault> {
    let ends = |pair: &'_ (Scalar, Scalar)| match from {
        Side::Legacy => (pair.1.clone(), pair.0.clone()),
        Side::Mqtt => pair.clone(),
    };
    if let Some((_, there)) = pairs.iter().chain(also).map(ends).find(|(here, _)| here.is(raw)) {
        there.write(out);
        return Ok(());
    }
    if open {
        carry(raw, out);
        return Ok(());
    }
    let known: Vec<String> = pairs.iter().map(|p| ends(p).0.json()).collect();
    Err(Fault::Bad(format!("{} is none of {}", head(raw), known.join(", "))))
}

/// The beginning of a value, for a message.
#[must_use]
pub fn head(raw: &str) -> String {
    const MOST: usize = 60;
    if raw.chars().nth(MOST).is_none() {
        return raw.to_owned();
    }
    let mut head: String = raw.chars().take(MOST).collect();
    head.push_str("...");
    head
}

fn encode(raw: &str, zlib: bool, out: &mut Vec<u8>) -> Result<(), Fault> {
    let Some(text) = json::decode_str(raw) else {
        let kind = if raw.starts_with('"') { "a text with a lone surrogate" } else { "no text" };
        return Err(Fault::Bad(format!("{kind}, which has no UTF-8 for Base64")));
    };
    if zlib {
        let mut packed = Vec::new();
        let level = flate2::Compression::default();
        let mut reader = flate2::read::ZlibEncoder::new(text.as_bytes(), level);
        reader.read_to_end(&mut packed).map_err(|e| Fault::Bad(e.to_string()))?;
        push_base64(&packed, out)
    } else {
        push_base64(text.as_bytes(), out)
    }
}

/// Appends bytes as a JSON string of Base64; they may be many, so that they are written in their place.
fn push_base64(bytes: &[u8], out: &mut Vec<u8>) -> Result<(), Fault> {
    let too_long = || Fault::Bad("too long for Base64".into());
    let length = base64::encoded_len(bytes.len(), true).ok_or_else(too_long)?;
    out.reserve(length + 2);
    out.push(b'"');
    let start = out.len();
    out.resize(start + length, 0);
    let place = out.get_mut(start..).unwrap_or_default();
    BASE64.encode_slice(bytes, place).map_err(|_| too_long())?;
    out.push(b'"');
    Ok(())
}

fn decode(raw: &str, zlib: bool, limit: usize, out: &mut Vec<u8>) -> Result<(), Fault> {
    let encoded = json::decode(raw).ok_or_else(|| Fault::Bad("no text".into()))?;
    let bytes = DecoderReader::new(&*encoded, &BASE64);
    out.push(b'"');
    if zlib {
        let most = u64::try_from(limit).unwrap_or(u64::MAX).saturating_add(1);
        if push_text(ZlibDecoder::new(bytes).take(most), out)? > limit {
            return Err(Fault::Bad(format!("inflates to more than {limit} bytes")));
        }
    } else {
        push_text(bytes, out)?;
    }
    out.push(b'"');
    Ok(())
}

/// Appends what is read, as the inside of a JSON string, piece by piece: it may be long. Says how many
/// bytes were read.
fn push_text(mut bytes: impl Read, out: &mut Vec<u8>) -> Result<usize, Fault> {
    let not_utf8 = || Fault::Bad("the Base64 of what is not UTF-8".into());
    let unreadable = |error: io::Error| {
        let base64 = error.get_ref().is_some_and(|e| e.is::<DecodeError>());
        Fault::Bad(format!("not {}: {error}", if base64 { "Base64" } else { "zlib" }))
    };
    // The first bytes may be the beginning of a character.
    let (mut piece, mut held, mut count) = ([0; 12 * 1024], 0, 0);
    loop {
        let room = piece.get_mut(held..).unwrap_or_default();
        let read = bytes.read(room).map_err(unreadable)?;
        if read == 0 {
            return if held == 0 { Ok(count) } else { Err(not_utf8()) };
        }
        count += read;
        let whole = piece.get(..held + read).unwrap_or_default();
        let valid = match std::str::from_utf8(whole) {
            Ok(text) => text.len(),
            Err(error) if error.error_len().is_none() => error.valid_up_to(),
            Err(_) => return Err(not_utf8()),
        };
        let text = whole.get(..valid).and_then(|valid| std::str::from_utf8(valid).ok());
        json::push_text(out, text.unwrap_or_default());
        piece.copy_within(valid..held + read, 0);
        held = held + read - valid;
    }
}

fn each(
    shape: &Shape,
    from: Side,
    raw: &str,
    context: &Context<'_>,
    out: &mut Vec<u8>,
) -> Result<(), Fault> {
    out.push(b'[');
    let mut count = 0usize;
    let mut element = |body: &dyn Fn(&mut Vec<u8>) -> Result<(), Fault>| {
        if count > 0 {
            out.push(b',');
        }
        let done = body(out).map_err(|fault| match fault {
            Fault::Missing(what) => Fault::Missing(format!("element {count}: {what}")),
            Fault::Bad(why) => Fault::Bad(format!("element {count}: {why}")),
            Fault::NeedsCall => Fault::NeedsCall,
        });
        count += 1;
        done
    };
    let was_an_array = if shape.takes_text(from) {
        json::for_each(raw, &mut |text| {
            element(&|out| shape.translate(from, &Value::parse(text), context, out))
        })
    } else {
        // A list may be long, and its objects are mostly alike.
        let mut layout = Layout::default();
        json::for_each_object(raw, &mut |object| {
            if let Ok((object, Keys::New)) = object {
                layout = Layout::new(shape, from, object);
            }
            element(&|out| {
                let (object, _) = object.as_ref().map_err(|e| e.clone())?;
                shape.body(from, &Body { text: "", object, layout: &layout }, context, out)
            })
        })
    }?;
    out.push(b']');
    if was_an_array { Ok(()) } else { Err(Fault::Bad("not an array".into())) }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::engine::clock::Now;
    use crate::engine::mapping::scalar::Scalar;
    use std::time::{Duration, SystemTime};

    #[test]
    fn values_that_are_only_read_are_never_written() -> Result<(), Fault> {
        let pair = |mqtt: &str| (Scalar::Text(mqtt.into()), Scalar::Text("absent".into()));
        let (pairs, also) = (vec![pair("diconnected")], vec![pair("disconnected")]);
        let rule = Convert::Values { pairs, also, open: false };
        let now = Now { monotonic: Duration::ZERO, wall: SystemTime::UNIX_EPOCH };
        let context =
            Context { now, source: "", request: None, instead: &[], known: &Vec::new(), limit: 1 };
        for (from, raw, expected) in [
            (Side::Mqtt, "\"diconnected\"", "\"absent\""),
            (Side::Mqtt, "\"disconnected\"", "\"absent\""),
            (Side::Legacy, "\"absent\"", "\"diconnected\""),
        ] {
            let mut out = Vec::new();
            convert(&rule, from, raw, &context, &mut out)?;
            assert_eq!(String::from_utf8_lossy(&out), expected, "{raw}");
        }
        assert!(convert(&rule, Side::Mqtt, "\"gone\"", &context, &mut Vec::new()).is_err());
        Ok(())
    }
}
