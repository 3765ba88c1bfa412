//! The messages of `onnx.proto` that a network needs, with the format's own names and numbers.
//!
//! Source: onnx/onnx.proto, IR version 8. Fields that are never written here are left out; a reader skips
//! fields it does not know, so files of other programs decode too.

use prost::bytes::{Buf, BufMut};
use prost::encoding::{self, DecodeContext, WireType};
use prost::{DecodeError, Message};

/// One field onto a buffer. A field is present if it is `Some`, whatever its value: readers ask.
macro_rules! put {
    (optional $kind:ident $value:expr, $tag:literal, $buffer:ident) => {
        if let Some(value) = &$value {
            encoding::$kind::encode($tag, value, $buffer);
        }
    };
    (repeated $kind:ident $value:expr, $tag:literal, $buffer:ident) => {
        encoding::$kind::encode_repeated($tag, &$value, $buffer);
    };
}

/// The bytes that [`put!`] would write.
macro_rules! length {
    (optional $kind:ident $value:expr, $tag:literal) => {
        $value.as_ref().map_or(0, |value| encoding::$kind::encoded_len($tag, value))
    };
    (repeated $kind:ident $value:expr, $tag:literal) => {
        encoding::$kind::encoded_len_repeated($tag, &$value)
    };
}

/// One field from a buffer.
macro_rules! take {
    (optional $kind:ident $value:expr, $wire:ident, $buffer:ident, $context:ident) => {
        encoding::$kind::merge($wire, $value.get_or_insert_default(), $buffer, $context)
    };
    (repeated $kind:ident $value:expr, $wire:ident, $buffer:ident, $context:ident) => {
        encoding::$kind::merge_repeated($wire, &mut $value, $buffer, $context)
    };
}

/// Messages as a `.proto` file declares them, with the Rust type of each field.
macro_rules! messages {
    ($(
        $(#[$doc:meta])*
        message $name:ident {
            $($(#[$field_doc:meta])* $label:ident $kind:ident $field:ident: $type:ty = $tag:literal;)*
        }
    )*) => {$(
        $(#[$doc])*
        #[derive(Clone, Debug, Default, PartialEq)]
        pub struct $name {
            $($(#[$field_doc])* pub $field: $type,)*
        }

        impl Message for $name {
            fn encode_raw(&self, buffer: &mut impl BufMut) {
                $(put!($label $kind self.$field, $tag, buffer);)*
            }

            fn encoded_len(&self) -> usize {
                0 $(+ length!($label $kind self.$field, $tag))*
            }

            fn merge_field(
                &mut self,
                tag: u32,
                wire: WireType,
                buffer: &mut impl Buf,
                context: DecodeContext,
            ) -> Result<(), DecodeError> {
                match tag {
                    $($tag => take!($label $kind self.$field, wire, buffer, context),)*
                    _ => encoding::skip_field(wire, tag, buffer, context),
                }
            }

            fn clear(&mut self) {
                *self = Self::default();
            }
        }
    )*};
}

messages! {
    /// A whole file.
    message ModelProto {
        /// Version of the format.
        optional int64 ir_version: Option<i64> = 1;
        /// The program that wrote it.
        optional string producer_name: Option<String> = 2;
        /// That program's version.
        optional string producer_version: Option<String> = 3;
        /// For people.
        optional string doc_string: Option<String> = 6;
        /// The network.
        optional message graph: Option<GraphProto> = 7;
        /// Versions of the operators.
        repeated message opset_import: Vec<OperatorSetIdProto> = 8;
        /// What else a reader should know.
        repeated message metadata_props: Vec<StringStringEntryProto> = 14;
    }

    /// A set of operators and its version.
    message OperatorSetIdProto {
        /// Empty for ONNX's own operators.
        optional string domain: Option<String> = 1;
        /// The set's version.
        optional int64 version: Option<i64> = 2;
    }

    /// A named text.
    message StringStringEntryProto {
        /// The name.
        optional string key: Option<String> = 1;
        /// The text.
        optional string value: Option<String> = 2;
    }

    /// Operations in an order in which they can be computed.
    message GraphProto {
        /// The operations.
        repeated message node: Vec<NodeProto> = 1;
        /// The graph's name.
        optional string name: Option<String> = 2;
        /// Constants: weights and settings.
        repeated message initializer: Vec<TensorProto> = 5;
        /// What is put in.
        repeated message input: Vec<ValueInfoProto> = 11;
        /// What comes out.
        repeated message output: Vec<ValueInfoProto> = 12;
    }

    /// An operation.
    message NodeProto {
        /// Names of what it reads; empty for what it goes without.
        repeated string input: Vec<String> = 1;
        /// Names of what it makes.
        repeated string output: Vec<String> = 2;
        /// The node's name.
        optional string name: Option<String> = 3;
        /// The operator.
        optional string op_type: Option<String> = 4;
        /// Its settings.
        repeated message attribute: Vec<AttributeProto> = 5;
    }

    /// A setting of an operation.
    message AttributeProto {
        /// Its name.
        optional string name: Option<String> = 1;
        /// A whole number.
        optional int64 i: Option<i64> = 3;
        /// A text.
        optional bytes s: Option<Vec<u8>> = 4;
        /// Whole numbers.
        repeated int64 ints: Vec<i64> = 8;
        /// Which of the fields holds the value: 2 is `i`, 3 is `s`, 7 is `ints`.
        optional int32 r#type: Option<i32> = 20;
    }

    /// A constant.
    message TensorProto {
        /// Its shape.
        repeated int64 dims: Vec<i64> = 1;
        /// Its elements: 1 is f32.
        optional int32 data_type: Option<i32> = 2;
        /// Its name.
        optional string name: Option<String> = 8;
        /// The elements, little endian, the last dimension running fastest.
        optional bytes raw_data: Option<Vec<u8>> = 9;
    }

    /// An input or output.
    message ValueInfoProto {
        /// Its name.
        optional string name: Option<String> = 1;
        /// Its type.
        optional message r#type: Option<TypeProto> = 2;
    }

    /// A type: here always a tensor.
    message TypeProto {
        /// The tensor's type.
        optional message tensor_type: Option<TensorTypeProto> = 1;
    }

    /// Elements and shape of a tensor.
    message TensorTypeProto {
        /// 1 is f32.
        optional int32 elem_type: Option<i32> = 1;
        /// Its shape.
        optional message shape: Option<TensorShapeProto> = 2;
    }

    /// A shape.
    message TensorShapeProto {
        /// The dimensions.
        repeated message dim: Vec<DimensionProto> = 1;
    }

    /// A dimension: a number, or a name for any number.
    message DimensionProto {
        /// The number.
        optional int64 dim_value: Option<i64> = 1;
        /// The name.
        optional string dim_param: Option<String> = 2;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Bytes by hand from the wire format: (field << 3 | kind), then the value.
    #[test]
    fn the_bytes_are_protocol_buffers() {
        let attribute = AttributeProto {
            name: Some("group".into()),
            i: Some(0),
            r#type: Some(2),
            ..AttributeProto::default()
        };
        let node = NodeProto {
            input: vec!["x".into(), String::new()],
            op_type: Some("Conv".into()),
            attribute: vec![attribute],
            ..NodeProto::default()
        };
        let expected = [
            &[0x0a, 1, b'x', 0x0a, 0][..],
            &[0x22, 4, b'C', b'o', b'n', b'v'],
            &[0x2a, 12, 0x0a, 5, b'g', b'r', b'o', b'u', b'p', 0x18, 0, 0xa0, 0x01, 2],
        ];
        assert_eq!(node.encode_to_vec(), expected.concat());
        assert_eq!(NodeProto::decode(&expected.concat()[..]).expect("decodes"), node);
    }

    /// Field 99 is none of ours; field 8 of whole numbers comes packed from some writers.
    #[test]
    fn unknown_fields_are_skipped_and_packed_numbers_read() {
        let bytes = [0x9a, 0x06, 2, 1, 2, 0x42, 3, 1, 0x96, 0x01];
        let attribute = AttributeProto::decode(&bytes[..]).expect("decodes");
        assert_eq!(attribute.ints, [1, 150]);
        assert!(AttributeProto::decode(&[0x42u8, 9, 1][..]).is_err());
    }
}
