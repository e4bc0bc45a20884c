//! How the generated types are written: members in the order of their names, absent ones left out.

use serde::Serialize;
use serde::ser::SerializeMap;

/// Numbers of OCSF, and what they are in words; the first is the unknown one.
macro_rules! enumeration {
    ($(#[$doc:meta])* $name:ident {
        $unknown:ident = $zero:literal $none:literal,
        $($variant:ident = $number:literal $caption:literal,)*
    }) => {
        $(#[$doc])*
        #[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
        pub enum $name {
            #[doc = $none]
            #[default]
            $unknown = $zero,
            $(#[doc = $caption] $variant = $number,)*
        }

        impl $name {
            /// Its number.
            pub const fn number(self) -> i64 {
                self as i64
            }

            /// In words.
            pub const fn caption(self) -> &'static str {
                match self {
                    Self::$unknown => $none,
                    $(Self::$variant => $caption,)*
                }
            }
        }
    };
}
pub(super) use enumeration;

pub(super) struct Fields<M>(pub(super) M);

impl<M: SerializeMap> Fields<M> {
    pub(super) fn put(
        &mut self,
        name: &str,
        value: &(impl Serialize + ?Sized),
    ) -> Result<(), M::Error> {
        self.0.serialize_entry(name, value)
    }

    pub(super) fn some(
        &mut self,
        name: &str,
        value: Option<&(impl Serialize + ?Sized)>,
    ) -> Result<(), M::Error> {
        value.map_or(Ok(()), |value| self.put(name, value))
    }

    /// An empty list is an absent one.
    pub(super) fn list(&mut self, name: &str, values: &[impl Serialize]) -> Result<(), M::Error> {
        self.some(name, Some(values).filter(|values| !values.is_empty()))
    }

    pub(super) fn end(self) -> Result<M::Ok, M::Error> {
        self.0.end()
    }
}
