// SPDX-License-Identifier: Apache-2.0
//
// The checker. A read that began at t and returned version v of a key was stale by t - A(v + 1), where A(w) is the instant at
// which w, or a version after it, was first acknowledged; stale beyond the budget if that is more than D. Exact, online, for
// all processes of the host: the table lies in shared memory and every instant is of one clock.
//
// A key's instants are a list of chunks, newest first, of 15 versions each: nothing is ever forgotten or overwritten, so no read
// can be so late that its successor is no longer known. (A ring of the last versions was rejected: what fell out of it can only
// be estimated, and each estimate is either too strict or not strict enough.)
#pragma once

#include <algorithm>
#include <atomic>
#include <cstddef>
#include <cstdint>
#include <span>

namespace tiercache::demo {

/// The checker's state of one key. All zero at first: version 1 is the one that the record was made with.
struct KeyState {
  std::atomic<std::uint32_t> started{0};  ///< writes begun: no version above 1 + started can ever have been written
  std::atomic<std::uint32_t> acked{0};    ///< highest version acknowledged; the instants of all up to it are set
  std::atomic<std::uint32_t> head{0};     ///< newest chunk; 0: none
  std::uint32_t size = 0;                 ///< bytes of the row's text
};

struct AckChunk {
  static constexpr std::uint32_t versions = 15;
  std::uint32_t older = 0;  ///< the chunk of the 15 versions before; 0: none. Constant once the chunk is published
  std::uint32_t index = 0;  ///< holds versions index * 15 .. index * 15 + 14. Constant once the chunk is published
  std::atomic<std::int64_t> at[versions]{};  ///< 0: not acknowledged
};
static_assert(std::atomic<std::int64_t>::is_always_lock_free, "shared between processes");

/// A view of the shared table; copy freely. All calls are lock-free and may run in any process that maps the table.
class AckLog {
 public:
  /// `chunks[0]` is never used; `used` counts the chunks taken.
  AckLog(std::span<AckChunk> chunks, std::atomic<std::uint32_t>& used) noexcept : chunks_(chunks), used_(&used) {}

  /// Version `version` was acknowledged at `now` (> 0). Also acknowledges every earlier one that was not yet: who had been told
  /// of this one may not be shown what came before it. False: the table is full and the run must not be trusted.
  [[nodiscard]] bool record(KeyState& key, std::uint32_t version, std::int64_t now) const noexcept {
    const std::uint32_t complete = key.acked.load(std::memory_order_acquire);  // (1) pairs with the release (4)
    std::uint32_t c = key.head.load(std::memory_order_acquire);                // (2) pairs with the release (3)
    std::uint32_t spare = 0;
    while (c == 0 || chunks_[c].index < version / AckChunk::versions) {
      if (spare == 0 && (spare = used_->fetch_add(1, std::memory_order_relaxed) + 1) >= chunks_.size()) return false;
      chunks_[spare].older = c;
      chunks_[spare].index = c == 0 ? 0 : chunks_[c].index + 1;
      // (3) publishes the chunk's two constants; on failure acquires another's chunk. A spare that is left over stays unused.
      if (key.head.compare_exchange_strong(c, spare, std::memory_order_acq_rel, std::memory_order_acquire)) {
        c = spare;
        spare = 0;
      }
    }
    // Downwards to what is complete and not later than this. Not only to the first instant that is set: its writer may be
    // halfway down, and (4) must not claim what it has not done yet.
    for (std::uint32_t v = version; v >= 2; --v) {
      while (chunks_[c].index > v / AckChunk::versions) c = chunks_[c].older;
      std::atomic<std::int64_t>& at = chunks_[c].at[v % AckChunk::versions];
      std::int64_t old = at.load(std::memory_order_relaxed);
      if (v <= complete && old <= now) break;
      while ((old == 0 || old > now) && !at.compare_exchange_weak(old, now, std::memory_order_relaxed)) {
      }
    }
    std::uint32_t acked = complete;
    while (acked < version &&
           !key.acked.compare_exchange_weak(acked, version, std::memory_order_release, std::memory_order_relaxed)) {  // (4)
    }
    return true;
  }

  /// How stale, in nanoseconds, an answer with `version` was for a read that began at `began`; 0: not at all.
  [[nodiscard]] std::int64_t staleness(const KeyState& key, std::uint64_t version, std::int64_t began) const noexcept {
    if (version >= key.acked.load(std::memory_order_acquire)) return 0;  // (5) pairs with (4): version + 1 has its instant
    const auto next = static_cast<std::uint32_t>(version) + 1;
    std::uint32_t c = key.head.load(std::memory_order_acquire);  // (6) pairs with (3)
    while (chunks_[c].index > next / AckChunk::versions) c = chunks_[c].older;
    return std::max<std::int64_t>(0, began - chunks_[c].at[next % AckChunk::versions].load(std::memory_order_relaxed));
  }

 private:
  std::span<AckChunk> chunks_;
  std::atomic<std::uint32_t>* used_;
};

}  // namespace tiercache::demo
