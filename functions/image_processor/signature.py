"""What uploaded bytes are, by their content: never by a name or a declared type."""

import mmap
import struct
from collections.abc import Iterator
from itertools import dropwhile
from pathlib import Path
from typing import BinaryIO, Literal, get_args

from shared.errors import RejectedError

Format = Literal["JPEG", "PNG", "GIF", "WEBP", "TIFF", "BMP", "AVIF", "HEIF"]
FORMATS: tuple[Format, ...] = get_args(Format)

HEAD_BYTES = 65_536
"""Read to recognise a file: enough for every magic number, and for the prologue of an SVG."""

HEVC_BRANDS = {b"heic", b"heix", b"heim", b"heis", b"hevc", b"hevx", b"hevm", b"hevs"}
AVIF_BRANDS = {b"avif", b"avis"}
DIB_HEADER_SIZES = {12, 40, 52, 56, 64, 108, 124}
"""Bytes of the header after `BM`: without it every text that begins with these letters is a bitmap."""

TIFF_NEEDS = {258, 273, 279, 320, 324, 325, 347}
"""Tags without which a TIFF is no picture: bits, strips or tiles (where, how long), palette, JPEG tables."""
TIFF_TYPES = {1: "B", 3: "H", 4: "L", 7: "B"}


def recognise(path: Path) -> Format:
    """Return the format of a picture.

    Raises:
        RejectedError: `empty`, `not_an_image`, or `unsupported_format` for a picture of another kind.
    """
    with path.open("rb") as file:
        head = file.read(HEAD_BYTES)
    if not head:
        raise RejectedError("empty", "The file is empty.")
    found = _format(head)
    if found:
        return found
    other = _other_picture(head)
    if other:
        raise unsupported(f"{other} pictures")
    raise RejectedError("not_an_image", "The file is not a picture.")


def unsupported(what: str) -> RejectedError:
    """Return the rejection of a picture of a kind that is not taken."""
    return RejectedError("unsupported_format", f"{what} are not supported; use {', '.join(FORMATS)}.")


def _format(head: bytes) -> Format | None:
    if head.startswith(b"\xff\xd8\xff"):
        return "JPEG"
    if head.startswith(b"\x89PNG\r\n\x1a\n"):
        return "PNG"
    if head.startswith((b"GIF87a", b"GIF89a")):
        return "GIF"
    if head.startswith(b"RIFF") and head[8:12] == b"WEBP":
        return "WEBP"
    # 42, or 43 for BigTIFF; Canon's raw files are TIFFs that say so in bytes 8 and 9.
    if head.startswith((b"II*\0", b"MM\0*", b"II+\0", b"MM\0+")) and head[8:10] != b"CR":
        return "TIFF"
    if head.startswith(b"BM") and int.from_bytes(head[14:18], "little") in DIB_HEADER_SIZES:
        return "BMP"
    if head[4:8] == b"ftyp":
        return _brand(head)
    return None


def _brand(head: bytes) -> Format | None:
    """Tell AVIF from HEIF. `mif1` and `msf1` only name the container: what is compatible decides."""
    major, end = head[8:12], min(int.from_bytes(head[:4], "big"), len(head))
    brands = {major} | {head[start : start + 4] for start in range(16, end - 3, 4)}
    if major in AVIF_BRANDS or (major in {b"mif1", b"msf1"} and brands & AVIF_BRANDS):
        return "AVIF"
    return "HEIF" if major in HEVC_BRANDS | {b"mif1", b"msf1"} else None


def _other_picture(head: bytes) -> str | None:
    """Name the kind of a picture that is not taken, for a sentence to its owner."""
    import puremagic  # its table of signatures is only needed for what is rejected

    if head.startswith(b"\xff\x0a"):
        return "JPEG XL"
    if head[4:12] == b"ftypcrx ":
        return "CR3"
    if head.lstrip(b"\xef\xbb\xbf \r\n\t").startswith(b"<?xml") and b"<svg" in head:
        return "SVG"
    try:
        best = puremagic.magic_string(head)[0]
    except puremagic.PureError:
        return None
    # Two bytes are no proof: every text that begins with P6 or BM would be a picture.
    if best.confidence < 0.3 or not (best.mime_type.startswith("image/") or best.extension == ".cr2"):
        return None
    return str(best.extension).lstrip(".").upper()


def is_cut_short(path: Path, found: Format) -> bool:
    """Say whether a file that could not be decoded lacks bytes that its own container announces.

    It tells an upload that broke off, which is worth trying again, from one that is damaged.
    """
    size = path.stat().st_size
    with path.open("rb") as file:
        try:
            match found:
                case "JPEG":
                    return _jpeg_is_cut(file, size)
                case "PNG":
                    return _png_is_cut(file, size)
                case "GIF":
                    file.seek(-1, 2)
                    return file.read(1) != b";"
                case "WEBP":
                    return size < 8 + _number(file, 4, "<L")
                case "BMP":
                    return size < _number(file, 2, "<L")
                case "TIFF":
                    return _tiff_is_cut(file, size)
                case "AVIF" | "HEIF":
                    return _boxes_are_cut(file, size)
        except struct.error:
            return True  # a length field itself is beyond the end


def _number(file: BinaryIO, offset: int, shape: str) -> int:
    """Read one number. Raises `struct.error` at the end of the file."""
    file.seek(offset)
    (number,) = struct.unpack(shape, file.read(struct.calcsize(shape)))
    return int(number)


def _jpeg_is_cut(file: BinaryIO, size: int) -> bool:
    """Walk the segments up to the start of the scan; after it there must be an end-of-image marker."""
    position = 2
    while (marker := _number(file, position, ">H")) != 0xFFDA:
        if marker == 0xFFFF:  # fill bytes
            position += 1
        elif marker == 0xFF01 or 0xFFD0 <= marker <= 0xFFD9:  # these stand alone
            position += 2
        else:
            position += 2 + _number(file, position + 2, ">H")
    with mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as content:
        return content.find(b"\xff\xd9", position) < 0


def _png_is_cut(file: BinaryIO, size: int) -> bool:
    return any(end > size for _, end in _png_chunks(file))


def png_goes_on_after_its_pixels(path: Path) -> bool:
    """Say whether something other than its end follows the pixels of a PNG."""
    with path.open("rb") as file:
        kinds = dropwhile(lambda kind: kind != b"IDAT", (kind for kind, _ in _png_chunks(file)))
        try:
            return any(kind not in {b"IDAT", b"IEND"} for kind in kinds)
        except struct.error:  # there is no end
            return True


def _png_chunks(file: BinaryIO) -> Iterator[tuple[bytes, int]]:
    """Yield the name of each chunk up to the last, and the position behind it."""
    position, kind = 8, b""
    while kind != b"IEND":
        length, kind = _number(file, position, ">L"), file.read(4)
        position += 12 + length
        yield kind, position


def _boxes_are_cut(file: BinaryIO, size: int) -> bool:
    """Walk the top-level boxes of an ISO base media file (ISO/IEC 14496-12, 4.2).

    Only boxes that hold the picture count: phones append what is no box at all.
    """
    position = 0
    while position + 8 <= size:
        length, kind = _number(file, position, ">L"), file.read(4)
        if length == 1:
            length = _number(file, position + 8, ">Q")
        if length < 8:  # 0: up to the end, wherever that is; else damaged, not cut
            return False
        position += length
        if position > size and kind in {b"meta", b"mdat", b"moov"}:
            return True
    return False


def _tiff_is_cut(file: BinaryIO, size: int) -> bool:
    """Look whether the first directory, and the strips or tiles that it names, lie within the file."""
    order = "<" if file.read(2) == b"II" else ">"
    if _number(file, 2, order + "H") == 43:
        return False  # BigTIFF is too rare to be read for the sake of one word
    directory = _number(file, 4, order + "L")
    values: dict[int, list[int]] = {}
    for entry in range(_number(file, directory, order + "H")):
        start = directory + 2 + 12 * entry
        tag, kind = _number(file, start, order + "H"), _number(file, start + 2, order + "H")
        count = _number(file, start + 4, order + "L")
        if tag in TIFF_NEEDS and kind in TIFF_TYPES:
            shape = f"{order}{count}{TIFF_TYPES[kind]}"
            length = struct.calcsize(shape)
            if length > size:
                return False  # damaged, not cut
            file.seek(start + 8 if length <= 4 else _number(file, start + 8, order + "L"))
            values[tag] = list(struct.unpack(shape, file.read(length)))
    return any(
        offset + length > size
        for offsets, lengths in ((273, 279), (324, 325))
        for offset, length in zip(values.get(offsets, []), values.get(lengths, []), strict=False)
    )
