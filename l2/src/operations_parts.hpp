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

/// Numbers and publishes on its own, and notes in `reply` where. The answer is the epoch, 8 bytes.
[[nodiscard]] Result<std::string> announce(const MessageParts& m, const Prepared& p, std::string_view most, Exchange& x,
                                           RemoteReply& reply);

}  // namespace tiercache::l2
