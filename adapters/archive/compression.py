"""zstd, as Python has it from 3.14 on, and by a package before."""

from __future__ import annotations

import sys

if sys.version_info >= (3, 14):
    from compression.zstd import (
        CompressionParameter,
        DecompressionParameter,
        ZstdDecompressor,
        ZstdError,
        ZstdFile,
    )
else:
    from backports.zstd import (
        CompressionParameter,
        DecompressionParameter,
        ZstdDecompressor,
        ZstdError,
        ZstdFile,
    )

__all__ = ["COMPRESS", "DECOMPRESS", "ZstdDecompressor", "ZstdError", "ZstdFile"]

# At the lowest level, which makes a tenth of a log.
COMPRESS: dict[int, int] = {
    CompressionParameter.compression_level: 1,
    CompressionParameter.checksum_flag: 1,
}
# What a reader has to remember is bounded, whatever the file asks for: 8 MiB.
DECOMPRESS: dict[int, int] = {DecompressionParameter.window_log_max: 23}
