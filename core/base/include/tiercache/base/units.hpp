// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>

namespace tiercache {

/// Byte units for config fields: `256_MiB`. All are std::uint64_t counts of bytes.
inline namespace literals {
constexpr std::uint64_t operator""_B(unsigned long long n) noexcept { return n; }
constexpr std::uint64_t operator""_KiB(unsigned long long n) noexcept { return n << 10; }
constexpr std::uint64_t operator""_MiB(unsigned long long n) noexcept { return n << 20; }
constexpr std::uint64_t operator""_GiB(unsigned long long n) noexcept { return n << 30; }
}  // namespace literals

}  // namespace tiercache
