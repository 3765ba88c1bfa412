//! Files as they come: by name, by content, through a pipe; damaged and hostile ones.

use super::*;
use crate::formats::header::Header;
use crate::{Bounds, Layer, Polygon};

const CLIP: &str = "BEGIN\nCELL A PRIME\n RECT N M1 10 20 30 40\nENDMSG\n";
const LAYER: Layer = Layer { layer: 3, datatype: 0 };

fn path(name: &str) -> &Path {
    Path::new(name)
}

fn bar() -> Layout {
    Layout::new("BAR", vec![Polygon::rectangle(0.0, 0.0, 80.0, 400.0)])
}

fn files() -> Result<[(&'static str, Vec<u8>); 4], LayoutError> {
    let mut image = crate::Raster::new(8, 8, 1.0);
    image.data[9] = 1.0;
    Ok([
        ("gds", gds::encode(path("x"), &bar(), LAYER, 1.0)?),
        ("oas", oasis::encode(path("x"), &bar(), LAYER, 1.0)?),
        ("glp", CLIP.into()),
        ("png", png::encode(&image)?),
    ])
}

#[test]
fn a_file_without_an_ending_is_known_by_its_first_bytes() -> Result<(), LayoutError> {
    let options = ReadOptions::default();
    for (ending, bytes) in files()? {
        let (named, piped) = (format!("a.{ending}"), path("-"));
        let expected = Library::from_bytes(path(&named), &bytes, &options)?.flatten()?.polygons;
        let format = ending.parse().expect("a format");
        for given in [None, Some(format)] {
            let found = Library::read_from(bytes.as_slice(), piped, given, &options)?;
            assert_eq!(found.flatten()?.polygons, expected, "{ending}");
        }
        let unknown = Library::from_bytes(path("a"), b"hello", &options).expect_err("no layout");
        assert!(unknown.to_string().contains("unknown kind"));
    }
    Ok(())
}

#[test]
fn a_file_with_the_wrong_ending_says_what_it_is() -> Result<(), LayoutError> {
    let [_, (_, oasis), ..] = files()?;
    let error = Library::from_bytes(path("a.gds"), &oasis, &ReadOptions::default());
    let error = error.expect_err("not GDSII").to_string();
    assert_eq!(error, "a.gds is not a valid GDSII file: its content is OASIS");
    Ok(())
}

#[test]
fn a_choice_where_there_is_none_is_refused() {
    let cell = ReadOptions { cell: Some("zzz".into()), ..ReadOptions::default() };
    let layer = ReadOptions { layer: Some(LAYER), ..ReadOptions::default() };
    for (options, option) in [(cell, "--cell zzz"), (layer, "--layer 3/0")] {
        let error = Library::from_bytes(path("a.glp"), CLIP.as_bytes(), &options);
        let error = error.expect_err("no choice").to_string();
        assert!(error.starts_with(&format!("leave out {option}: a.glp is a GLP file")), "{error}");
    }
}

#[cfg(unix)]
#[test]
fn a_pipe_is_read_to_its_end() -> Result<(), LayoutError> {
    let file = std::env::current_exe().expect("a program");
    assert!(matches!(file::open(&file)?, Source::File(_, bytes) if bytes > 1000));
    assert!(matches!(file::open(path("/dev/null"))?, Source::Stream(_)));
    let error = Library::read(path("/dev/null"), &ReadOptions::default()).expect_err("no bytes");
    assert!(error.to_string().contains("empty"), "{error}");
    Ok(())
}

#[test]
fn what_the_system_says_is_said_once() {
    let error =
        Library::read(path("/nowhere/a.gds"), &ReadOptions::default()).expect_err("no file");
    assert!(error.to_string().contains("No such file"));
    assert!(std::error::Error::source(&error).is_none());
}

/// Records of an OASIS file, byte by byte, in one compressed block.
fn packed(records: impl Fn(&mut Vec<u8>)) -> Vec<u8> {
    let mut inner = Vec::new();
    records(&mut inner);
    let mut bytes = oasis::MAGIC.to_vec();
    bytes.extend([1, 3, b'1', b'.', b'0', 0, 0xE8, 0x07, 1]); // START, 1000 units a micron
    bytes.extend([34, 0]); // CBLOCK, deflate
    let block = miniz_oxide::deflate::compress_to_vec(&inner, 6);
    for mut number in [inner.len() as u64, block.len() as u64] {
        while number > 0x7F {
            bytes.push(number as u8 | 0x80);
            number >>= 7;
        }
        bytes.push(number as u8);
    }
    bytes.extend(block);
    let end = [2].into_iter().chain([0; 12]).chain([0x80, 0x80, 0, 0]); // END, no validation
    bytes.extend(end);
    bytes
}

const CELL: &[u8] = &[14, 1, b'T'];
/// A square of 10 units on layer 1/0 at 0, 0.
const SQUARE: &[u8] = &[20, 0xDB, 1, 0, 10, 0, 0];

fn open_oasis(bytes: &[u8]) -> Result<Library, LayoutError> {
    Library::from_bytes(path("x.oas"), bytes, &ReadOptions::default())
}

#[test]
fn packed_records_are_read() -> Result<(), LayoutError> {
    let found = open_oasis(&packed(|to| to.extend([CELL, SQUARE].concat())))?;
    assert_eq!(found.flatten()?.polygons[0].bounds(), Bounds { min: [0.0; 2], max: [10.0; 2] });
    Ok(())
}

/// Each of these unpacks to a hundred times its size and more, of what is not kept or is kept at many times its length.
#[test]
fn bombs_are_refused_before_they_take_all_memory() {
    let padding = |to: &mut Vec<u8>| to.resize(80 << 20, 0);
    let modes = |to: &mut Vec<u8>| to.resize(80 << 20, 15);
    let names = |to: &mut Vec<u8>| to.extend([3, 1, b'a'].repeat(6_000_000));
    let layers = |to: &mut Vec<u8>| {
        to.extend([CELL, SQUARE].concat());
        for i in 0..2_000_000_u32 {
            to.extend([
                20,
                0x81,
                (i & 0x7F) as u8 | 0x80,
                (i >> 7 & 0x7F) as u8 | 0x80,
                (i >> 14) as u8 & 0x7F,
            ]);
        }
    };
    type Records<'a> = &'a dyn Fn(&mut Vec<u8>);
    let bombs: [(&str, Records); 4] = [
        ("records that say nothing", &padding),
        ("records that say nothing", &modes),
        ("unpacks to more than", &names),
        ("unpacks to more than", &layers),
    ];
    for (expected, records) in bombs {
        let bytes = packed(records);
        let error = open_oasis(&bytes).expect_err("a bomb").to_string();
        assert!(error.contains(expected), "{expected}: {error}");
    }
}

/// The block says 16 GB; nothing of it is unpacked.
#[test]
fn a_block_that_says_it_is_huge_is_refused_at_once() {
    let mut bytes = packed(|to| to.extend([CELL, SQUARE].concat()));
    let at = oasis::MAGIC.len() + 11;
    bytes.splice(at..=at, [0x80, 0x80, 0x80, 0x80, 0x40]);
    let error = open_oasis(&bytes).expect_err("too large").to_string();
    assert!(error.contains("unpack to too much"), "{error}");
}

/// A square a million by a million times: a count, and windows of it, but never all.
#[test]
fn a_million_million_squares_of_thirty_bytes_are_counted_and_not_made() -> Result<(), LayoutError> {
    let million = [0xBE, 0x84, 0x3D]; // 999,998
    let repeated = [&[20, 0xDF, 1, 0, 10, 0, 0, 1][..], &million, &million, &[20, 20]].concat();
    let library = open_oasis(&packed(|to| to.extend([CELL, &repeated].concat())))?;
    assert_eq!(library.count(), 1_000_000_000_000);
    assert!(matches!(library.flatten(), Err(LayoutError::TooMuch { .. })));
    let window = Bounds { min: [1e6; 2], max: [1e6 + 99.0; 2] };
    assert_eq!(library.polygons_in(window)?.len(), 25);
    assert!(library.touches(window)?);
    let grid = crate::TileGrid::cover_library(&library, library.extent(), 65_536.0, 0.0, 1.0)?;
    assert_eq!(grid.occupied(&library)?.len(), grid.len());
    Ok(())
}

/// Thirty bytes that put a large square a million times where it is: drawing that would take a day.
#[test]
fn a_square_repeated_on_itself_is_refused_instead_of_drawn_for_days() -> Result<(), LayoutError> {
    let large = [&[20, 0xDF, 1, 0][..], &[0xA0, 0x8D, 0x06], &[0, 0, 1]].concat(); // 100 µm
    let thousand = [0xE6, 0x07]; // 998
    let repeated = [&large[..], &thousand, &thousand, &[1, 1]].concat();
    let library = open_oasis(&packed(|to| to.extend([CELL, &repeated].concat())))?;
    assert_eq!(library.count(), 1_000_000);
    let window = Bounds { min: [5e4; 2], max: [5e4 + 2048.0; 2] };
    for error in [library.polygons_in(window).err(), library.flatten().err()] {
        let error = error.expect("too much").to_string();
        assert!(error.contains("lie on one another"), "{error}");
    }
    Ok(())
}

/// Two cells that hold each other: no cell is on top, and it is not that nothing is there.
#[test]
fn top_cells_that_are_a_cycle_are_called_one() -> Result<(), LayoutError> {
    let mut bytes = Vec::new();
    let header = Header::new(path("x.gds"), "A", LAYER, 1.0)?;
    let mut writer = gds::GdsWriter::new(&mut bytes, &header)?;
    writer.add(&bar().polygons)?;
    writer.place("B", [0.0; 2], false)?;
    writer.begin_cell("B")?;
    writer.place("A", [0.0; 2], false)?;
    writer.finish()?;
    let error = Library::from_bytes(path("x.gds"), &bytes, &ReadOptions::default());
    let error = error.expect_err("a cycle").to_string();
    assert!(error.contains("is inside itself: a cycle"), "{error}");
    Ok(())
}

/// A library of 437 cells: what is said of it fits a line, the advice first.
#[test]
fn errors_of_a_large_library_are_short_with_the_nearest_names() -> Result<(), LayoutError> {
    let mut bytes = Vec::new();
    let header = Header::new(path("x.gds"), "CELL_0", LAYER, 1.0)?;
    let mut writer = gds::GdsWriter::new(&mut bytes, &header)?;
    for i in 1..437 {
        writer.add(&bar().polygons)?;
        writer.begin_cell(&format!("CELL_{i}"))?;
    }
    writer.finish()?;
    let error = |cell: Option<&str>| {
        let options = ReadOptions { cell: cell.map(Into::into), ..ReadOptions::default() };
        Library::from_bytes(path("x.gds"), &bytes, &options).expect_err("a choice").to_string()
    };
    let many = error(None);
    assert!(many.starts_with("choose one cell with --cell: x.gds has several top cells"), "{many}");
    assert!(many.len() < 200 && many.contains("and 432 more"), "{many}");
    let none = error(Some("cell_217"));
    assert!(none.contains("its cells are: CELL_217, ") && none.len() < 200, "{none}");
    Ok(())
}

#[test]
fn the_contents_of_a_file_are_its_cells_and_layers_with_all_inside() -> Result<(), LayoutError> {
    let mut bytes = Vec::new();
    let header = Header::new(path("x.gds"), "BAR", LAYER, 0.5)?;
    let mut writer = gds::GdsWriter::new(&mut bytes, &header)?;
    writer.add(&bar().polygons)?;
    writer.begin_cell("TOP")?;
    writer.place("BAR", [1000.0, 0.0], false)?;
    writer.place("BAR", [2000.0, 0.0], true)?;
    writer.finish()?;
    let found = Contents::read_from(bytes.as_slice(), path("-"), None, 1.0)?;
    assert_eq!((found.format, found.cells.len()), ("GDSII", 2));
    assert!((found.unit_nm - 0.5).abs() < 1e-12);
    let [top, bar] = [&found.cells[0], &found.cells[1]];
    assert_eq!(
        (top.name.as_str(), top.top, bar.name.as_str(), bar.top),
        ("TOP", true, "BAR", false)
    );
    let [both, one] = [&top.layers[0], &bar.layers[0]];
    assert_eq!((both.layer, both.polygons, one.polygons), (LAYER, 2, 1));
    assert_eq!(both.bounds, Bounds { min: [1000.0, -400.0], max: [2080.0, 400.0] });
    assert_eq!((both.smallest_nm, one.smallest_nm), (Some(80.0), Some(80.0)));
    Ok(())
}
