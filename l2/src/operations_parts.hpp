// SPDX-License-Identifier: Apache-2.0
//
// What the files of Operations share.
#pragma once

#include "exchange.hpp"
#include "message.hpp"
#include "operations.hpp"

#include <tiercache/base/result.hpp>

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

namespace tiercache::l2 {

using Views = std::vector<std::string_view>;

[[nodiscard]] Error nonsense();
[[nodiscard]] Result<void> take_integer(const Result<Reply>& r, std::int64_t& to);

struct Announced {
  std::uint64_t sequence = 0;  ///< 0: it could not be counted
  std::string epoch;           ///< 8 bytes
};
/// Numbers and publishes on its own.
[[nodiscard]] Result<Announced> announce(const MessageParts& m, const Prepared& p, Exchange& x);

}  // namespace tiercache::l2
