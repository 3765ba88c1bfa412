//! Damaged files: an error or a layout, soon, and within a gibibyte.

use std::alloc::{GlobalAlloc, Layout, System};
use std::path::Path;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use lithoburn_layout::{
    Bounds, Contents, LayoutError, Library, Raster, ReadOptions, TileGrid, png,
};
use rand::seq::IndexedRandom;
use rand::{Rng, SeedableRng};
use rand_chacha::ChaCha8Rng;

const FILES: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../../tests/data/layouts");
/// Damaged files that are tried.
const TRIES: u64 = 10_000;
/// Time that each may take, and memory.
const LONGEST: Duration = Duration::from_secs(2);
const MOST_BYTES: usize = 1 << 30;

/// Bytes in use, and the most there have been.
struct Counting {
    now: AtomicUsize,
    most: AtomicUsize,
}

#[global_allocator]
static MEMORY: Counting = Counting { now: AtomicUsize::new(0), most: AtomicUsize::new(0) };

#[allow(unsafe_code, reason = "an allocator is unsafe to write; this one only counts")]
// SAFETY: every call goes to the system's allocator as it came.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        let now = self.now.fetch_add(layout.size(), Ordering::Relaxed) + layout.size();
        self.most.fetch_max(now, Ordering::Relaxed);
        // SAFETY: as above.
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, at: *mut u8, layout: Layout) {
        self.now.fetch_sub(layout.size(), Ordering::Relaxed);
        // SAFETY: as above.
        unsafe { System.dealloc(at, layout) }
    }
}

/// Time on the processor, where the system tells; a busy machine is no fault of the file.
fn clock(start: Instant) -> Duration {
    let text = std::fs::read_to_string("/proc/thread-self/schedstat").ok();
    let own = text.and_then(|text| text.split_whitespace().next()?.parse().ok());
    own.map_or_else(|| start.elapsed(), Duration::from_nanos)
}

fn files() -> Vec<(String, Vec<u8>)> {
    let mut files: Vec<(String, Vec<u8>)> = std::fs::read_dir(FILES)
        .expect("it is there")
        .filter_map(|entry| {
            let path = entry.expect("readable").path();
            let name = path.file_name()?.to_str()?.to_string();
            (!name.ends_with("json")).then(|| (name, std::fs::read(&path).expect("readable")))
        })
        .collect();
    let bars = " RECT N M1 10 20 300 40\n PGON N M1 0 0 95 0 95 200 40 200\n".repeat(6);
    files.push(("clip.glp".into(), format!("BEGIN\nCELL A PRIME\n{bars}ENDMSG\n").into()));
    let mut image = Raster::new(40, 30, 1.0);
    (0..1200).filter(|i| i * i % 11 < 5).for_each(|i| image.data[i] = 1.0);
    files.push(("image.png".into(), png::encode(&image).expect("an image")));
    files.sort();
    assert!(files.len() > 17);
    files
}

/// Whether a file has cells and layers to choose from.
fn has_layers(name: &str) -> bool {
    !name.ends_with("glp") && !name.ends_with("png")
}

/// Turns off an OASIS file's validation, so that what is damaged is looked at.
fn without_validation(name: &str, bytes: &mut [u8]) {
    if name.ends_with("oas")
        && let Some(scheme) = bytes.len().checked_sub(5)
    {
        bytes[scheme] = 0;
    }
}

/// Damages a file in some places.
fn damage(bytes: &mut Vec<u8>, others: &[(String, Vec<u8>)], rng: &mut ChaCha8Rng) {
    const LARGE: [&[u8]; 6] = [
        &[0xFF; 4],
        &[0xFF, 0xFF, 0xFF, 0xFF, 0x0F],
        &[0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0x01],
        &[0x80, 0x80, 0x80, 0x80, 0x01],
        &[0x7F, 0xFF, 0xFF, 0xFF],
        &[0x80, 0, 0, 0],
    ];
    for _ in 0..rng.random_range(1..5) {
        let at = rng.random_range(0..bytes.len().max(1)).min(bytes.len());
        let end = (at + rng.random_range(0..60)).min(bytes.len());
        match rng.random_range(0..7) {
            0 | 1 if at < bytes.len() => bytes[at] ^= 1 << rng.random_range(0..8),
            2 if at < bytes.len() => bytes[at] = rng.random(),
            3 => {
                let slice = bytes[at..end].to_vec();
                bytes.splice(at..at, slice);
            }
            4 => drop(bytes.drain(at..end)),
            5 => {
                let large = LARGE[rng.random_range(0..LARGE.len())];
                let until = if rng.random() { (at + large.len()).min(bytes.len()) } else { at };
                bytes.splice(at..until, large.iter().copied());
            }
            _ => {
                let (_, other) = others.choose(rng).expect("some");
                let from = rng.random_range(0..other.len());
                let to = (from + rng.random_range(0..200)).min(other.len());
                bytes.splice(at..end, other[from..to].iter().copied());
            }
        }
    }
    if rng.random_bool(0.1) {
        bytes.truncate(rng.random_range(0..=bytes.len()));
    }
}

/// Fields that are not occupied have no polygons. Grids of many fields are left to other tests.
fn occupied_fields_have_all_polygons(library: &Library) -> Result<(), LayoutError> {
    let extent = library.extent();
    let field_nm = (extent.width().max(extent.height()) / 3.0).ceil().clamp(64.0, 65_536.0);
    let grid = TileGrid::cover_library(library, extent, field_nm, 0.0, 1.0).ok();
    let Some(grid) = grid.filter(|grid| grid.len() < 64) else { return Ok(()) };
    let occupied = grid.occupied(library)?;
    for field in (0..grid.len().min(9)).filter(|field| occupied.binary_search(field).is_err()) {
        assert!(library.polygons_in(grid.frame(field).bounds())?.is_empty());
    }
    Ok(())
}

/// Everything that is done with a layout.
fn use_it(name: &str, bytes: &[u8], options: &ReadOptions) -> Result<(), LayoutError> {
    let library = Library::from_bytes(Path::new(name), bytes, options)?;
    let extent = library.extent();
    let middle = |i: usize| f64::midpoint(extent.min[i], extent.max[i]);
    let centre = [middle(0), middle(1)];
    let small = Bounds { min: centre, max: centre.map(|v| v + 500.0) };
    let corner = Bounds { min: extent.min, max: extent.min.map(|v| v + 500.0) };
    let near = [small, corner, extent].map(|window| library.polygons_in(window).map(|p| p.len()));
    occupied_fields_have_all_polygons(&library)?;
    let flat = library.flatten()?;
    assert_eq!(flat.polygons.len() as u64, library.count());
    for near in near {
        assert!(near? <= flat.polygons.len());
    }
    Ok(())
}

#[test]
fn damaged_files_are_errors_or_layouts_soon_and_within_a_gibibyte() {
    let files = files();
    let (mut whole, mut refused) = (0, 0);
    let mut worst = (Duration::ZERO, 0);
    for seed in 0..TRIES {
        let mut rng = ChaCha8Rng::seed_from_u64(seed);
        let (name, bytes) = files.choose(&mut rng).expect("some");
        let mut bytes = bytes.clone();
        if rng.random_bool(0.8) {
            without_validation(name, &mut bytes);
        }
        damage(&mut bytes, &files, &mut rng);
        let layer = (has_layers(name) && rng.random_bool(0.7)).then(|| {
            let known = ["1/0", "11/3", "5/2"].iter().find(|layer| match **layer {
                "11/3" => name.starts_with("klayout") && !name.contains("turned"),
                "5/2" => name.starts_with("gdstk"),
                _ => {
                    !name.starts_with("gdstk")
                        && (!name.starts_with("klayout") || name.contains("turned"))
                }
            });
            known.expect("one of them").parse().expect("a layer")
        });
        let cell = (has_layers(name) && rng.random_bool(0.5)).then(|| "TOP".to_string());
        let options = ReadOptions { layer, cell, pixel_nm: 1.0 };
        MEMORY.most.store(MEMORY.now.load(Ordering::Relaxed), Ordering::Relaxed);
        let start = Instant::now();
        let before = clock(start);
        // What is in it is told or refused as soon, whether or not a cell and a layer can be chosen.
        let contents = Contents::read_from(bytes.as_slice(), Path::new(name), None, 1.0);
        if let Err(error) = contents {
            assert!(error.to_string().contains(name.as_str()), "{error}");
        }
        match use_it(name, &bytes, &options) {
            Ok(()) => whole += 1,
            Err(error) => {
                assert!(error.to_string().contains(name.as_str()), "{error}");
                refused += 1;
            }
        }
        let taken = clock(start) - before;
        assert!(taken < LONGEST, "seed {seed} of {name} took {taken:?}");
        worst = worst.max((taken, seed));
        let most = MEMORY.most.load(Ordering::Relaxed);
        assert!(most < MOST_BYTES, "seed {seed} of {name} took {} MiB", most >> 20);
    }
    println!(
        "{whole} layouts, {refused} errors; the slowest took {:?} (seed {})",
        worst.0, worst.1
    );
    // Damage that is never noticed, or always, would test little.
    assert!(whole > TRIES / 10 && refused > TRIES / 10, "{whole} {refused}");
}
