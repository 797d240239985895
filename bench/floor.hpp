// SPDX-License-Identifier: Apache-2.0
//
// The least that a hit can cost: hash, one bucket line of 8 tagged pointers (half of them in use), one entry, key compare. No
// concurrency control, no expiry, no eviction: the denominator of every figure of L1. Its pages are as large as the table's.
#pragma once

#include "hash.hpp"
#include "huge_pages.hpp"
#include "workload.hpp"

#include <emmintrin.h>

#include <cstdint>
#include <cstring>
#include <stdexcept>
#include <string_view>
#include <vector>

namespace tiercache::bench {

class Floor {
 public:
  explicit Floor(std::size_t keys) : buckets_(keys / 4 + 64) { entries_.reserve(keys); }

  /// For keys that are not in yet.
  void put(std::string_view key, const Value& v) {
    const std::uint64_t h = Hash{}(key);
    if (entries_.size() == entries_.capacity()) throw std::length_error("the floor is full");  // its entries cannot move
    Entry* const e = &entries_.emplace_back();
    e->key_size = static_cast<std::uint32_t>(key.size());
    std::memcpy(e->key, key.data(), key.size());
    e->value = v;
    for (std::size_t b = index(h);; b = (b + 1) % buckets_.size())
      for (std::uint64_t& slot : buckets_[b].slots)
        if (slot == 0) {
          slot = tag(h) << 48 | reinterpret_cast<std::uintptr_t>(e);
          return;
        }
  }

  template <class F>
  void read(std::string_view key, F&& f) const {
    const std::uint64_t h = Hash{}(key);
    if (const Entry* e = find(key, h, index(h))) f(e->value);
  }

  /// All buckets are asked for before the first is looked at, and all entries before the first key is compared.
  template <std::size_t N, class F>
  void read_batch(const Request* requests, F&& f) const {
    std::uint64_t hashes[N];
    for (std::size_t i = 0; i < N; ++i) {
      hashes[i] = Hash{}(requests[i].key());
      __builtin_prefetch(&buckets_[index(hashes[i])]);
    }
    for (std::size_t i = 0; i < N; ++i) {
      const Bucket& b = buckets_[index(hashes[i])];
      if (const unsigned mask = matches(b, hashes[i]); mask != 0) {
        const auto* e = entry_of(b.slots[__builtin_ctz(mask)]);
        __builtin_prefetch(e);
        __builtin_prefetch(&e->value.last);
      }
    }
    for (std::size_t i = 0; i < N; ++i)
      if (const Entry* e = find(requests[i].key(), hashes[i], index(hashes[i]))) f(requests[i], e->value);
  }

 private:
  /// Key and first value word share a line.
  struct alignas(64) Entry {
    std::uint32_t key_size;
    char key[key_bytes];
    Value value;
  };
  struct alignas(64) Bucket {
    std::uint64_t slots[8]{};
  };

  static std::uint64_t tag(std::uint64_t h) { return (h & 0xffff) | 1; }
  static Entry* entry_of(std::uint64_t slot) { return reinterpret_cast<Entry*>(slot & 0xffffffffffffULL); }
  [[nodiscard]] std::size_t index(std::uint64_t h) const { return static_cast<std::size_t>(((h >> 32) * buckets_.size()) >> 32); }

  /// Bit i: slot i has the tag.
  static unsigned matches(const Bucket& b, std::uint64_t h) {
    const __m128i want = _mm_set1_epi16(static_cast<short>(tag(h)));
    const auto half = [&](int i) {
      const auto* at = reinterpret_cast<const __m128i*>(b.slots);
      // The tags are the odd fourth words: compare all words, pack the lanes' halves, keep the upper one of each slot.
      const __m128i low = _mm_srai_epi32(_mm_cmpeq_epi16(_mm_load_si128(at + i), want), 16);
      const __m128i high = _mm_srai_epi32(_mm_cmpeq_epi16(_mm_load_si128(at + i + 1), want), 16);
      return static_cast<unsigned>(
          _mm_movemask_ps(_mm_shuffle_ps(_mm_castsi128_ps(low), _mm_castsi128_ps(high), _MM_SHUFFLE(3, 1, 3, 1))));
    };
    return half(0) | half(2) << 4;
  }

  [[nodiscard]] const Entry* find(std::string_view key, std::uint64_t h, std::size_t at) const {
    for (;; at = (at + 1) % buckets_.size()) {
      const Bucket& b = buckets_[at];
      for (unsigned mask = matches(b, h); mask != 0; mask &= mask - 1) {
        const Entry* e = entry_of(b.slots[__builtin_ctz(mask)]);
        __builtin_prefetch(&e->value.last);  // the reader will want it, and this is where its address is first known
        if (e->key_size == key.size() && std::memcmp(e->key, key.data(), key.size()) == 0) return e;
      }
      if (b.slots[7] == 0) return nullptr;  // slots fill from the front: a bucket that is not full ends the search
    }
  }

  std::vector<Bucket, HugePages<Bucket>> buckets_;
  std::vector<Entry, HugePages<Entry>> entries_;
};

}  // namespace tiercache::bench
