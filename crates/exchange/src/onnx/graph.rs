//! A graph in the making: one function per operation, each checked against its operands' shapes.
//!
//! Tensors are `[batch, channels, height, width]` of f32, as ONNX wants them; the batch is free.

use burn::tensor::{Device, Tensor};
use lithoburn_models::Kernel;

use super::proto::{
    AttributeProto, DimensionProto, GraphProto, NodeProto, TensorProto, TensorShapeProto,
    TensorTypeProto, TypeProto, ValueInfoProto,
};
use crate::ExchangeError;

/// f32 in `data_type` and `elem_type`.
const FLOAT: i32 = 1;

/// A tensor of the graph. Only a [`Graph`] makes one, so it is defined before it is used.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Value {
    name: String,
    channels: usize,
    height: usize,
    width: usize,
}

impl Value {
    /// `[channels, height, width]`.
    pub fn shape(&self) -> [usize; 3] {
        [self.channels, self.height, self.width]
    }
}

/// A graph in the making.
#[derive(Debug, Default)]
pub struct Graph {
    proto: GraphProto,
}

impl Graph {
    /// An empty graph.
    pub fn new(name: &str) -> Self {
        Self { proto: GraphProto { name: Some(name.into()), ..GraphProto::default() } }
    }

    /// An input of the network.
    pub fn input(&mut self, name: &str, [channels, height, width]: [usize; 3]) -> Value {
        let value = Value { name: name.into(), channels, height, width };
        self.proto.input.push(info(&value));
        value
    }

    /// Names the network's result and ends the graph.
    pub fn output(mut self, name: &str, value: &Value) -> GraphProto {
        let last = self.next("Identity");
        self.proto.node.push(NodeProto {
            input: vec![value.name.clone()],
            output: vec![name.into()],
            name: Some(last),
            op_type: Some("Identity".into()),
            attribute: Vec::new(),
        });
        self.proto.output.push(info(&Value { name: name.into(), ..value.clone() }));
        self.proto
    }

    /// A convolution that keeps the size: odd square kernel, zeros beyond the border. `name` is the layer's
    /// path in the weights' file, and its tensors keep their names.
    ///
    /// # Errors
    ///
    /// [`ExchangeError::Device`] if the weights cannot be read from their device.
    pub fn conv(&mut self, name: &str, kernel: &Kernel, x: &Value) -> Result<Value, ExchangeError> {
        let Kernel { to, from, side, .. } = *kernel;
        assert_eq!(x.channels, from, "channels of {name}");
        let (weight, bias) = kernel.tensors(&Device::flex());
        let mut inputs = vec![x.name.clone(), format!("{name}.weight")];
        self.constant(&inputs[1], &[to, from, side, side], &read(weight)?);
        if let Some(bias) = bias {
            inputs.push(format!("{name}.bias"));
            self.constant(&inputs[2], &[to], &read(bias)?);
        }
        let (side, pad) = (side as i64, side as i64 / 2);
        let settings = vec![ints("kernel_shape", &[side; 2]), ints("pads", &[pad; 4])];
        Ok(self.node("Conv", inputs, settings, [to, x.height, x.width]))
    }

    /// The positive part.
    pub fn relu(&mut self, x: &Value) -> Value {
        self.node("Relu", vec![x.name.clone()], Vec::new(), x.shape())
    }

    /// The logistic function.
    pub fn sigmoid(&mut self, x: &Value) -> Value {
        self.node("Sigmoid", vec![x.name.clone()], Vec::new(), x.shape())
    }

    /// The sum of two images of one shape.
    pub fn add(&mut self, a: &Value, b: &Value) -> Value {
        assert_eq!(a.shape(), b.shape(), "shapes of a sum");
        self.node("Add", vec![a.name.clone(), b.name.clone()], Vec::new(), a.shape())
    }

    /// Every pixel plus a number.
    pub fn add_const(&mut self, x: &Value, number: f32) -> Value {
        self.with_number("Add", x, number)
    }

    /// Every pixel times a number.
    pub fn mul_const(&mut self, x: &Value, number: f32) -> Value {
        self.with_number("Mul", x, number)
    }

    /// The largest of each two by two pixels.
    pub fn max_pool2(&mut self, x: &Value) -> Value {
        let settings = vec![ints("kernel_shape", &[2, 2]), ints("strides", &[2, 2])];
        let shape = [x.channels, x.height / 2, x.width / 2];
        self.node("MaxPool", vec![x.name.clone()], settings, shape)
    }

    /// Channels of two images of one size, the first one's before the second one's.
    pub fn concat(&mut self, a: &Value, b: &Value) -> Value {
        assert_eq!([a.height, a.width], [b.height, b.width], "sizes of a concatenation");
        let shape = [a.channels + b.channels, a.height, a.width];
        self.node("Concat", vec![a.name.clone(), b.name.clone()], vec![int("axis", 1)], shape)
    }

    /// Twice the size, bilinear, with the middles of the corner pixels where they are: a product with a constant
    /// matrix from either side.
    ///
    /// ONNX's `Resize` has this alignment too, but ONNX Runtime places its pixels in f32, which is ten times less
    /// exact than the rest of a network.
    pub fn doubled(&mut self, x: &Value) -> Value {
        let [channels, height, width] = x.shape();
        let rows = self.matrix([2 * height, height], doubling(height));
        let tall =
            self.node("MatMul", vec![rows, x.name.clone()], vec![], [channels, 2 * height, width]);
        let columns = self.matrix([width, 2 * width], transposed(&doubling(width), width));
        let shape = [channels, 2 * height, 2 * width];
        self.node("MatMul", vec![tall.name, columns], Vec::new(), shape)
    }

    /// A whole number of times the size, bilinear between the pixels' middles; beyond the outermost ones, the end
    /// pixels are repeated.
    pub fn enlarged(&mut self, x: &Value, factor: usize) -> Value {
        let scales = format!("{}.scales", self.next("Resize"));
        self.constant(&scales, &[4], &[1.0, 1.0, factor as f32, factor as f32]);
        let settings =
            vec![text("coordinate_transformation_mode", "half_pixel"), text("mode", "linear")];
        // The second input is a region of interest, which this mode does without.
        let inputs = vec![x.name.clone(), String::new(), scales];
        let shape = [x.channels, factor * x.height, factor * x.width];
        self.node("Resize", inputs, settings, shape)
    }

    /// Two by two pixels into channels, ordered by row, column, channel.
    pub fn space_to_depth(&mut self, x: &Value) -> Value {
        assert!(
            x.height.is_multiple_of(2) && x.width.is_multiple_of(2),
            "odd size {:?}",
            x.shape()
        );
        let shape = [4 * x.channels, x.height / 2, x.width / 2];
        self.node("SpaceToDepth", vec![x.name.clone()], vec![int("blocksize", 2)], shape)
    }

    /// Channels into two by two pixels, the inverse of [`Graph::space_to_depth`].
    pub fn depth_to_space(&mut self, x: &Value) -> Value {
        assert!(x.channels.is_multiple_of(4), "channels {:?}", x.shape());
        let settings = vec![int("blocksize", 2), text("mode", "DCR")];
        let shape = [x.channels / 4, 2 * x.height, 2 * x.width];
        self.node("DepthToSpace", vec![x.name.clone()], settings, shape)
    }

    fn with_number(&mut self, op: &str, x: &Value, number: f32) -> Value {
        let name = format!("{}.number", self.next(op));
        self.constant(&name, &[], &[number]);
        self.node(op, vec![x.name.clone(), name], Vec::new(), x.shape())
    }

    fn matrix(&mut self, shape: [usize; 2], values: Vec<f32>) -> String {
        let name = format!("{}.matrix", self.next("MatMul"));
        self.constant(&name, &shape, &values);
        name
    }

    /// The name of the next node and of its output: unique, as the weights' names have no `_` and number.
    fn next(&self, op: &str) -> String {
        format!("{op}_{}", self.proto.node.len())
    }

    fn node(
        &mut self,
        op: &str,
        input: Vec<String>,
        attribute: Vec<AttributeProto>,
        [channels, height, width]: [usize; 3],
    ) -> Value {
        let name = self.next(op);
        self.proto.node.push(NodeProto {
            input,
            output: vec![name.clone()],
            name: Some(name.clone()),
            op_type: Some(op.into()),
            attribute,
        });
        Value { name, channels, height, width }
    }

    fn constant(&mut self, name: &str, shape: &[usize], values: &[f32]) {
        assert_eq!(shape.iter().product::<usize>(), values.len(), "size of {name}");
        self.proto.initializer.push(TensorProto {
            dims: shape.iter().map(|&n| n as i64).collect(),
            data_type: Some(FLOAT),
            name: Some(name.into()),
            raw_data: Some(values.iter().flat_map(|v| v.to_le_bytes()).collect()),
        });
    }
}

/// Weights of n pixels in each of 2n, which lie at j (n - 1) / (2n - 1), row by row.
fn doubling(n: usize) -> Vec<f32> {
    let mut matrix = vec![0.0; 2 * n * n];
    for (j, row) in matrix.chunks_mut(n).enumerate() {
        let (position, last) = (j * (n - 1), 2 * n - 1);
        let (pixel, share) = (position / last, (position % last) as f64 / last as f64);
        row[pixel] = (1.0 - share) as f32;
        if share > 0.0 {
            row[pixel + 1] = share as f32;
        }
    }
    matrix
}

fn transposed(matrix: &[f32], columns: usize) -> Vec<f32> {
    (0..columns).flat_map(|c| matrix.iter().skip(c).step_by(columns)).copied().collect()
}

fn read<const D: usize>(tensor: Tensor<D>) -> Result<Vec<f32>, ExchangeError> {
    tensor.try_into_vec_as::<f32>().map_err(|e| ExchangeError::Device(e.to_string()))
}

fn ints(name: &str, values: &[i64]) -> AttributeProto {
    let (name, ints) = (Some(name.into()), values.to_vec());
    AttributeProto { name, ints, r#type: Some(7), ..AttributeProto::default() }
}

fn int(name: &str, value: i64) -> AttributeProto {
    let (name, i) = (Some(name.into()), Some(value));
    AttributeProto { name, i, r#type: Some(2), ..AttributeProto::default() }
}

fn text(name: &str, value: &str) -> AttributeProto {
    let (name, s) = (Some(name.into()), Some(value.into()));
    AttributeProto { name, s, r#type: Some(3), ..AttributeProto::default() }
}

fn info(value: &Value) -> ValueInfoProto {
    let number = |n: usize| DimensionProto { dim_value: Some(n as i64), dim_param: None };
    let batch = DimensionProto { dim_value: None, dim_param: Some("batch".into()) };
    let dim = std::iter::once(batch).chain(value.shape().map(number)).collect();
    let tensor_type =
        TensorTypeProto { elem_type: Some(FLOAT), shape: Some(TensorShapeProto { dim }) };
    let r#type = Some(TypeProto { tensor_type: Some(tensor_type) });
    ValueInfoProto { name: Some(value.name.clone()), r#type }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A ramp is linear, so interpolation keeps it, from the first pixel to the last.
    #[test]
    fn the_doubling_matrix_keeps_a_ramp_and_its_ends() {
        for n in [1, 2, 7, 32] {
            for (j, row) in doubling(n).chunks(n).enumerate() {
                let at: f64 = row.iter().enumerate().map(|(k, &w)| k as f64 * f64::from(w)).sum();
                let expected = (j * (n - 1)) as f64 / (2 * n - 1) as f64;
                assert!((at - expected).abs() < 1e-6 * n as f64, "{n} {j}: {at} vs {expected}");
                assert!((row.iter().sum::<f32>() - 1.0).abs() < 1e-6);
                assert!(row.iter().filter(|w| **w != 0.0).count() <= 2);
            }
        }
        let turned = transposed(&[1.0, 2.0, 3.0, 4.0, 5.0, 6.0], 2);
        assert_eq!(turned, [1.0, 3.0, 5.0, 2.0, 4.0, 6.0]);
    }
}
