//! A module's parameters as plain numbers, in the order in which the module names them.

use burn::module::{Module, ModuleMapper, ModuleVisitor, Param, ParamId};
use burn::tensor::{Device, Tensor, TensorData};

use crate::TrainError;

/// The numbers of each parameter.
pub(crate) type Values = Vec<Vec<f32>>;

/// The parameters' names, and where they are.
pub(crate) fn each_value<M: Module>(module: &M) -> impl Iterator<Item = (ParamId, Device)> {
    #[derive(Default)]
    struct Ids(Vec<(ParamId, Device)>);
    impl ModuleVisitor for Ids {
        fn visit_float<const D: usize>(&mut self, param: &Param<Tensor<D>>) {
            self.0.push((param.id, param.val().device()));
        }
    }
    let mut ids = Ids::default();
    module.visit(&mut ids);
    ids.0.into_iter()
}

/// The parameters' names.
fn names_of<M: Module>(module: &M) -> Vec<String> {
    struct Names {
        path: Vec<String>,
        all: Vec<String>,
    }
    impl ModuleVisitor for Names {
        fn enter_module(&mut self, name: &str, _container: &str) {
            self.path.push(name.into());
        }
        fn exit_module(&mut self, _name: &str, _container: &str) {
            self.path.pop();
        }
        fn visit_float<const D: usize>(&mut self, _param: &Param<Tensor<D>>) {
            self.all.push(self.path.join("."));
        }
    }
    let mut names = Names { path: Vec::new(), all: Vec::new() };
    module.visit(&mut names);
    names.all
}

/// The name of the first parameter among whose numbers is one that is none; `values` are in the module's order.
pub(crate) fn unsound_of<M: Module>(module: &M, values: &Values) -> Option<String> {
    let lost = |values: &Vec<f32>| values.iter().any(|value| !value.is_finite());
    names_of(module).into_iter().zip(values).find(|(_, own)| lost(own)).map(|(name, _)| name)
}

/// What is different about the numbers of two modules that should have the same bits, in words: how many, and in which parameters. The names are of
/// `module`, the order is its.
pub(crate) fn apart<M: Module>(module: &M, [first, other]: [&Values; 2]) -> String {
    let differing = |(own, other): (&Vec<f32>, &Vec<f32>)| {
        own.iter().zip(other).filter(|(a, b)| a.to_bits() != b.to_bits()).count()
    };
    let counts = first.iter().zip(other).map(differing);
    let apart: Vec<_> = names_of(module).into_iter().zip(counts).filter(|(_, n)| *n > 0).collect();
    let sum: usize = apart.iter().map(|(_, count)| count).sum();
    match apart.first() {
        Some((name, count)) => format!(
            "{sum} numbers in {} parameters, of which {name} is the first, with {count}",
            apart.len()
        ),
        None => "read once more, they are the same".into(),
    }
}

/// How many numbers each parameter has.
pub(crate) fn values_sizes<M: Module>(module: &M) -> Vec<usize> {
    struct ParamSizes(Vec<usize>);
    impl ModuleVisitor for ParamSizes {
        fn visit_float<const D: usize>(&mut self, param: &Param<Tensor<D>>) {
            self.0.push(param.val().shape().num_elements());
        }
    }
    let mut sizes = ParamSizes(Vec::new());
    module.visit(&mut sizes);
    sizes.0
}

/// Reads a module's parameters.
pub(crate) fn values_of<M: Module>(module: &M) -> Result<Values, TrainError> {
    struct Read(Result<Values, TrainError>);
    impl ModuleVisitor for Read {
        fn visit_float<const D: usize>(&mut self, param: &Param<Tensor<D>>) {
            if let Ok(values) = &mut self.0 {
                match crate::read(param.val().inner(), "read the network's weights") {
                    Ok(value) => values.push(value),
                    Err(error) => self.0 = Err(error),
                }
            }
        }
    }
    let mut read = Read(Ok(Values::new()));
    module.visit(&mut read);
    read.0
}

/// A module with other numbers; an error if they are not as many as its own.
pub(crate) fn restored<M: Module>(module: M, values: &Values) -> Result<M, String> {
    struct Write<'a> {
        values: std::slice::Iter<'a, Vec<f32>>,
        problem: Option<String>,
    }
    impl ModuleMapper for Write<'_> {
        fn map_float<const D: usize>(&mut self, param: Param<Tensor<D>>) -> Param<Tensor<D>> {
            let (shape, next) = (param.val().dims(), self.values.next());
            match next.filter(|v| v.len() == shape.iter().product::<usize>()) {
                None => {
                    let found = next.map_or("nothing".into(), |v| format!("{} numbers", v.len()));
                    self.problem = Some(format!("expected a tensor {shape:?}, got {found}"));
                    param
                }
                Some(value) => param.map(|old| {
                    let (tracked, device) = (old.is_require_grad(), old.device().inner());
                    let data = TensorData::new(value.clone(), shape);
                    let new = Tensor::<D>::from_data(data, &device);
                    let new =
                        if old.device().is_autodiff() { Tensor::from_inner(new) } else { new };
                    if tracked { new.require_grad() } else { new }
                }),
            }
        }
    }
    let mut write = Write { values: values.iter(), problem: None };
    let module = module.map(&mut write);
    match (write.problem, write.values.len()) {
        (Some(problem), _) => Err(problem),
        (None, 0) => Ok(module),
        (None, more) => Err(format!("{more} tensors too many")),
    }
}

#[cfg(test)]
mod tests {
    use burn::nn::LinearConfig;

    use super::*;

    #[test]
    fn what_is_apart_is_named() {
        let module = LinearConfig::new(2, 3).init(&Device::flex());
        let own: Values = vec![vec![1.0; 6], vec![0.0, f32::NAN, 2.0]];
        assert_eq!(apart(&module, [&own, &own]), "read once more, they are the same");
        let mut other = own.clone();
        other[1][0] = -0.0;
        assert_eq!(
            apart(&module, [&own, &other]),
            "1 numbers in 1 parameters, of which bias is the first, with 1"
        );
        other[0][4] = 1.5;
        other[0][5] = 1.5;
        assert_eq!(
            apart(&module, [&own, &other]),
            "3 numbers in 2 parameters, of which weight is the first, with 2"
        );
    }
}
