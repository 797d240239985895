// SPDX-License-Identifier: Apache-2.0
#pragma once

#include "store_core.hpp"

#include <cstdint>

namespace tiercache::detail {

/// What one read asks of L1: the call's options over the view's.
struct Contract {
  std::int64_t max_staleness_ms = 0;  ///< 0: the store's budget
  std::int64_t stale_max_ms = 0;      ///< 0: no bound
  WhenStale when_stale = WhenStale::revalidate;
  const WriteToken* after = nullptr;

  Contract(const ViewState& view, const ReadOptions& options) noexcept;

  /// How long ago a fetch may have begun that the read boards; negative: it boards none.
  [[nodiscard]] Duration join_age() const noexcept;

  enum class Verdict : std::uint8_t {
    fresh,    ///< L1 may answer
    stale,    ///< L1 may answer, marked stale
    lapsed,   ///< L2 is to be asked: L1 is staler than that
    behind,   ///< L2 is to be asked: the token's write is not known to be applied here
    refused,  ///< Errc::stale
  };
  /// Whether L1 may answer for the shard. As all such questions before the generation is loaded and L1 is probed. O(positions of
  /// the token).
  [[nodiscard]] Verdict judge(const StoreCore& core, ShardId shard) const noexcept;
};

/// The option that is out of its range, by name; null: none. Static storage.
[[nodiscard]] const char* fault(const ReadOptions& options) noexcept;

}  // namespace tiercache::detail
