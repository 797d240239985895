// SPDX-License-Identifier: Apache-2.0
//
// Other policies, replayed beside ours: plain and exact, one thread, every object of size 1, stored on each miss.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>

namespace tiercache::bench {

/// Keys are numbered below `keys`. Returns the share of requests that hit a cache of `capacity` objects (at least 1).
using Simulator = double (*)(std::span<const std::uint32_t> requests, std::uint32_t keys, std::size_t capacity);

[[nodiscard]] double simulate_lru(std::span<const std::uint32_t> requests, std::uint32_t keys, std::size_t capacity);
/// A ring with one bit an object: the hand spares, once, what was used since it last passed.
[[nodiscard]] double simulate_clock(std::span<const std::uint32_t> requests, std::uint32_t keys, std::size_t capacity);
/// SIEVE (Zhang and others, 2024): as CLOCK, but new objects go to the head of the queue, not to where the hand is.
[[nodiscard]] double simulate_sieve(std::span<const std::uint32_t> requests, std::uint32_t keys, std::size_t capacity);
/// S3-FIFO (Yang and others, 2023): a small queue of a tenth, a main queue, and a ghost queue as long as the main one.
[[nodiscard]] double simulate_s3fifo(std::span<const std::uint32_t> requests, std::uint32_t keys, std::size_t capacity);

}  // namespace tiercache::bench
