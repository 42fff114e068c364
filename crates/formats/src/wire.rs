//! Protobuf as bytes: a reader of fields that borrows, and a check of a whole message against its shape before
//! anything is made of it. The check finds what is cut off or of the wrong type, says where, stops at nesting
//! that is too deep, and adds up what the message would cost in memory.

/// How deep messages may lie in one another. Real ones need ten; prost itself stops at a hundred.
const DEPTH_MAX: usize = 64;
/// What protobuf allows as the number of a field.
const FIELD_NUMBER_MAX: u32 = (1 << 29) - 1;
/// The longest a variable-length number of 64 bits can be.
const VARINT_BYTES_MAX: usize = 10;

/// What is known of a message: its name for error messages, what one of it costs, and its fields.
pub(crate) struct Shape {
    pub(crate) name: &'static str,
    /// Bytes in memory, beside what its own messages and strings take; 0 where it is never built.
    pub(crate) cost: usize,
    /// Fields by number. One that is not here is skipped, as protobuf asks.
    pub(crate) fields: &'static [(u32, Type)],
}

/// How a field is written.
#[derive(Clone, Copy)]
pub(crate) enum Type {
    Varint,
    Fixed64,
    Bytes,
    /// Many numbers in one field, or each in a field of its own.
    Varints,
    Fixed64s,
    Message(&'static Shape),
}

/// What is wrong with a message, and where.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum WireError {
    /// It ends too early.
    #[error("field {field} of {message} is cut off: the request did not arrive whole")]
    Truncated {
        /// Its name in the published definition.
        message: &'static str,
        /// 0 where not even the number of the field could be read.
        field: u32,
    },
    /// It is written in another way than its definition says.
    #[error("field {field} of {message} has wire type {found}, which its definition does not allow")]
    WrongType {
        /// Its name in the published definition.
        message: &'static str,
        /// Number of the field.
        field: u32,
        /// As on the wire.
        found: u8,
    },
    /// There is no such field number or variable-length number.
    #[error("{message} holds bytes that are no protobuf after its field {after}")]
    NotProtobuf {
        /// Its name in the published definition.
        message: &'static str,
        /// The last field that could be read.
        after: u32,
    },
    /// Messages within messages within messages.
    #[error("{message} lies more than {DEPTH_MAX} messages deep; send flatter values")]
    TooDeep {
        /// Its name in the published definition.
        message: &'static str,
    },
    /// So many small things that the request would take far more memory than it has bytes.
    #[error("the request would take more than {max} bytes of memory; send it in smaller parts")]
    TooCostly {
        /// The most that is allowed.
        max: usize,
    },
}

/// A field as it was read.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) struct Field<'a> {
    pub(crate) number: u32,
    pub(crate) value: Value<'a>,
}

/// What a field holds.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) enum Value<'a> {
    Varint(u64),
    Fixed64(u64),
    Bytes(&'a [u8]),
    Fixed32(u32),
}

impl<'a> Value<'a> {
    /// The bytes; none where it is a number.
    pub(crate) fn bytes(self) -> &'a [u8] {
        if let Value::Bytes(bytes) = self { bytes } else { &[] }
    }

    /// The number, whatever its width; 0 where it is bytes.
    pub(crate) fn number(self) -> u64 {
        match self {
            Value::Varint(number) | Value::Fixed64(number) => number,
            Value::Fixed32(number) => number.into(),
            Value::Bytes(_) => 0,
        }
    }

    fn wire_type(self) -> u8 {
        match self {
            Value::Varint(_) => 0,
            Value::Fixed64(_) => 1,
            Value::Bytes(_) => 2,
            Value::Fixed32(_) => 5,
        }
    }
}

/// The fields of a message that `check` has found sound.
#[inline]
pub(crate) fn fields(message: &[u8]) -> Fields<'_> {
    Fields { rest: message }
}

/// Goes through the fields of a message; a copy of it goes on from the same place.
#[derive(Clone, Copy)]
pub(crate) struct Fields<'a> {
    rest: &'a [u8],
}

impl<'a> Iterator for Fields<'a> {
    type Item = Field<'a>;

    #[inline]
    fn next(&mut self) -> Option<Field<'a>> {
        next(&mut self.rest).ok().flatten()
    }
}

/// The numbers of a field of `Type::Varints`.
pub(crate) fn varints(value: Value<'_>) -> impl Iterator<Item = u64> {
    let (mut packed, mut single) = match value {
        Value::Bytes(bytes) => (bytes, None),
        other => (&[][..], Some(other.number())),
    };
    std::iter::from_fn(move || single.take().or_else(|| varint(&mut packed).ok()))
}

/// Is the message whole and of this shape, and what would it cost to build? At most `cost_max` bytes.
pub(crate) fn check(message: &[u8], shape: &'static Shape, cost_max: usize) -> Result<usize, WireError> {
    let mut cost = 0;
    check_message(message, shape, &mut cost, cost_max, DEPTH_MAX)?;
    Ok(cost)
}

fn check_message(
    message: &[u8],
    shape: &'static Shape,
    cost: &mut usize,
    cost_max: usize,
    depth: usize,
) -> Result<(), WireError> {
    *cost += shape.cost;
    if *cost > cost_max {
        return Err(WireError::TooCostly { max: cost_max });
    }
    if depth == 0 {
        return Err(WireError::TooDeep { message: shape.name });
    }
    let (mut rest, mut after) = (message, 0);
    while let Some(field) = next(&mut rest).map_err(|fault| fault.within(shape.name, after))? {
        after = field.number;
        let known = shape.fields.iter().find(|(number, _)| *number == field.number);
        match (known, field.value) {
            (None, _) => {}
            (Some((_, Type::Message(inner))), Value::Bytes(bytes)) => {
                check_message(bytes, inner, cost, cost_max, depth - 1)?;
            }
            (Some((_, kind)), value) => check_value(*kind, value, shape.name, field.number)?,
        }
    }
    Ok(())
}

fn check_value(kind: Type, value: Value<'_>, message: &'static str, field: u32) -> Result<(), WireError> {
    let truncated = WireError::Truncated { message, field };
    match (kind, value) {
        (Type::Varint | Type::Varints, Value::Varint(_))
        | (Type::Fixed64 | Type::Fixed64s, Value::Fixed64(_))
        | (Type::Bytes, Value::Bytes(_)) => Ok(()),
        (Type::Varints, Value::Bytes(mut packed)) => {
            while !packed.is_empty() {
                varint(&mut packed).map_err(|_| truncated)?;
            }
            Ok(())
        }
        (Type::Fixed64s, Value::Bytes(packed)) if packed.len().is_multiple_of(8) => Ok(()),
        (Type::Fixed64s, Value::Bytes(_)) => Err(truncated),
        (_, other) => Err(WireError::WrongType { message, field, found: other.wire_type() }),
    }
}

/// Why a field could not be read. The field is 0 where its number could not be read.
enum Fault {
    Truncated { field: u32 },
    WrongType { field: u32, found: u8 },
    NotProtobuf,
}

impl Fault {
    fn within(self, message: &'static str, after: u32) -> WireError {
        match self {
            Fault::Truncated { field } => WireError::Truncated { message, field },
            Fault::WrongType { field, found } => WireError::WrongType { message, field, found },
            Fault::NotProtobuf => WireError::NotProtobuf { message, after },
        }
    }
}

/// The next field; none at the end. Every byte that others push goes through here.
#[inline(always)]
fn next<'a>(rest: &mut &'a [u8]) -> Result<Option<Field<'a>>, Fault> {
    if rest.is_empty() {
        return Ok(None);
    }
    let key = varint(rest).map_err(|fault| fault.of_field(0))?;
    let number = u32::try_from(key >> 3).map_err(|_| Fault::NotProtobuf)?;
    if number == 0 || number > FIELD_NUMBER_MAX {
        return Err(Fault::NotProtobuf);
    }
    let truncated = Fault::Truncated { field: number };
    let value = match (key & 7) as u8 {
        0 => Value::Varint(varint(rest).map_err(|fault| fault.of_field(number))?),
        1 => Value::Fixed64(u64::from_le_bytes(array(rest).ok_or(truncated)?)),
        2 => {
            let length = varint(rest).map_err(|fault| fault.of_field(number))?;
            let length = usize::try_from(length).unwrap_or(usize::MAX);
            let (bytes, after) = rest.split_at_checked(length).ok_or(truncated)?;
            *rest = after;
            Value::Bytes(bytes)
        }
        5 => Value::Fixed32(u32::from_le_bytes(array(rest).ok_or(truncated)?)),
        found => return Err(Fault::WrongType { field: number, found }),
    };
    Ok(Some(Field { number, value }))
}

/// Why a variable-length number could not be read.
enum VarintFault {
    Truncated,
    TooLong,
}

impl VarintFault {
    fn of_field(self, field: u32) -> Fault {
        match self {
            VarintFault::Truncated => Fault::Truncated { field },
            VarintFault::TooLong => Fault::NotProtobuf,
        }
    }
}

/// A number of seven bits a byte, the lowest first. Most take one byte: a key, a length.
#[inline]
fn varint(rest: &mut &[u8]) -> Result<u64, VarintFault> {
    match rest {
        [byte, after @ ..] if *byte < 0x80 => {
            *rest = after;
            Ok(u64::from(*byte))
        }
        _ => long_varint(rest),
    }
}

fn long_varint(rest: &mut &[u8]) -> Result<u64, VarintFault> {
    let mut number = 0u64;
    for (position, byte) in rest.iter().take(VARINT_BYTES_MAX).enumerate() {
        // The tenth byte has room for one bit.
        if position == VARINT_BYTES_MAX - 1 && *byte > 1 {
            return Err(VarintFault::TooLong);
        }
        number |= u64::from(byte & 0x7f) << (7 * position);
        if *byte < 0x80 {
            *rest = &rest[position + 1..];
            return Ok(number);
        }
    }
    Err(if rest.len() < VARINT_BYTES_MAX { VarintFault::Truncated } else { VarintFault::TooLong })
}

#[inline]
fn array<const N: usize>(rest: &mut &[u8]) -> Option<[u8; N]> {
    let (array, after) = rest.split_first_chunk()?;
    *rest = after;
    Some(*array)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    static LEAF: Shape = Shape {
        name: "Leaf",
        cost: 10,
        fields: &[(1, Type::Fixed64), (2, Type::Varint), (3, Type::Varints), (4, Type::Fixed64s)],
    };
    static TREE: Shape = Shape {
        name: "Tree",
        cost: 100,
        fields: &[(1, Type::Message(&TREE)), (2, Type::Message(&LEAF)), (3, Type::Bytes)],
    };

    fn checked(message: &[u8]) -> Result<usize, String> {
        check(message, &TREE, 1_000).map_err(|error| error.to_string())
    }

    #[test]
    fn sound_message_costs_the_sum_of_its_parts() {
        assert_eq!(checked(&[]), Ok(100));
        assert_eq!(checked(&[0x0a, 0, 0x12, 2, 0x10, 5, 0x1a, 1, b'x']), Ok(210));
        // Unknown fields of every type are skipped.
        assert_eq!(
            checked(&[0x78, 1, 0x7a, 1, 0xff, 0x7d, 1, 2, 3, 4, 0x79, 1, 2, 3, 4, 5, 6, 7, 8]),
            Ok(100)
        );
    }

    #[test]
    fn each_fault_is_named_with_its_place() {
        for (message, wrong) in [
            (&[0x0a, 5, 1][..], "field 1 of Tree is cut off: the request did not arrive whole"),
            (&[0x12, 2, 0x10, 0x80], "field 2 of Leaf is cut off: the request did not arrive whole"),
            (&[0x12, 3, 0x09, 1, 2], "field 1 of Leaf is cut off: the request did not arrive whole"),
            (&[0x12, 3, 0x1a, 1, 0x80], "field 3 of Leaf is cut off: the request did not arrive whole"),
            (&[0x12, 5, 0x22, 3, 1, 2, 3], "field 4 of Leaf is cut off: the request did not arrive whole"),
            (&[0x08, 5], "field 1 of Tree has wire type 0, which its definition does not allow"),
            (&[0x0b], "field 1 of Tree has wire type 3, which its definition does not allow"),
            (&[0x1a, 0, 0x00], "Tree holds bytes that are no protobuf after its field 3"),
            (&[0xff; 11], "Tree holds bytes that are no protobuf after its field 0"),
            (&[0x80], "field 0 of Tree is cut off: the request did not arrive whole"),
        ] {
            assert_eq!(checked(message), Err(wrong.to_owned()), "{message:02x?}");
        }
    }

    #[test]
    fn deep_and_costly_messages_are_refused() {
        let nested = (0..200).fold(Vec::new(), |inner: Vec<u8>, _| {
            let mut outer = vec![0x0a];
            prost::encode_length_delimiter(inner.len(), &mut outer).unwrap();
            outer.extend(inner);
            outer
        });
        assert_eq!(check(&nested, &TREE, usize::MAX), Err(WireError::TooDeep { message: "Tree" }));
        assert_eq!(check(&[0x0a, 0].repeat(10), &TREE, 1_000), Err(WireError::TooCostly { max: 1_000 }));
    }

    #[test]
    fn numbers_are_read_packed_and_single() {
        assert_eq!(varints(Value::Bytes(&[1, 0x80, 1, 3])).collect::<Vec<_>>(), [1, 128, 3]);
        assert_eq!(varints(Value::Varint(7)).collect::<Vec<_>>(), [7]);
        let longest = [0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 1];
        assert_eq!(varints(Value::Bytes(&longest)).collect::<Vec<_>>(), [u64::MAX]);
    }

    proptest! {
        #[test]
        fn any_bytes_are_checked_and_read(message in proptest::collection::vec(any::<u8>(), 0..200)) {
            let cost = check(&message, &TREE, 1_000);
            let n_fields = fields(&message).count();
            prop_assert!(cost.is_err() || n_fields <= message.len() / 2);
        }
    }
}
