// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>

namespace tiercache::l1 {

/// A slot of a bucket.
///
///     63            48 47                                            0
///    +----------------+-----------------------------------------------+
///    |   tag (odd)    |               address of the entry            |   taken
///    +----------------+-----------------------------------------------+
///    |       0        |  sequence of the entry that last left it      |   empty (0: never used)
///    +----------------+-----------------------------------------------+
///
/// The empty word carries the install sequence of what was removed. An install can thereby be told from its absence after the
/// installed entry was removed again, and no word of a slot recurs within 2^32 installs of its bucket.
namespace slot {
inline constexpr std::uint64_t address_mask = (std::uint64_t{1} << 48) - 1;
[[nodiscard]] constexpr std::uint16_t tag_of_hash(std::uint64_t hash) noexcept {
  return static_cast<std::uint16_t>(hash | 1);  // odd: so it is not 0, and not what a control word has there
}
[[nodiscard]] constexpr std::uint64_t make(std::uint16_t tag, std::uint64_t address) noexcept {
  return (static_cast<std::uint64_t>(tag) << 48) | address;
}
[[nodiscard]] constexpr std::uint64_t empty(std::uint32_t seq) noexcept { return seq; }
[[nodiscard]] constexpr std::uint16_t tag(std::uint64_t word) noexcept { return static_cast<std::uint16_t>(word >> 48); }
[[nodiscard]] constexpr bool taken(std::uint64_t word) noexcept { return (word >> 48 & 1) != 0; }
[[nodiscard]] constexpr std::uint64_t address(std::uint64_t word) noexcept { return word & address_mask; }
}  // namespace slot

/// The control word of a bucket.
///
///     63      54 53     49  48  47       32 31                          0
///    +----------+---------+---+-----------+-----------------------------+
///    |    op    | fence's | 0 |  fence's  |             seq             |
///    +----------+- high --+---+--- low ---+-----------------------------+
///
/// Bit 48 is 0, where a tag has a 1: a scan of the line for a tag never takes the control word for a slot.
///
/// op: 0, or 1 + the record whose descriptor tells the install in progress. fence: erases and puts of the bucket; a fill is
/// refused when it moved. seq: installs of the bucket; the one in progress is counted already.
///
/// Bounds of the wrapping fields. A stale fill is let through only if exactly a multiple of 2^21 erases and puts fell on its
/// bucket between its ticket and itself. A helper is misled only if it was stopped between two instructions while exactly a
/// multiple of 2^32 installs went through its bucket and the same thread is installing there again.
namespace control {
inline constexpr std::uint64_t fence_mask = (std::uint64_t{1} << 21) - 1;
[[nodiscard]] constexpr std::uint64_t make(std::uint64_t op, std::uint64_t fence, std::uint32_t seq) noexcept {
  return (op << 54) | ((fence & 0x1f0000) << 33) | ((fence & 0xffff) << 32) | seq;
}
[[nodiscard]] constexpr std::uint32_t op(std::uint64_t word) noexcept { return static_cast<std::uint32_t>(word >> 54); }
[[nodiscard]] constexpr std::uint64_t fence(std::uint64_t word) noexcept {
  return ((word >> 32) & 0xffff) | ((word >> 33) & 0x1f0000);
}
[[nodiscard]] constexpr std::uint32_t seq(std::uint64_t word) noexcept { return static_cast<std::uint32_t>(word); }
[[nodiscard]] constexpr std::uint64_t without_op(std::uint64_t word) noexcept { return word & ((std::uint64_t{1} << 54) - 1); }
}  // namespace control

namespace detail {
/// x / 2^64 of `whole`, rounded down: evenly spread x over [0, whole), told by the highest bits of x.
[[nodiscard]] constexpr std::uint64_t share_of(std::uint64_t whole, std::uint64_t x) noexcept {
  __extension__ using Wide = unsigned __int128;
  return static_cast<std::uint64_t>(static_cast<Wide>(whole) * x >> 64);
}
}  // namespace detail

}  // namespace tiercache::l1
