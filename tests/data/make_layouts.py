"""Makes tests/data/layouts: GDSII and OASIS files by KLayout, by gdstk and byte by byte, and what KLayout sees in them.

    pip install klayout gdstk
    python3 make_layouts.py

expected.json has, for each file and layer: the number of polygons and their areas added up, without hierarchy (paths are
left out: how many polygons one becomes is everybody's own choice), the bounds, a hash of all polygons in a canonical form
(where every coordinate is a whole number of database units), and which points of a grid lie inside ('1'), outside ('0')
or too near an edge to say ('?'). Where gdstk reads a file too, it must see the same. Made with KLayout 0.30.12 and gdstk 1.0.2.
"""

import json
import math
import struct
import zlib
from pathlib import Path

import gdstk
import klayout.db as kdb

HERE = Path(__file__).parent / "layouts"
GRID = 64


# ---- OASIS, byte by byte ----

def unsigned(n):
    out = b""
    while n > 127:
        out += bytes([n & 127 | 128])
        n >>= 7
    return out + bytes([n])


def signed(n):
    return unsigned(abs(n) << 1 | (n < 0))


def string(text):
    data = text.encode() if isinstance(text, str) else text
    return unsigned(len(data)) + data


def delta2(x, y):
    return unsigned(abs(x + y) << 2 | [(1, 0), (0, 1), (-1, 0), (0, -1)].index(((x > 0) - (x < 0), (y > 0) - (y < 0))))


OCTANTS = [(1, 0), (0, 1), (-1, 0), (0, -1), (1, 1), (-1, 1), (-1, -1), (1, -1)]


def octant(x, y):
    return OCTANTS.index(((x > 0) - (x < 0), (y > 0) - (y < 0)))


def delta3(x, y):
    return unsigned(max(abs(x), abs(y)) << 3 | octant(x, y))


def delta(x, y, short=True):
    if short and (x == 0 or y == 0 or abs(x) == abs(y)):
        return unsigned(max(abs(x), abs(y)) << 4 | octant(x, y) << 1)
    return unsigned(abs(x) << 2 | (x < 0) << 1 | 1) + signed(y)


def point_list(kind, steps):
    coded = {
        0: lambda s: signed(s), 1: lambda s: signed(s), 2: lambda s: delta2(*s), 3: lambda s: delta3(*s),
        4: lambda s: delta(*s), 5: lambda s: delta(*s, short=False),
    }[kind]
    return unsigned(kind) + unsigned(len(steps)) + b"".join(map(coded, steps))


def file(records, unit=b"\x00" + unsigned(1000), scheme=1, names=b""):
    """START, records, names after them, END."""
    data = b"%SEMI-OASIS\r\n" + b"\x01" + string("1.0") + unit + b"\x01" + records + names
    end = b"\x02" + b"\x00\x00" * 6
    data += end + string(b"\x00" * (256 - len(end) - 2 - 1 - (4 if scheme else 0))) + unsigned(scheme)
    if scheme == 1:
        data += struct.pack("<I", zlib.crc32(data))
    if scheme == 2:
        data += struct.pack("<I", sum(data) & 0xFFFFFFFF)
    return data


def cblock(records):
    packer = zlib.compressobj(9, zlib.DEFLATED, -15)
    packed = packer.compress(records) + packer.flush()
    return unsigned(34) + unsigned(0) + unsigned(len(records)) + unsigned(len(packed)) + packed


def rectangle(x=None, y=None, w=None, h=None, layer=None, repetition=None, square=False):
    info = (square << 7 | (w is not None) << 6 | (h is not None) << 5 | (x is not None) << 4 | (y is not None) << 3
            | (repetition is not None) << 2 | (layer is not None) * 3)
    out = unsigned(20) + bytes([info])
    if layer is not None:
        out += unsigned(layer[0]) + unsigned(layer[1])
    for value in (w, h):
        out += unsigned(value) if value is not None else b""
    for value in (x, y):
        out += signed(value) if value is not None else b""
    return out + (repetition or b"")


def ctrapezoids():
    """All 26 kinds, wide and high enough for each, in a row; sizes a kind does not need are left out."""
    out = unsigned(14) + string("TOP")
    for kind in range(26):
        wide = kind < 8
        w, h = (100, 30) if wide else (30, 100)
        has_w, has_h = kind not in (20, 21), kind not in (16, 17, 18, 19, 22, 23, 25)
        info = 0x80 | has_w << 6 | has_h << 5 | 0x18 | 3
        out += unsigned(26) + bytes([info]) + unsigned(1) + unsigned(0) + unsigned(kind)
        out += (unsigned(w) if has_w else b"") + (unsigned(h) if has_h else b"")
        out += signed(150 * (kind % 9)) + signed(150 * (kind // 9))
    return file(out)


def trapezoids():
    """Both directions, both slants both ways, in the three records."""
    out = unsigned(14) + string("TOP")
    place = 0
    for vertical in (0, 1):
        for record, slants in ((23, [(20, 30), (-20, 30), (20, -30), (-20, -30)]), (24, [(25, 0), (-25, 0)]), (25, [(0, 25), (0, -25)])):
            for a, b in slants:
                info = vertical << 7 | 0x7B
                out += unsigned(record) + bytes([info]) + unsigned(1) + unsigned(0) + unsigned(100) + unsigned(90)
                out += signed(a) if record != 25 else b""
                out += signed(b) if record != 24 else b""
                out += signed(150 * (place % 4)) + signed(150 * (place // 4))
                place += 1
    return file(out, scheme=2)


POINT_LISTS = [
    (0, [100, 40, -60, 30]),
    (1, [100, 40, -60, 30]),
    (2, [(100, 0), (0, 40), (-60, 0), (0, 30), (-40, 0)]),
    (3, [(100, 0), (30, 30), (-60, 0), (0, 30), (-40, 0)]),
    (4, [(100, 7), (30, 30), (-57, 3), (0, 30), (-40, -11)]),
    (5, [(100, 7), (-70, 23), (-90, 10), (60, 0), (-20, -70)]),
]


def polygons():
    """All kinds of point lists, one after the other by relative positions, and the last one again."""
    out = unsigned(14) + string("TOP") + unsigned(16)
    for kind, steps in POINT_LISTS:
        first = kind == 0
        info = 0x20 | 0x10 | (3 if first else 0)
        out += unsigned(21) + bytes([info]) + (unsigned(1) + unsigned(0) if first else b"")
        out += point_list(kind, steps) + signed(200)
    out += unsigned(21) + bytes([0x08]) + signed(300)
    out += unsigned(15) + unsigned(21) + bytes([0x18]) + signed(0) + signed(300)
    return file(out)


REPETITIONS = [
    unsigned(1) + unsigned(1) + unsigned(2) + unsigned(15) + unsigned(17),
    unsigned(0),
    unsigned(2) + unsigned(2) + unsigned(14),
    unsigned(3) + unsigned(2) + unsigned(16),
    unsigned(4) + unsigned(1) + unsigned(13) + unsigned(25),
    unsigned(5) + unsigned(1) + unsigned(3) + unsigned(4) + unsigned(7),
    unsigned(6) + unsigned(1) + unsigned(13) + unsigned(25),
    unsigned(7) + unsigned(1) + unsigned(3) + unsigned(4) + unsigned(7),
    unsigned(8) + unsigned(1) + unsigned(0) + delta(20, 5) + delta(-3, 30),
    unsigned(9) + unsigned(1) + delta(17, 17),
    unsigned(10) + unsigned(1) + delta(17, -20) + delta(20, 40),
    unsigned(11) + unsigned(1) + unsigned(2) + delta(9, -10) + delta(10, 20),
]


def repetitions():
    """All kinds of repetitions of a square, and of a cell."""
    out = unsigned(14) + string("PART") + rectangle(0, 0, 5, 8, (1, 0)) + rectangle(1, 9, 3, 1)
    out += unsigned(14) + string("TOP")
    for i, repetition in enumerate(REPETITIONS):
        first = i == 0
        out += rectangle(150 * i, 0, 10 if first else None, None, (1, 0) if first else None, repetition, square=True)
    for i, repetition in enumerate(REPETITIONS):
        first = i == 0
        out += unsigned(17) + bytes([(0x80 if first else 0) | 0x38 | (i % 4) << 1 | i % 2])
        out += (string("PART") if first else b"") + signed(150 * i) + signed(200) + repetition
    return file(out)


def paths():
    """All kinds of ends, and what is left out of a record."""
    out = unsigned(14) + string("TOP")
    line = point_list(2, [(100, 0), (0, 80), (60, 0)])
    for i, scheme in enumerate((0b0101, 0b1010, 0b1111, 0b0110, 0b1001, 0b0000)):
        first = i == 0
        info = 0x80 | (0x40 if first else 0) | (0x20 if first else 0) | 0x18 | (3 if first else 0)
        out += unsigned(22) + bytes([info]) + (unsigned(1) + unsigned(0) + unsigned(10) if first else b"")
        out += unsigned(scheme) + (signed(15) + signed(-5) if scheme == 0b1111 else b"")
        out += (line if first else b"") + signed(250 * i) + signed(0)
    out += unsigned(22) + bytes([0x38]) + point_list(1, [70, 90, 70]) + signed(0) + signed(200)
    out += unsigned(22) + bytes([0x38]) + point_list(3, [(80, 0), (60, 60), (0, 50)]) + signed(250) + signed(200)
    return file(out)


def names(numbered, before):
    """Cells by number, with names before or after, numbered or in turn; three levels; all that is passed over."""
    number = {"A": 0, "B": 1, "TOP": 2} if not numbered else {"A": 7, "B": 300, "TOP": 0}
    table = b"".join(unsigned(4 if numbered else 3) + string(n) + (unsigned(k) if numbered else b"")
                     for n, k in sorted(number.items(), key=lambda item: item[1]))
    values = (unsigned(0) + unsigned(5), unsigned(3) + unsigned(5), unsigned(5) + unsigned(5) + unsigned(7),
              unsigned(6) + struct.pack("<f", 0.5), unsigned(7) + struct.pack("<d", 0.5), unsigned(8) + unsigned(5),
              unsigned(9) + signed(-5), unsigned(10) + string("a b"), unsigned(11) + string(b"\x00\xff"),
              unsigned(12) + string("ab"), unsigned(13) + unsigned(0), unsigned(14) + unsigned(0), unsigned(15) + unsigned(0))
    others = unsigned(7) + string("PROP") + unsigned(10) + string("VALUE") + unsigned(0) + unsigned(5) + string("some text")
    others += unsigned(11) + string("METAL") + unsigned(3) + unsigned(1) + unsigned(4) + unsigned(0) + unsigned(2)
    others += unsigned(12) + string("LABELS") + unsigned(0) + unsigned(2) + unsigned(2)
    properties = unsigned(28) + bytes([0xF6]) + unsigned(0) + unsigned(len(values)) + b"".join(values)
    properties += unsigned(29) + unsigned(28) + bytes([0x0C]) + string("OWN") + unsigned(28) + bytes([0x24]) + string("TWO") + values[0] + values[5]
    out = unsigned(13) + unsigned(number["B"]) + rectangle(0, 0, 10, 20, (1, 0)) + properties
    out += unsigned(0) * 3 + rectangle(30, None, None, 5)
    out += unsigned(13) + unsigned(number["TOP"])
    # Placed by number and by name, turned, mirrored, magnified, again.
    out += unsigned(17) + bytes([0xF0]) + unsigned(number["A"]) + signed(100) + signed(200)
    out += unsigned(17) + bytes([0x31 | 1 << 1]) + signed(400) + signed(250)
    out += unsigned(17) + bytes([0xB0]) + string("B") + signed(0) + signed(0)
    out += unsigned(18) + bytes([0xF7]) + unsigned(number["A"]) + unsigned(0) + unsigned(2) + unsigned(0) + unsigned(270) + signed(700) + signed(500)
    out += unsigned(18) + bytes([0x34]) + unsigned(4) + unsigned(6) + unsigned(2) + signed(300) + signed(600)
    out += unsigned(19) + bytes([0x7B]) + unsigned(0) + unsigned(3) + unsigned(0) + signed(5) + signed(6) + unsigned(19) + bytes([0x50]) + string("text") + signed(9)
    out += unsigned(13) + unsigned(number["A"])
    out += rectangle(0, 0, 40, 40, (1, 0)) + unsigned(17) + bytes([0xF0]) + unsigned(number["B"]) + signed(50) + signed(0)
    out += unsigned(16) + unsigned(17) + bytes([0x10]) + signed(60) + unsigned(17) + bytes([0x20]) + signed(5)
    # On another layer, with variables of its own.
    out += unsigned(15) + rectangle(0, 100, 7, 7, (2, 5))
    return file((table if before else b"") + others + out, names=b"" if before else table)


def blocks():
    """Compressed blocks, before, in and between cells; variables go through them."""
    head = unsigned(14) + string("TOP") + rectangle(0, 0, 30, 20, (1, 0))
    many = b"".join(rectangle(50 * (i % 40), 60 * (i // 40)) for i in range(1, 400))
    more = b"".join(rectangle(10000 + 50 * i, 60 + i, 20 + i) for i in range(50))
    return file(cblock(head) + cblock(many) + rectangle(40 * 50, 0, 11) + cblock(more), scheme=0)


# ---- KLayout ----

def by_klayout():
    layout = kdb.Layout()
    layout.dbu = 0.0005
    top, cell, leaf = (layout.create_cell(n) for n in ("TOP", "CELL", "LEAF"))
    metal, other = layout.layer(11, 3), layout.layer(12, 0)
    leaf.shapes(metal).insert(kdb.Polygon([kdb.Point(*p) for p in ((0, 0), (0, 300), (100, 300), (100, 100), (200, 100), (200, 0))]))
    leaf.shapes(metal).insert(kdb.Box(300, 0, 340, 60))
    leaf.shapes(other).insert(kdb.Box(0, 0, 1000, 1000))
    cell.shapes(metal).insert(kdb.Polygon([kdb.Point(*p) for p in ((0, 1000), (70, 1200), (211, 1150))]))
    holed = kdb.Polygon(kdb.Box(400, 900, 900, 1300))
    holed.insert_hole(kdb.Box(500, 1000, 600, 1100))
    cell.shapes(metal).insert(holed)
    at = lambda angle, mirror, x, y: kdb.Trans(angle, mirror, x, y)
    for i in range(8):
        cell.insert(kdb.CellInstArray(leaf.cell_index(), at(i % 4, i > 3, 500 * (i % 4), -600 * (i // 4))))
    top.insert(kdb.CellInstArray(cell.cell_index(), at(1, True, 3000, 200), kdb.Vector(3000, 0), kdb.Vector(0, 4000), 3, 2))
    top.insert(kdb.CellInstArray(leaf.cell_index(), at(0, False, -3000, 0), kdb.Vector(400, 150), kdb.Vector(-130, 500), 4, 5))
    top.insert(kdb.CellInstArray(leaf.cell_index(), kdb.ICplxTrans(2.0, 90, False, kdb.Vector(-6000, 500))))
    top.shapes(metal).insert(kdb.Text("text", kdb.Trans(5, 5)))
    layout.write(str(HERE / "klayout.gds"))
    save = kdb.SaveLayoutOptions()
    save.format, save.oasis_compression_level, save.oasis_write_cblocks = "OASIS", 10, True
    layout.write(str(HERE / "klayout.oas"), save)
    save.oasis_compression_level, save.oasis_write_cblocks, save.oasis_strict_mode = 2, False, True
    layout.write(str(HERE / "klayout-strict.oas"), save)


def by_klayout_turned():
    """Instances at any angle, and paths with every kind of end."""
    layout = kdb.Layout()
    layout.dbu = 0.001
    top, leaf = layout.create_cell("TOP"), layout.create_cell("LEAF")
    metal = layout.layer(1, 0)
    leaf.shapes(metal).insert(kdb.Box(0, 0, 4000, 1000))
    for i in range(7):
        top.insert(kdb.CellInstArray(leaf.cell_index(), kdb.ICplxTrans(1.0 + 0.1 * i, 17.0 * i, i % 2 == 1, kdb.Vector(9000 * i, 0))))
    line = [kdb.Point(*p) for p in ((0, 0), (6000, 0), (6000, 5000), (9000, 8000))]
    for i, (begin, end, rounded) in enumerate(((0, 0, False), (301, 301, False), (700, 100, False), (301, 301, True))):
        top.shapes(metal).insert(kdb.Path(line, 602, begin, end, rounded).moved(12000 * i, 12000))
    layout.write(str(HERE / "klayout-turned.gds"))
    save = kdb.SaveLayoutOptions()
    save.format = "OASIS"
    for shape in list(top.shapes(metal).each()):  # OASIS has no round ends
        if shape.is_path() and shape.path.is_round():
            shape.delete()
    layout.write(str(HERE / "klayout-turned.oas"), save)


# ---- gdstk ----

def by_gdstk():
    library = gdstk.Library("LIB", unit=1e-6, precision=1e-9)
    part = library.new_cell("PART")
    part.add(gdstk.rectangle((0, 0), (0.1, 0.05), layer=5, datatype=2))
    part.add(gdstk.Polygon([(0, 0.1), (0.1, 0.1), (0.06, 0.15), (0.02, 0.15)], layer=5, datatype=2))
    top = library.new_cell("TOP")
    kinds = [
        gdstk.Repetition(columns=3, rows=2, spacing=(0.3, 0.4)),
        gdstk.Repetition(columns=1, rows=4, spacing=(0.3, 0.4)),
        gdstk.Repetition(columns=2, rows=3, v1=(0.3, 0.1), v2=(-0.1, 0.4)),
        gdstk.Repetition(offsets=[(0.5, 0.1), (0.2, 0.7), (0.9, 0.9)]),
        gdstk.Repetition(x_offsets=[0.3, 0.5, 1.1]),
        gdstk.Repetition(y_offsets=[0.3, 0.5, 1.1]),
    ]
    for i, repetition in enumerate(kinds):
        shape = gdstk.rectangle((2 * i, 0), (2 * i + 0.13, 0.07), layer=5, datatype=2)
        shape.repetition = repetition
        triangle = gdstk.Polygon([(2 * i, 2), (2 * i + 0.1, 2.04), (2 * i + 0.03, 2.1)], layer=5, datatype=2)
        triangle.repetition = repetition
        reference = gdstk.Reference(part, (2 * i + 1, 4), rotation=i % 4 * math.pi / 2, x_reflection=i % 2 == 1)
        reference.repetition = repetition
        top.add(shape, triangle, reference)
    top.add(gdstk.rectangle((0, 0), (1, 1), layer=6))
    library.write_gds(HERE / "gdstk.gds")
    library.write_oas(HERE / "gdstk.oas", compression_level=9, validation="crc32")
    library.write_oas(HERE / "gdstk-plain.oas", compression_level=0, validation="checksum32", detect_rectangles=False,
                      detect_trapezoids=False, standard_properties=True)


# ---- what is expected ----

def canonical(points):
    """Whole numbers, no corner on a straight line, counter-clockwise, the least one first."""
    points = [tuple(p) for p in points]
    while True:
        n = len(points)
        kept = []
        for i, p in enumerate(points):
            (ax, ay), (bx, by) = points[i - 1], points[(i + 1) % n]
            if (p[0] - ax) * (by - p[1]) != (p[1] - ay) * (bx - p[0]):
                kept.append(p)
        if len(kept) == n:
            break
        points = kept
    area = sum(a[0] * b[1] - b[0] * a[1] for a, b in zip(points, points[1:] + points[:1]))
    if area < 0:
        points.reverse()
    start = points.index(min(points))
    return points[start:] + points[:start]


def fingerprint(polygons):
    """FNV-1a, 64 bits, of all coordinates as text, polygons in order."""
    value = 0xCBF29CE484222325
    for polygon in sorted(map(canonical, polygons)):
        for byte in (" ".join(f"{x},{y}" for x, y in polygon) + "\n").encode():
            value = (value ^ byte) * 0x100000001B3 % 2**64
    return f"{value:016x}"


def seen_by_klayout(name, layer, cell="TOP"):
    layout = kdb.Layout()
    layout.read(str(HERE / name))
    top = layout.cell(cell)
    polygons, paths, whole = [], False, True
    region = kdb.Region()
    index = layout.find_layer(*layer)
    shapes = top.begin_shapes_rec(index)
    while not shapes.at_end():
        shape = shapes.shape()
        if shape.is_path():
            paths = True
        if not shape.is_text():
            trans = shapes.trans()
            polygon = shape.polygon.transformed(trans)
            whole = whole and trans.is_ortho()
            region.insert(polygon)
            polygons.append(polygon)
        shapes.next()
    # Points at odd halves: on no edge that runs along an axis. Everything doubled, so that they are whole.
    double = region.merged().transformed(kdb.ICplxTrans(2.0))
    box = region.bbox()
    step = [max(box.width() // GRID, 1), max(box.height() // GRID, 1)]
    merged = list(double.each())
    edges = list(double.edges().each())
    grid = ""
    for row in range(GRID):
        for column in range(GRID):
            point = kdb.Point(2 * (box.left + step[0] * column) + 1, 2 * (box.bottom + step[1] * row) + 1)
            near = any(edge.euclidian_distance(point) < (1 if whole and not paths else 8) for edge in edges)
            grid += "?" if near else str(int(any(polygon.inside(point) for polygon in merged)))
    unit = layout.dbu * 1000
    resolved = [[(p.x, p.y) for p in (q.resolved_holes() if q.holes() else q).each_point_hull()] for q in polygons]
    return {
        "file": name,
        "layer": f"{layer[0]}/{layer[1]}",
        "cell": cell,
        "unit_nm": round(unit, 9),
        "polygons": None if paths else len(polygons),
        "area": None if paths or not whole else sum(p.area() for p in polygons),
        "bounds": [box.left, box.bottom, box.right, box.top],
        "hash": None if paths or not whole else fingerprint(resolved),
        "grid": [box.left, box.bottom, *step, grid],
    }


def seen_by_gdstk(name, layer, unit_nm, cell="TOP"):
    read = gdstk.read_gds if name.endswith("gds") else gdstk.read_oas
    library = read(HERE / name, unit=1e-9 * unit_nm)
    top = next(c for c in library.cells if c.name == cell)
    found = top.get_polygons(layer=layer[0], datatype=layer[1])
    return fingerprint([[(round(x), round(y)) for x, y in p.points] for p in found])


def main():
    HERE.mkdir(exist_ok=True)
    hand = {
        "ctrapezoids.oas": ctrapezoids(), "trapezoids.oas": trapezoids(), "polygons.oas": polygons(),
        "repetitions.oas": repetitions(), "paths.oas": paths(), "blocks.oas": blocks(),
        "names-after.oas": names(False, False), "names-numbered-after.oas": names(True, False),
        "names-before.oas": names(False, True), "names-numbered.oas": names(True, True),
    }
    for name, data in hand.items():
        (HERE / name).write_bytes(data)
    by_klayout()
    by_klayout_turned()
    by_gdstk()
    layers = {name: (1, 0) for name in [*hand, "klayout-turned.gds", "klayout-turned.oas"]}
    layers |= {name: (11, 3) for name in ("klayout.gds", "klayout.oas", "klayout-strict.oas")}
    layers |= {name: (5, 2) for name in ("gdstk.gds", "gdstk.oas", "gdstk-plain.oas")}
    expected = [seen_by_klayout(name, layer) for name, layer in layers.items()]
    for entry in expected:
        if entry["hash"]:
            layer = tuple(map(int, entry["layer"].split("/")))
            other = seen_by_gdstk(entry["file"], layer, entry["unit_nm"])
            print(entry["file"], entry["polygons"], "same by gdstk" if other == entry["hash"] else "OTHERWISE BY GDSTK")
    text = ",\n".join(json.dumps(entry) for entry in expected)
    (HERE / "expected.json").write_text(f"[\n{text}\n]\n")


if __name__ == "__main__":
    main()
