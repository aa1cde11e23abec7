"""Files of pictures written by hand, byte by byte: of kinds that Pillow reads but does not write, or that lie."""

import struct
import zlib

import numpy as np

COLOUR_TYPES = {1: 0, 3: 2, 2: 4, 4: 6}
"""PNG's number for so many channels: grey, RGB, grey and alpha, RGBA."""


def chunk(kind: bytes, content: bytes) -> bytes:
    """A piece of a PNG."""
    return struct.pack(">I", len(content)) + kind + content + struct.pack(">I", zlib.crc32(kind + content))


def png_of(width: int, height: int, depth: int, colours: int, rows: bytes, *extra: bytes) -> bytes:
    """A PNG of unfiltered `rows`, each after a byte of zero; `colours` is PNG's colour type."""
    header = struct.pack(">IIBBBBB", width, height, depth, colours, 0, 0, 0)
    chunks = chunk(b"IHDR", header), *extra, chunk(b"IDAT", zlib.compress(rows)), chunk(b"IEND", b"")
    return b"\x89PNG\r\n\x1a\n" + b"".join(chunks)


def png_of_16_bits(values: np.ndarray, *extra: bytes) -> bytes:
    """A PNG of values (H, W, C)."""
    height, width, channels = values.shape
    rows = b"".join(b"\0" + row.astype(">u2").tobytes() for row in values)
    return png_of(width, height, 16, COLOUR_TYPES[channels], rows, *extra)


def tiff_of(values: np.ndarray, order: str, bits: int = 16, photometric: int | None = None, kind: int = 1) -> bytes:
    """An uncompressed TIFF of values (H, W, C), of a `kind` of sample: 1 unsigned, 2 signed, 3 floating-point."""
    height, width, channels = values.shape
    end, data = ("<" if order == "II" else ">"), values.astype(values.dtype.newbyteorder("<" if order == "II" else ">"))
    tags = {256: width, 257: height, 259: 1, 262: photometric if photometric is not None else 2 if channels > 2 else 1}
    tags |= {277: channels, 278: height, 279: data.nbytes, 284: 1, 339: kind} | ({338: 2} if channels == 4 else {})
    count = len(tags) + 2
    depths = 8 + 2 + 12 * count + 4
    entries = {tag: (3 if tag != 279 else 4, 1, value) for tag, value in tags.items()}
    entries[258] = (3, channels, depths if channels > 2 else bits)
    entries[273] = (4, 1, depths + 2 * channels)
    content = order.encode() + struct.pack(f"{end}HIH", 42, 8, count)
    for tag, (form, number, value) in sorted(entries.items()):
        short = form == 3 and number == 1
        content += struct.pack(f"{end}HHI", tag, form, number)
        content += struct.pack(f"{end}HH", value, 0) if short else struct.pack(f"{end}I", value)
    return content + struct.pack(f"{end}I", 0) + struct.pack(f"{end}H", bits) * channels + data.tobytes()


SRGB = {b"rXYZ": (0.43607, 0.22249, 0.01392), b"gXYZ": (0.38515, 0.71687, 0.09708), b"bXYZ": (0.14307, 0.06061, 0.7141)}
"""sRGB's primaries under D50."""


def icc_profile(space: bytes, gamma: float, primaries: dict[bytes, tuple[float, ...]]) -> bytes:
    """A profile of colours in `space`, b"RGB " or b"GRAY", whose values to the power of `gamma` are light."""

    def xyz(values: tuple[float, ...]) -> bytes:
        return b"XYZ \0\0\0\0" + struct.pack(">3i", *(round(value * 65536) for value in values))

    text = b"made for a test"
    tags = {
        b"desc": b"desc" + struct.pack(">II", 0, len(text) + 1) + text + bytes(79),
        b"cprt": b"text\0\0\0\0" + text + b"\0",
    }
    tags |= {name: xyz(values) for name, values in ({b"wtpt": (0.9642, 1.0, 0.8249)} | primaries).items()}
    curve = b"curv\0\0\0\0" + struct.pack(">IH", 1, round(gamma * 256))
    tags |= dict.fromkeys([b"rTRC", b"gTRC", b"bTRC"] if space == b"RGB " else [b"kTRC"], curve)
    table, body = b"", b""
    for name, content in tags.items():
        table += name + struct.pack(">II", 128 + 4 + 12 * len(tags) + len(body), len(content))
        body += content + bytes(-len(content) % 4)
    body = struct.pack(">I", len(tags)) + table + body
    header = (
        struct.pack(">I4sI4s4s4s", 128 + len(body), b"\0\0\0\0", 0x02400000, b"mntr", space, b"XYZ ")
        + bytes(12)
        + b"acsp"
    )
    illuminant = struct.pack(">3i", 63190, 65536, 54061)
    return (header.ljust(68, b"\0") + illuminant).ljust(128, b"\0") + body
