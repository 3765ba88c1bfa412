//! Options that mean nothing, or another thing than one may think, are told of.

use std::path::Path;

use lithoburn::layout::{Coverage, Frame, Layout, Polygon, png};

use crate::programs::{EXAMPLE, folder, lithoburn, path, text};

#[test]
fn options_that_mean_nothing_to_a_model_are_refused() {
    for options in [
        &["--model", "ilt", "--weights", "x"][..],
        &["--model", "ilt", "--correct", "5"],
        &["--model", "surrogate-ilt", "--correct", "5"],
        &["--model", "gan-opc", "--correct-every", "5"],
    ] {
        let run = lithoburn(&[&["infer", EXAMPLE][..], options].concat());
        let error = String::from_utf8_lossy(&run.stderr).into_owned();
        assert_eq!(run.status.code(), Some(2), "{error}");
        assert!(error.contains(options[2]) && error.contains(options[1]), "{error}");
    }
}

#[test]
fn devices_that_one_field_does_not_use_are_named() {
    let out = folder("options/unused");
    let run = ["infer", EXAMPLE, "--devices", "cpu,cpu", "--correct", "0", "--pixel", "8"];
    let run = lithoburn(&[&run[..], &["--out", path(&out)]].concat());
    let said = text(&run.stdout);
    assert!(said.contains("one field is computed on one device, cpu; not used: cpu"), "{said}");
}

/// Two bars on the grid of 4 nm: as an image of a quarter of the field's pixels they have the scores that they have as polygons. Its pixels
/// are larger, and the program says so.
#[test]
fn a_mask_of_fewer_pixels_covers_the_field_and_is_said_to() {
    let out = folder("options/image");
    let bars = [0.0, 320.0].map(|x| Polygon::rectangle(x, 0.0, x + 80.0, 800.0));
    let clip = Layout::new("bars", bars.to_vec());
    let layout = out.join("bars.glp");
    let text_of = "BEGIN\nEQUIV  1  1000  MICRON  +X,+Y\nCNAME bars\nLEVEL M1\n\nCELL bars PRIME\n   \
                   RECT N M1  0 0 80 800\n   RECT N M1  320 0 80 800\nENDMSG\n";
    std::fs::write(&layout, text_of).expect("written");
    let frame = Frame::centred(&clip, 2048.0, 4.0).expect("it fits");
    let file = out.join("mask.png");
    let image = png::encode(&clip.rasterize(&frame, Coverage::Exact)).expect("an image");
    std::fs::write(&file, image).expect("written");
    let score = |mask: &Path| {
        let pair = ["--mask", path(mask), "--target", path(&layout)];
        let run = lithoburn(&[&["score", "--pixel", "2", "--json"][..], &pair].concat());
        assert!(run.status.success(), "{}", text(&run.stderr));
        let found: serde_json::Value = serde_json::from_slice(&run.stdout).expect("JSON");
        (found, text(&run.stderr))
    };
    let ((image, said), (polygons, quiet)) = (score(&file), score(&layout));
    assert!(said.contains("512 pixels") && said.contains("4 nm each"), "{said}");
    assert!(!quiet.contains("pixels"), "{quiet}");
    assert_eq!(image["l2_nm2"], polygons["l2_nm2"]);
}
