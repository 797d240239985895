// SPDX-License-Identifier: Apache-2.0
#pragma once

#define XXH_INLINE_ALL
#include <xxhash.h>

#include <array>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <random>
#include <string_view>

namespace tiercache {

/// What L1's hash is keyed by: random bytes, other ones in each process. Zero until prepare_hash_secret().
struct alignas(64) HashSecret {
  unsigned char bytes[192] = {};
};
inline constinit HashSecret hash_secret;

namespace detail {
/// The same hash for what most keys are: compiled for these lengths alone it is some thirty instructions and no call.
#ifdef __GNUC__
[[gnu::flatten]]
#endif
[[nodiscard]] inline std::uint64_t
hash_17_to_32(const char* bytes, std::size_t size) noexcept {
#ifdef __GNUC__
  if (size - 17 >= 16) __builtin_unreachable();
#endif
  return XXH3_64bits_withSecret(bytes, size, hash_secret.bytes, sizeof hash_secret.bytes);
}
}  // namespace detail

/// L1's hash: XXH3-64 with a secret that is random for each process, so that a flood of colliding keys cannot be prepared
/// outside. With a secret instead of a seed the hash needs no more instructions than an unkeyed one. `salt`: a table's view, so
/// that equal keys of two views lie in different buckets. Never leaves the process. Wait-free, O(key).
[[nodiscard]] inline std::uint64_t keyed_hash(std::string_view key, std::uint32_t salt) noexcept {
  const std::uint64_t salted = salt * 0x9e3779b97f4a7c15ULL;
  if (key.size() - 17 < 16) [[likely]]
    return detail::hash_17_to_32(key.data(), key.size()) ^ salted;
  return XXH3_64bits_withSecret(key.data(), key.size(), hash_secret.bytes, sizeof hash_secret.bytes) ^ salted;
}

/// XXH3-64 with a seed, for tables of names. Wait-free, O(key).
[[nodiscard]] inline std::uint64_t local_hash(std::string_view key, std::uint64_t seed) noexcept {
  return XXH3_64bits_withSeed(key.data(), key.size(), seed);
}

/// The wire hash of a physical key: XXH3-128, unkeyed, fixed for ever; in canonical (big-endian) bytes in the envelope.
struct WireHash {
  std::uint64_t high = 0;
  std::uint64_t low = 0;
  friend bool operator==(const WireHash&, const WireHash&) = default;
};
[[nodiscard]] inline WireHash wire_hash(std::string_view physical_key) noexcept {
  const XXH128_hash_t h = XXH3_128bits(physical_key.data(), physical_key.size());
  return {h.high64, h.low64};
}

/// The checksum of envelopes. Guards against accident, not against an attacker.
[[nodiscard]] inline std::uint32_t checksum32(std::string_view head, std::string_view body) noexcept {
  const std::uint64_t first = XXH3_64bits(head.data(), head.size());
  return static_cast<std::uint32_t>(XXH3_64bits_withSeed(body.data(), body.size(), first));
}

/// A 64-bit finaliser (bijective).
[[nodiscard]] constexpr std::uint64_t mix64(std::uint64_t x) noexcept {
  x ^= x >> 32;
  x *= 0xd6e8feb86659fd93ULL;
  x ^= x >> 32;
  x *= 0xd6e8feb86659fd93ULL;
  x ^= x >> 32;
  return x;
}

/// Names the stream of messages that is numbered under a log epoch in one run of a server. A server that came back from an older
/// snapshot has the old epoch until somebody notices, and gives its numbers a second time: by its run id they are others. Never
/// 0; the same in every process.
[[nodiscard]] inline std::uint64_t stream_id(std::uint64_t epoch, std::string_view run_id) noexcept {
  const std::uint64_t id = mix64(epoch) ^ XXH3_64bits(run_id.data(), run_id.size());
  return id != 0 ? id : 1;
}

/// Unpredictable 64 bits: origin ids, epochs, seeds. Blocking (reads the system's entropy); not for hot paths.
[[nodiscard]] inline std::uint64_t random_u64() {
  std::random_device device;
  return (static_cast<std::uint64_t>(device()) << 32) ^ device();
}

/// Fills the secret; once, before the first keyed_hash(). Not thread-safe.
inline void prepare_hash_secret() {
  for (std::size_t i = 0; i < sizeof hash_secret.bytes; i += sizeof(std::uint64_t)) {
    const std::uint64_t word = random_u64();
    std::memcpy(hash_secret.bytes + i, &word, sizeof word);
  }
}

}  // namespace tiercache
