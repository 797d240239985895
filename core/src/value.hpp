// SPDX-License-Identifier: Apache-2.0
//
// Between a value and its bytes in L2: envelope, codec, and what each kind of bad bytes means.
#pragma once

#include "store_core.hpp"

#include <chrono>
#include <cstdint>
#include <memory>
#include <optional>
#include <string>

namespace tiercache::detail {

/// A value as L2 gave it.
struct Fetched {
  std::shared_ptr<void> value;
  std::uint64_t version = 0;
  std::int64_t ttl_ms = -1;  // left in L2; -1: does not expire
  std::int64_t soft_lead_ms = 0;
  std::optional<std::uint64_t> server{};  // which run of which server answered; none: it was loaded
};

enum class Opened : std::uint8_t {
  good,
  absent,    ///< a tombstone: a miss; may be overwritten under a lease
  unusable,  ///< ours, but not to be believed or decoded: a miss; may be overwritten under a lease
  foreign,   ///< not ours, newer, or not judged yet: a miss; left alone
  poison,    ///< ours and broken, or of an older schema: a miss; may be removed by compare
};

/// Verifies and decodes what L2 gave. Counts and logs what is bad, without the key.
Opened open_value(StoreCore& core, ViewState& view, const PhysicalKey& key, const RemoteValue& bytes, Fetched& out);

struct Sealed {
  std::string head;
  std::string payload;
  std::optional<Error> error;  ///< too_large, or bad_data when the codec threw
};
/// Encodes and seals a value for L2.
Sealed seal_value(const StoreCore& core, const ViewState& view, const PhysicalKey& key, const void* value, std::uint64_t version,
                  std::chrono::milliseconds ttl);

}  // namespace tiercache::detail
