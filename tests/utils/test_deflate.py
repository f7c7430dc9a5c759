"""Deflate: against zlib's and gzip's own decoders, and in Node as a browser unpacks it."""

import gzip
import shutil
import subprocess
import zlib

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from brevitas_defakeq.utils.deflate import deflated, gunzipped, gzipped, inflated
from brevitas_defakeq.utils.errors import UserError

PARTS = st.lists(st.binary(max_size=300), max_size=5)
#: Reads a gzip file from standard input as a web page does.
_IN_NODE = """
const { Readable } = require('stream');
const plain = Readable.toWeb(process.stdin).pipeThrough(new DecompressionStream('gzip'));
new Response(plain).arrayBuffer().then(content => process.stdout.write(Buffer.from(content)));
"""


def codes_and_text() -> list[bytes]:
    """What Huffman codes alone suit, and what repeats suit."""
    codes = np.random.default_rng(0).choice(16, 40_000, p=np.r_[0.4, np.full(15, 0.04)]).astype(np.uint8)
    return [codes.tobytes(), b"Conv DequantizeLinear Reshape " * 300, b"", codes[:999].tobytes()]


@given(PARTS)
def test_ordinary_decoders_unpack_it(parts):
    whole = b"".join(parts)
    assert gzip.decompress(gzipped(parts)) == whole == gunzipped(gzipped(parts), "file")
    assert zlib.decompress(deflated(whole)) == whole == inflated(deflated(whole))


def test_every_part_by_the_strategy_that_fits_it():
    parts = codes_and_text()
    whole = b"".join(parts)
    found = len(gzipped(parts))
    assert found < 0.95 * len(gzip.compress(whole, 9)), "repeats were looked for among codes"
    alone = [zlib.compressobj(9, zlib.DEFLATED, -15, 9, zlib.Z_HUFFMAN_ONLY) for _ in range(2)]
    codes = [writer.compress(part) + writer.flush() for writer, part in zip(alone, parts[::3], strict=True)]
    assert found < sum(map(len, codes)) + 150, "the text took more than its repeats"
    assert gzipped(parts) == gzipped(parts), "equal contents are equal files"


@pytest.mark.parametrize("length", [0, 5, 10, 200, -9, -1])
def test_a_file_that_is_cut_short(length):
    with pytest.raises(UserError, match=r"m\.onnx\.gz is (cut short|no intact gzip file)") as caught:
        gunzipped(gzipped(codes_and_text())[:length], "m.onnx.gz")
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("place", [0, 4000, -6])
def test_a_damaged_file(place):
    data = bytearray(gzipped(codes_and_text()))
    data[place] ^= 0x55
    with pytest.raises(UserError, match=r"m\.onnx\.gz is (cut short|no intact gzip file)"):
        gunzipped(bytes(data), "m.onnx.gz")
    stream = bytearray(deflated(codes_and_text()[0]))
    stream[place] ^= 0x55
    for broken in (bytes(stream), deflated(b"codes")[:-1]):
        with pytest.raises(ValueError, match="Error"):
            inflated(broken)


@pytest.mark.skipif(shutil.which("node") is None, reason="node is not installed")
def test_a_browser_unpacks_it():
    parts = codes_and_text()
    found = subprocess.run(["node", "-e", _IN_NODE], input=gzipped(parts), capture_output=True, timeout=60)
    assert found.returncode == 0, found.stderr.decode()
    assert found.stdout == b"".join(parts)
