// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <tiercache/base/hash.hpp>  // xxhash.h as the library has it: inline

#include <cstddef>
#include <cstdint>
#include <string_view>

namespace tiercache::bench {

/// The same hash for every structure. What the maps ask for to look a string up by a view, and to trust the bits as they are.
struct Hash {
  using is_transparent = void;
  using is_avalanching = void;
  std::size_t operator()(std::string_view key) const noexcept { return XXH3_64bits(key.data(), key.size()); }
  // tbb's form
  static std::size_t hash(std::string_view key) noexcept { return XXH3_64bits(key.data(), key.size()); }
  static bool equal(std::string_view a, std::string_view b) noexcept { return a == b; }
};

}  // namespace tiercache::bench
