// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>

namespace tiercache::l1::idle {

/// An idle ttl and the time of the last hit in one word, so that a hit that pushes it out is one store, at most once a quantum:
///
///     31  30 29            16 15                  0
///    +------+----------------+---------------------+
///    | unit | ttl, in units  | last use, in units  |      unit u is 64 ms << 4u: 64 ms, 1 s, 16 s, 262 s
///    +------+----------------+---------------------+
///
/// An idle ttl of up to 49 days is kept to within two units, which is at most 1 part in 500 from 17 minutes on, and never less
/// than asked. 0: none. The last use wraps after four times the longest ttl of its unit.
inline constexpr std::uint32_t ttl_units_max = (1U << 14) - 1;

[[nodiscard]] constexpr unsigned shift(std::uint32_t word) noexcept { return 6 + 4 * (word >> 30); }

[[nodiscard]] constexpr std::uint32_t touched(std::uint32_t word, std::int64_t now_ms) noexcept {
  return (word & 0xffff0000U) | (static_cast<std::uint32_t>(now_ms >> shift(word)) & 0xffffU);
}
/// `ttl_ms` 0 or negative: none; longer than can be told: the longest.
[[nodiscard]] constexpr std::uint32_t make(std::int64_t ttl_ms, std::int64_t now_ms) noexcept {
  if (ttl_ms <= 0) return 0;
  std::uint32_t unit = 0;
  std::int64_t units = (ttl_ms + 63) >> 6;
  while (units > ttl_units_max - 1 && unit < 3) {
    ++unit;
    const unsigned bits = 6 + 4 * unit;
    units = (ttl_ms + (std::int64_t{1} << bits) - 1) >> bits;
  }
  if (units > ttl_units_max - 1) units = ttl_units_max - 1;
  // One more: the unit in which the last use fell is counted from its beginning.
  return touched((unit << 30) | (static_cast<std::uint32_t>(units + 1) << 16), now_ms);
}
[[nodiscard]] constexpr bool expired(std::uint32_t word, std::int64_t now_ms) noexcept {
  const std::uint32_t since = (static_cast<std::uint32_t>(now_ms >> shift(word)) - word) & 0xffffU;
  return since >= ((word >> 16) & ttl_units_max);
}

}  // namespace tiercache::l1::idle
