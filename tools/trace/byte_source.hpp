// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <tiercache/base/result.hpp>

#include <cstddef>
#include <memory>
#include <span>
#include <string>

namespace tiercache::tools {

/// A file's bytes after decompression, read as a stream. One thread.
class ByteSource {
 public:
  virtual ~ByteSource() = default;
  /// Fills `out` from the front; fewer bytes than its size only at the end, 0 past it. An error names the file: unreadable,
  /// truncated, or not what its ending says.
  [[nodiscard]] virtual Result<std::size_t> read(std::span<char> out) = 0;
};

/// Decompressed as the ending of `path` tells: ".gz", ".zst", anything else as it is.
[[nodiscard]] Result<std::unique_ptr<ByteSource>> open_bytes(const std::string& path);

}  // namespace tiercache::tools
