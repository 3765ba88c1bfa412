//! Threads for one part of a run.

use crate::EngineError;

/// Threads that share out what is given to them; they end when this is dropped.
pub(crate) type Threads = rayon::ThreadPool;

/// One thread for every `cores` processors, named for the part they work on. Parts of a run that share one pool wait for each other.
///
/// # Errors
///
/// [`EngineError::Setting`] if the system gives no threads.
pub(crate) fn threads(part: &'static str, cores: usize) -> Result<Threads, EngineError> {
    let all = std::thread::available_parallelism().map_or(1, usize::from);
    let builder = rayon::ThreadPoolBuilder::new().num_threads((all / cores.max(1)).max(1));
    let built = builder.thread_name(move |index| format!("{part} {index}")).build();
    built.map_err(|e| EngineError::Setting(format!("the system gives no threads to {part}: {e}")))
}
