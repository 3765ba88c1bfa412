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

/// The name of the first parameter among whose numbers is one that is none; `values` are in the module's order.
pub(crate) fn unsound_of<M: Module>(module: &M, values: &Values) -> Option<String> {
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
    let lost = |values: &Vec<f32>| values.iter().any(|value| !value.is_finite());
    names.all.into_iter().zip(values).find(|(_, own)| lost(own)).map(|(name, _)| name)
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
