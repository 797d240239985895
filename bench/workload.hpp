// SPDX-License-Identifier: Apache-2.0
//
// The work, equal for all: keys of 20 bytes, values of 128, and the order in which threads ask for them.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <string>
#include <string_view>
#include <vector>

namespace tiercache::bench {

constexpr unsigned seed = 20231;
constexpr std::size_t key_bytes = 20;

/// The first and the last word tell the key; every read looks at both.
struct Value {
  std::uint64_t first;
  std::array<char, 112> body;
  std::uint64_t last;
};
static_assert(sizeof(Value) == 128);
constexpr std::size_t payload_bytes = key_bytes + sizeof(Value);

inline Value value_of(std::uint64_t id) { return {id, {}, ~id}; }
/// 0 when `v` is the value of `id`.
inline std::uint64_t difference(const Value& v, std::uint64_t id) { return (v.first ^ id) | (~v.last ^ id); }

/// key_bytes, but the compiler cannot know: else it would make a hash and a compare for this very length, which no service has.
extern const std::size_t key_size;

/// A key's text beside its number. A thread's requests lie in one array, in order: fetching the next key costs no cache miss,
/// which would be the same for all and hide their differences.
struct Request {
  std::array<char, key_bytes> text;
  std::uint32_t id;
  [[nodiscard]] std::string_view key() const { return {text.data(), key_size}; }
};
static_assert(sizeof(Request) == 24);

[[nodiscard]] Request request_of(std::uint32_t id);

/// Requests of each thread; the length is a power of two.
using Streams = std::vector<std::vector<Request>>;

using Ids = std::vector<std::uint32_t>;
/// 0 .. keys - 1
[[nodiscard]] Ids all_ids(std::uint32_t keys);

/// Requests for `ids`, popular by rank r as r^-theta (theta in [0, 1)); rank is not the order of insertion. theta 0: uniform.
[[nodiscard]] Streams make_streams(Ids ids, double theta, std::size_t length, int threads);

/// Where in its stream a thread's next sample begins, as a multiple of 128: samples of the same few requests would find them in
/// the processor's caches, and a cache that evicts would have learnt them.
[[nodiscard]] std::size_t next_start();

}  // namespace tiercache::bench
