//! Parses a tracepoint's `format` file (kernel: Documentation/trace/events.rst, "Event formats").
//!
//! Pure. Lines that are no field are passed over; a field line that cannot be read is an error,
//! because a wrong offset would be a wrong record.

/// The layout of one tracepoint's record.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct EventFormat {
    fields: Vec<Field>,
}

/// One field of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Field {
    /// Name as the kernel spells it.
    pub name: String,
    /// Bytes from the start of the record.
    pub offset: u32,
    /// Bytes; 4 for a `__data_loc`, whatever it points to.
    pub size: u32,
    /// `__data_loc`: a word with length and offset of the value.
    pub data_loc: bool,
}

/// A `format` file that is none.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum FormatError {
    /// A line starts like a field and is none.
    #[error("line {line} of the event format is no field: {text:?}")]
    Field {
        /// Counted from 1.
        line: usize,
        /// The line.
        text: String,
    },
    /// No field at all.
    #[error("the event format has no fields")]
    Empty,
}

impl EventFormat {
    /// Parses the text of a `format` file.
    pub fn parse(text: &str) -> Result<Self, FormatError> {
        let mut fields = Vec::new();
        for (index, line) in text.lines().enumerate() {
            let Some(rest) = line.trim_start().strip_prefix("field:") else {
                continue;
            };
            let field = field(rest).ok_or_else(|| FormatError::Field {
                line: index + 1,
                text: line.trim().to_owned(),
            })?;
            fields.push(field);
        }
        if fields.is_empty() {
            Err(FormatError::Empty)
        } else {
            Ok(Self { fields })
        }
    }

    /// The field of that name.
    pub fn field(&self, name: &str) -> Option<&Field> {
        self.fields.iter().find(|field| field.name == name)
    }

    /// The offset of a plain field of that name and size.
    pub fn number(&self, name: &str, size: u32) -> Option<u32> {
        self.field(name)
            .filter(|field| !field.data_loc && field.size == size)
            .map(|field| field.offset)
    }

    /// The offset of a `__data_loc` word of that name.
    pub fn data_loc(&self, name: &str) -> Option<u32> {
        self.field(name)
            .filter(|field| field.data_loc && field.size == 4)
            .map(|field| field.offset)
    }
}

/// One line: `unsigned short common_type; offset:0; size:2; signed:0;`
fn field(rest: &str) -> Option<Field> {
    let mut parts = rest.split(';').map(str::trim);
    let declaration = parts.next()?;
    let (mut offset, mut size) = (None, None);
    for part in parts {
        match part.split_once(':') {
            Some(("offset", value)) => offset = Some(value.parse().ok()?),
            Some(("size", value)) => size = Some(value.parse().ok()?),
            _ => {}
        }
    }
    // `char prev_comm[16]`: the name is the last word without its brackets.
    let word = declaration.split_whitespace().last()?;
    let name = word.split('[').next()?.trim_start_matches('*');
    if name.is_empty() {
        return None;
    }
    Some(Field {
        name: name.to_owned(),
        offset: offset?,
        size: size?,
        data_loc: declaration.starts_with("__data_loc"),
    })
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const MARK_VICTIM_6_18: &str = "name: mark_victim\nID: 609\nformat:\n\
        \tfield:unsigned short common_type;\toffset:0;\tsize:2;\tsigned:0;\n\
        \n\
        \tfield:int pid;\toffset:8;\tsize:4;\tsigned:1;\n\
        \tfield:__data_loc char[] comm;\toffset:12;\tsize:4;\tsigned:0;\n\
        \tfield:unsigned long total_vm;\toffset:16;\tsize:8;\tsigned:0;\n\
        \tfield:char next_comm[16];\toffset:40;\tsize:16;\tsigned:0;\n\
        \n\
        print fmt: \"pid=%d comm=%s\", REC->pid, __get_str(comm)\n";

    #[test]
    fn offsets_by_name_and_shape() {
        let format = EventFormat::parse(MARK_VICTIM_6_18).unwrap();
        assert_eq!(format.number("pid", 4), Some(8));
        assert_eq!(format.data_loc("comm"), Some(12));
        assert_eq!(format.number("total_vm", 8), Some(16));
        assert_eq!(format.field("next_comm").unwrap().size, 16);
        // Another size is another field.
        assert_eq!(format.number("total_vm", 4), None);
        assert_eq!(format.number("comm", 4), None);
        assert_eq!(format.data_loc("pid"), None);
        assert_eq!(format.field("anon_rss"), None);
    }

    #[test]
    fn broken_fields_are_named() {
        let error = EventFormat::parse("\tfield:int pid;\toffset:x;\tsize:4;\n").unwrap_err();
        assert!(
            matches!(error, FormatError::Field { line: 1, .. }),
            "{error}"
        );
        assert!(matches!(
            EventFormat::parse("\tfield:int pid;\tsize:4;"),
            Err(FormatError::Field { .. })
        ));
        assert_eq!(
            EventFormat::parse("name: x\nID: 3\n"),
            Err(FormatError::Empty)
        );
    }

    proptest! {
        #[test]
        fn no_text_panics(text in "(\tfield:[a-z_\\[\\]* ]{0,12};?\toffset:[0-9x]{0,12};\tsize:[0-9]{0,3};\n){0,4}\\PC{0,40}") {
            drop(EventFormat::parse(&text));
        }
    }
}
