//! What a server says of a model: what goes in, and what it has done.

use serde_json::Value;

use super::connection::{Message, ask_json};
use super::{Address, LoadError};

/// A model of a server.
#[derive(Clone, Debug)]
pub struct Target {
    /// The server.
    pub address: Address,
    /// The model's name.
    pub model: String,
    /// Its version; the server's choice without one.
    pub version: Option<String>,
    /// What goes in.
    pub inputs: Vec<Port>,
    /// Names of what comes out.
    pub outputs: Vec<String>,
    /// Whether the first side of inputs counts items.
    pub batched: bool,
    /// Most items of a request, if the server tells.
    pub most_batch: Option<usize>,
}

/// An input as the server declares it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Port {
    /// Its name.
    pub name: String,
    /// Its datatype, in the protocol's words.
    pub datatype: String,
    /// Its shape with the batch dimension, if there is one; none where any size goes.
    pub shape: Vec<Option<usize>>,
}

impl Target {
    /// Asks a server for a model.
    ///
    /// # Errors
    ///
    /// [`LoadError`] if there is no such server or model, or it speaks another protocol.
    pub async fn find(
        address: &Address,
        model: &str,
        version: Option<&str>,
    ) -> Result<Self, LoadError> {
        let path = path(model, version);
        let metadata = ask_json(address, &Message::get(&*path)).await?;
        // Triton's own page, which other servers of the protocol may not have.
        let config = ask_json(address, &Message::get(format!("{path}/config"))).await.ok();
        let wrong = |problem: &str| LoadError::Answer {
            url: format!("{address}{path}"),
            problem: problem.into(),
        };
        let inputs = metadata["inputs"].as_array().ok_or_else(|| wrong("without inputs"))?;
        let inputs: Option<Vec<Port>> = inputs.iter().map(port).collect();
        let inputs = inputs.ok_or_else(|| wrong("inputs without name, datatype or shape"))?;
        let most = config.as_ref().and_then(|config| config["max_batch_size"].as_u64());
        // Without that page, a first side that is free is taken for the batch's.
        let free = || inputs.iter().all(|input| matches!(input.shape[..], [None, ..]));
        let outputs = metadata["outputs"].as_array().into_iter().flatten();
        let outputs = outputs.filter_map(|o| Some(o["name"].as_str()?.to_string())).collect();
        Ok(Self {
            address: address.clone(),
            model: model.into(),
            version: version.map(String::from),
            batched: most.map_or_else(free, |most| most > 0),
            most_batch: most.map(|most| most.max(1) as usize),
            inputs,
            outputs,
        })
    }

    /// The names of a server's models.
    ///
    /// # Errors
    ///
    /// [`LoadError`] if the server does not answer.
    pub async fn models(address: &Address) -> Result<Vec<String>, LoadError> {
        let ask = Message::post("/v2/repository/index", &Value::Object(Default::default()));
        let index = ask_json(address, &ask).await?;
        let models = index.as_array().into_iter().flatten();
        Ok(models.filter_map(|m| Some(m["name"].as_str()?.to_string())).collect())
    }

    /// Path of the model's pages.
    pub(crate) fn path(&self) -> String {
        path(&self.model, self.version.as_deref())
    }
}

fn path(model: &str, version: Option<&str>) -> String {
    match version {
        Some(version) => format!("/v2/models/{model}/versions/{version}"),
        None => format!("/v2/models/{model}"),
    }
}

fn port(json: &Value) -> Option<Port> {
    let side = |side: &Value| {
        let side = side.as_i64().or_else(|| side.as_str()?.parse().ok())?;
        Some(usize::try_from(side).ok())
    };
    Some(Port {
        name: json["name"].as_str()?.into(),
        datatype: json["datatype"].as_str()?.into(),
        shape: json["shape"].as_array()?.iter().map(side).collect::<Option<_>>()?,
    })
}
