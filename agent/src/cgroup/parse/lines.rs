//! Lines, words and numbers of kernel text, and the one loop that goes over them.

use std::ops::ControlFlow;

/// A field we use did not hold what the kernel documents.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{file} line {line}: {field} is not a number below 2^64")]
pub struct ParseError {
    /// Name of the file.
    pub file: &'static str,
    /// Counted from 1.
    pub line: usize,
    /// Name of the field.
    pub field: &'static str,
}

/// What a line was good for: read on, or stop because nothing more is wanted; or the name of the
/// field that does not hold a number.
pub(super) type Line = Result<ControlFlow<()>, &'static str>;

/// Read on.
pub(super) const NEXT: Line = Ok(ControlFlow::Continue(()));
/// Nothing more is wanted.
pub(super) const DONE: Line = Ok(ControlFlow::Break(()));

/// Hands each line that is not empty to `take`, until that is done.
pub(super) fn each_line<'b>(
    file: &'static str,
    bytes: &'b [u8],
    mut take: impl FnMut(&'b [u8]) -> Line,
) -> Result<(), ParseError> {
    for (line, text) in (1..).zip(bytes.split(|byte| *byte == b'\n')) {
        if text.is_empty() {
            continue;
        }
        match take(text) {
            Ok(ControlFlow::Continue(())) => {}
            Ok(ControlFlow::Break(())) => break,
            Err(field) => return Err(ParseError { file, line, field }),
        }
    }
    Ok(())
}

/// Words between spaces.
pub(super) fn words(line: &[u8]) -> impl Iterator<Item = &[u8]> {
    line.split(|byte| *byte == b' ')
        .filter(|word| !word.is_empty())
}

/// Decimal digits and nothing else; otherwise the name of the field, for the error.
pub(super) fn number(text: &[u8], field: &'static str) -> Result<u64, &'static str> {
    if text.is_empty() {
        return Err(field);
    }
    text.iter()
        .try_fold(0_u64, |value, byte| {
            let digit = byte.checked_sub(b'0').filter(|digit| *digit < 10)?;
            value.checked_mul(10)?.checked_add(u64::from(digit))
        })
        .ok_or(field)
}

/// Reads these fields from a `name value` file into their places; stops at the last of them, since
/// the long files have what we need near the top.
pub(super) fn fields<const N: usize>(
    file: &'static str,
    bytes: &[u8],
    mut wanted: [(&'static str, &mut Option<u64>); N],
) -> Result<(), ParseError> {
    let mut missing = N;
    each_line(file, bytes, |line| {
        let mut parts = line.splitn(2, |byte| *byte == b' ');
        let (Some(name), Some(value)) = (parts.next(), parts.next()) else {
            return NEXT;
        };
        let Some((field, into)) = wanted
            .iter_mut()
            .find(|(field, _)| field.as_bytes() == name)
        else {
            return NEXT;
        };
        if into.replace(number(value, field)?).is_none() {
            missing -= 1;
        }
        if missing == 0 { DONE } else { NEXT }
    })
}
