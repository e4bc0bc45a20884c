//! Each misbehaviour as a client meets it.
