//! Names of our metrics, for those who write them and those who read them.

/// Batches that a device computed.
pub const BATCHES: &str = "lithoburn_device_batches_total";
/// Items that a device computed.
pub const ITEMS: &str = "lithoburn_device_items_total";
/// Time of a device, by stage: `input`, `infer`, `output`.
pub const STAGE_SECONDS: &str = "lithoburn_device_stage_seconds_total";
/// Requests that a device has at the moment.
pub const IN_FLIGHT: &str = "lithoburn_device_in_flight_requests";
/// Whether a device takes work.
pub const UP: &str = "lithoburn_device_up";
/// Times that a device failed.
pub const FAULTS: &str = "lithoburn_device_faults_total";
/// Requests that wait for a device.
pub const QUEUE: &str = "lithoburn_queue_requests";
/// Share of the time that any kernel ran.
pub const UTILIZATION: &str = "lithoburn_device_utilization_ratio";
/// Share of multiprocessors that had work.
pub const SM_ACTIVITY: &str = "lithoburn_device_sm_activity_ratio";
/// Share of the time that tensor units worked.
pub const TENSOR_ACTIVITY: &str = "lithoburn_device_tensor_activity_ratio";
/// Memory in use.
pub const MEMORY_USED: &str = "lithoburn_device_memory_used_bytes";
/// Memory that there is.
pub const MEMORY_SIZE: &str = "lithoburn_device_memory_size_bytes";
/// Power that is drawn.
pub const POWER: &str = "lithoburn_device_power_watts";
/// Power that may be drawn.
pub const POWER_LIMIT: &str = "lithoburn_device_power_limit_watts";
/// Energy since the driver was loaded.
pub const ENERGY: &str = "lithoburn_device_energy_joules_total";
/// Temperature of the chip.
pub const TEMPERATURE: &str = "lithoburn_device_temperature_celsius";
/// What goes over PCI Express, by direction: `receive`, `transmit`.
pub const PCIE: &str = "lithoburn_device_pcie_bytes_per_second";
/// What goes over NVLink, by direction.
pub const NVLINK: &str = "lithoburn_device_nvlink_bytes_per_second";
/// What a device is: always 1.
pub const INFO: &str = "lithoburn_device_info";
/// Times of requests, from their coming to their answer.
pub const REQUEST_SECONDS: &str = "lithoburn_request_seconds";
/// Requests that were not answered, by reason.
pub const REFUSALS: &str = "lithoburn_refusals_total";
