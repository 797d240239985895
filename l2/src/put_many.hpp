// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <tiercache/base/ports.hpp>
#include <tiercache/base/result.hpp>

#include <cstddef>

namespace tiercache::l2 {

inline constexpr std::size_t head_bytes = 48;  ///< envelope.hpp: what stands before the epoch

/// What the shape and the size of a put_many must be for one message. Errors: invalid_argument, too_large.
Result<void> check_put_many(const RemoteRequest& request);

}  // namespace tiercache::l2
