// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <tiercache/base/result.hpp>

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

namespace tiercache::tools {

/// A request stream with its keys numbered densely in the order of their first request.
struct Trace {
  std::vector<std::uint32_t> requests;  ///< key number of each request
  std::vector<std::uint32_t> sizes;     ///< bytes by key number, as its first request says; empty: the format has none
  std::uint32_t unique_keys = 0;

  /// The share of requests that are not the first of their key: what a cache without limits could answer at best.
  [[nodiscard]] double bound() const noexcept {
    if (requests.empty()) return 0;
    return 1 - static_cast<double>(unique_keys) / static_cast<double>(requests.size());
  }
};

/// Reads a whole trace. Format and compression are told by the ending:
///   .keys               one key a line, any text
///   .lis                "first count ignored ignored" a line: the keys first .. first+count-1, one request each
///   .oracleGeneral.bin  records of 24 bytes, little-endian: u32 time, u64 key, u32 size, i64 next
/// each plain or followed by .gz or .zst. An error names the file and the record (counted from 1).
[[nodiscard]] Result<Trace> read_trace(const std::string& path);
/// The file's name without folder and endings; nothing when the endings are not those of a trace.
[[nodiscard]] std::optional<std::string> trace_name(const std::string& path);

}  // namespace tiercache::tools
