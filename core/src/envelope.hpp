// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <string>
#include <string_view>

namespace tiercache::detail {

/// What stands before a payload in Redis (docs/design.md, "Envelope"). A plain value.
struct Envelope {
  std::uint16_t schema = 0;
  std::uint8_t codec = 0;
  std::uint8_t flags = 0;  ///< 0, or envelope_tombstone
  std::uint64_t version = 0;
  std::int64_t hard_ttl_ms = 0;   ///< 0: none
  std::int64_t soft_lead_ms = 0;  ///< 0: none
  std::uint64_t epoch = 0;        ///< as read; written by Redis
  std::string_view payload;       ///< into the bytes that were opened
};

inline constexpr std::size_t envelope_head_bytes = 48;
inline constexpr std::size_t envelope_bytes = 56;
inline constexpr std::uint8_t envelope_tombstone = 4;  ///< no value, but a version that must survive one

/// The 48 bytes before the epoch, for `payload` under `physical_key`.
[[nodiscard]] std::string seal(const Envelope& envelope, std::string_view physical_key, std::string_view payload);

enum class Verdict : std::uint8_t {
  good,
  foreign,  ///< not our magic, or a newer format, flag or schema, or another codec: a miss; left alone, never overwritten by a
            ///< fill
  poison,  ///< our magic, the same or an older schema, but the bytes do not verify, or an older schema: a miss; may be removed by
           ///< compare
  tombstone,  ///< nothing but the version of an erase: a miss; a fill may replace it
};

/// Verifies bytes read under `physical_key` for a view of `schema` and `codec`. Reads no byte past the end; never throws.
[[nodiscard]] Verdict open_envelope(std::string_view bytes, std::string_view physical_key, std::uint16_t schema,
                                    std::uint8_t codec, Envelope& out) noexcept;

}  // namespace tiercache::detail
