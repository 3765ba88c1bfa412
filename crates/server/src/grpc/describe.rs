//! Models and what they did, as messages.

use std::collections::HashMap;

use super::wire::inference::model_instance_group::Kind;
use super::wire::inference::model_metadata_response::TensorMetadata;
use super::wire::inference::model_version_policy::{Latest, PolicyChoice};
use super::wire::inference::{
    DataType, InferBatchStatistics, InferStatistics, ModelConfig, ModelDynamicBatching, ModelInput,
    ModelInstanceGroup, ModelMetadataResponse, ModelOutput, ModelParameter, ModelStatistics,
    ModelTransactionPolicy, ModelVersionPolicy, StatisticDuration,
};
use crate::model::{Port, Signature};
use crate::schedule::{ModelSnapshot, Stage};

pub(super) fn metadata(signature: &Signature, versions: Vec<String>) -> ModelMetadataResponse {
    let tensor = |port: &Port| TensorMetadata {
        name: port.name.clone(),
        datatype: port.datatype.name().into(),
        shape: signature.axes(port),
    };
    ModelMetadataResponse {
        name: signature.name.clone(),
        versions,
        platform: signature.platform.clone(),
        inputs: signature.inputs.iter().map(tensor).collect(),
        outputs: signature.outputs.iter().map(tensor).collect(),
    }
}

fn data_type(port: &Port) -> i32 {
    let name = port.datatype.config_name();
    DataType::from_str_name(&name).unwrap_or(DataType::TypeInvalid).into()
}

fn dims(port: &Port) -> Vec<i64> {
    port.shape.iter().map(|axis| axis.map_or(-1, |n| i64::try_from(n).unwrap_or(-1))).collect()
}

pub(super) fn config(signature: &Signature, devices: usize) -> ModelConfig {
    let input = |port: &Port| ModelInput {
        name: port.name.clone(),
        data_type: data_type(port),
        dims: dims(port),
    };
    let output = |port: &Port| ModelOutput {
        name: port.name.clone(),
        data_type: data_type(port),
        dims: dims(port),
    };
    let latest = PolicyChoice::Latest(Latest { num_versions: 1 });
    let small = |n: usize| i32::try_from(n).unwrap_or(i32::MAX);
    ModelConfig {
        name: signature.name.clone(),
        platform: signature.platform.clone(),
        version_policy: Some(ModelVersionPolicy { policy_choice: Some(latest) }),
        max_batch_size: small(signature.max_batch),
        input: signature.inputs.iter().map(input).collect(),
        output: signature.outputs.iter().map(output).collect(),
        instance_group: vec![ModelInstanceGroup {
            name: signature.name.clone(),
            count: small(devices),
            kind: Kind::Model.into(),
        }],
        dynamic_batching: signature.batched().then(ModelDynamicBatching::default),
        parameters: accepted(signature),
        backend: "lithoburn".into(),
        model_transaction_policy: Some(ModelTransactionPolicy { decoupled: false }),
    }
}

/// The datatypes that each port takes or gives beside the declared one.
fn accepted(signature: &Signature) -> HashMap<String, ModelParameter> {
    let ports = signature.inputs.iter().chain(&signature.outputs);
    let lists = ports.filter(|port| !port.also.is_empty()).map(|port| {
        let names: Vec<_> = port.also.iter().map(|datatype| datatype.name()).collect();
        (format!("also:{}", port.name), ModelParameter { string_value: names.join(",") })
    });
    lists.collect()
}

pub(super) fn statistics(model: &ModelSnapshot) -> ModelStatistics {
    let counts = &model.counts;
    let stage = |stage: &Stage| Some(StatisticDuration { count: stage.count, ns: stage.ns });
    let batches = counts.batches.iter().map(|(&items, batch)| InferBatchStatistics {
        batch_size: items as u64,
        compute_input: stage(&batch.input),
        compute_infer: stage(&batch.infer),
        compute_output: stage(&batch.output),
    });
    let none = Some(StatisticDuration::default());
    ModelStatistics {
        name: model.signature.name.clone(),
        version: model.signature.version.to_string(),
        last_inference: counts.last_inference_ms,
        inference_count: counts.inferences,
        execution_count: counts.executions,
        inference_stats: Some(InferStatistics {
            success: stage(&counts.success),
            fail: stage(&counts.fail),
            queue: stage(&counts.queue),
            compute_input: stage(&counts.input),
            compute_infer: stage(&counts.infer),
            compute_output: stage(&counts.output),
            cache_hit: none,
            cache_miss: none,
        }),
        batch_stats: batches.collect(),
    }
}
