// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <string>
#include <string_view>

namespace tiercache {

/// Big-endian fields of fixed width: what the wire formats are made of. REQUIRES: the bytes exist.
template <unsigned N>
[[nodiscard]] constexpr std::uint64_t load_be(const char* p) noexcept {
  static_assert(N >= 1 && N <= 8);
  std::uint64_t v = 0;
  for (unsigned i = 0; i < N; ++i) v = (v << 8) | static_cast<unsigned char>(p[i]);
  return v;
}

template <unsigned N>
constexpr void store_be(char* p, std::uint64_t v) noexcept {
  static_assert(N >= 1 && N <= 8);
  for (unsigned i = 0; i < N; ++i) p[i] = static_cast<char>(v >> (8 * (N - 1 - i)));
}

template <unsigned N>
void append_be(std::string& out, std::uint64_t v) {
  char bytes[N];
  store_be<N>(bytes, v);
  out.append(bytes, N);
}

}  // namespace tiercache
