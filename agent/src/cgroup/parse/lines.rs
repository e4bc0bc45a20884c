//! Lines, words and numbers of kernel text.

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

/// Lines with their numbers; empty ones are passed over.
pub(super) fn lines(bytes: &[u8]) -> impl Iterator<Item = (usize, &[u8])> {
    (1..)
        .zip(bytes.split(|byte| *byte == b'\n'))
        .filter(|(_, line)| !line.is_empty())
}

/// Words between spaces.
pub(super) fn words(line: &[u8]) -> impl Iterator<Item = &[u8]> {
    line.split(|byte| *byte == b' ')
        .filter(|word| !word.is_empty())
}

/// The name of a `name value` line, and the value.
pub(super) fn pair(line: &[u8]) -> Option<(&[u8], &[u8])> {
    let at = line.iter().position(|byte| *byte == b' ')?;
    Some((line.get(..at)?, line.get(at + 1..)?))
}

/// Decimal digits and nothing else.
pub(super) fn number(text: &[u8]) -> Option<u64> {
    if text.is_empty() {
        return None;
    }
    text.iter().try_fold(0_u64, |value, byte| {
        let digit = byte.checked_sub(b'0').filter(|digit| *digit < 10)?;
        value.checked_mul(10)?.checked_add(u64::from(digit))
    })
}

/// A field of a `name value` file and where its number goes.
pub(super) struct Field<'a> {
    /// As the kernel spells it.
    pub(super) name: &'static str,
    /// Filled when found.
    pub(super) into: &'a mut Option<u64>,
}

/// Reads the fields from a `name value` file; stops at the last of them, since the long files have
/// what we need near the top.
pub(super) fn fields(
    file: &'static str,
    bytes: &[u8],
    wanted: &mut [Field<'_>],
) -> Result<(), ParseError> {
    let mut missing = wanted.len();
    for (line, text) in lines(bytes) {
        let Some((name, value)) = pair(text) else {
            continue;
        };
        let Some(field) = wanted
            .iter_mut()
            .find(|field| field.name.as_bytes() == name)
        else {
            continue;
        };
        let value = number(value).ok_or(ParseError {
            file,
            line,
            field: field.name,
        })?;
        if field.into.replace(value).is_none() {
            missing -= 1;
            if missing == 0 {
                break;
            }
        }
    }
    Ok(())
}
