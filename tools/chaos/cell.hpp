// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <tiercache/base/hash.hpp>

#include <msgpack.hpp>

#include <cstddef>
#include <cstdint>
#include <string>

namespace tiercache::chaos {

/// What is cached: a row by number and version, with a check over both and padding of the key's own size. The two numbers and the
/// check are compared after every read, the padding when the value came from further away than L1.
struct Cell {
  std::uint64_t key = 0;
  std::uint64_t version = 0;
  std::uint64_t check = 0;
  std::string padding;
  MSGPACK_DEFINE(key, version, check, padding)
};

[[nodiscard]] inline std::uint64_t check_of(std::uint64_t key, std::uint64_t version) noexcept {
  return mix64(key * 0x9e3779b97f4a7c15ULL + version);
}

/// 24 bytes to 1 KiB; of one key in 64 some 6 KiB, so that answers also end in the midst of a value.
[[nodiscard]] inline std::size_t padding_of(std::uint64_t key) noexcept {
  const std::uint64_t random = mix64(key + 1);
  return random % 64 == 0 ? 6000 + random / 64 % 500 : 24 + random / 64 % 1000;
}

[[nodiscard]] inline Cell make_cell(std::uint64_t key, std::uint64_t version) {
  return {key, version, check_of(key, version), std::string(padding_of(key), static_cast<char>('a' + (key + version) % 26))};
}

[[nodiscard]] inline bool is_of(const Cell& cell, std::uint64_t key, bool wholly) {
  if (cell.key != key || cell.check != check_of(key, cell.version)) return false;
  return !wholly || (cell.padding.size() == padding_of(key) &&
                     cell.padding.find_first_not_of(static_cast<char>('a' + (key + cell.version) % 26)) == std::string::npos);
}

}  // namespace tiercache::chaos
