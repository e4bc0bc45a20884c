//! The bytes of a series in the store.
//!
//! ```text
//!  version (1 byte, 2) | crc32c of the rest (4 bytes, little-endian) | protobuf
//! ```
//!
//! Version 1 was a JSON object, so its first byte is `{`; it is still read, and written anew as
//! version 2 when its series changes next. Fields may be added to the messages (protobuf skips what
//! it does not know); whoever changes what a field means gives a new version. Names and identity
//! are a small JSON text inside, because their shape belongs to others.
//!
//! Pure and total: any bytes are a series or an error.

mod rows;

use prost::Message as _;
use thiserror::Error;

use super::series::Series;
use rows::SeriesRow;

/// Written now.
const VERSION: u8 = 2;
/// The first byte of version 1.
const JSON: u8 = b'{';
const HEADER: usize = 5;

/// Why bytes are not a series.
#[derive(Debug, Error)]
pub enum EncodingError {
    /// Shorter than what precedes every series.
    #[error("{0} bytes are too few")]
    Short(usize),
    /// Of a version that this program does not know.
    #[error("version {0} is not known")]
    Version(u8),
    /// Bits have changed since they were written.
    #[error("the checksum says that bytes have changed")]
    Checksum,
    /// No message of ours.
    #[error("no protobuf message")]
    Proto(#[from] prost::DecodeError),
    /// A JSON part, or all of version 1.
    #[error("no JSON of a series")]
    Json(#[from] serde_json::Error),
    /// A distribution that cannot be one.
    #[error("no distribution")]
    Sketch(#[from] plimsoll_wire::sketch::SketchError),
    /// A part that contradicts another.
    #[error("{0} cannot be")]
    Part(&'static str),
}

/// The series' bytes.
pub fn encode(series: &Series) -> Result<Vec<u8>, EncodingError> {
    let row = SeriesRow::of(series)?;
    let mut bytes = Vec::with_capacity(HEADER + row.encoded_len());
    bytes.push(VERSION);
    bytes.extend_from_slice(&[0; HEADER - 1]);
    // A vector has always room.
    row.encode_raw(&mut bytes);
    if let Some((header, body)) = bytes.split_at_mut_checked(HEADER) {
        let checksum = crc32c::crc32c(body).to_le_bytes();
        if let Some(place) = header.last_chunk_mut() {
            *place = checksum;
        }
    }
    Ok(bytes)
}

/// The series of these bytes, of this version or an older one.
pub fn decode(bytes: &[u8]) -> Result<Series, EncodingError> {
    match bytes.first() {
        Some(&JSON) => Ok(serde_json::from_slice(bytes)?),
        Some(&VERSION) => decode_body(bytes),
        Some(version) => Err(EncodingError::Version(*version)),
        None => Err(EncodingError::Short(0)),
    }
}

fn decode_body(bytes: &[u8]) -> Result<Series, EncodingError> {
    let parts = bytes
        .get(1..)
        .and_then(|rest| rest.split_first_chunk::<{ HEADER - 1 }>());
    let Some((checksum, body)) = parts else {
        return Err(EncodingError::Short(bytes.len()));
    };
    if crc32c::crc32c(body) != u32::from_le_bytes(*checksum) {
        return Err(EncodingError::Checksum);
    }
    SeriesRow::decode(body)?.into_series()
}

#[cfg(test)]
mod tests;
