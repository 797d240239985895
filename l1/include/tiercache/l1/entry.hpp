// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <tiercache/l1/idle.hpp>
#include <tiercache/l1/sync.hpp>

#include <atomic>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <new>
#include <string_view>

#ifdef __SSE2__
#include <emmintrin.h>
#endif

namespace tiercache::l1 {

namespace detail {
struct EntryAccess;
}

/// Where the eviction policy counts an entry.
enum class QueueOf : std::uint8_t { none, small, main };

/// One cached entry: what a hit reads, the key, the value, and behind them what a hit does not read, in one allocation. Immutable
/// once it is in the table, but for freq, flags, queue, link, idle and, by expire(), the expiry.
///
///      0        +8                +16
///      +-----------------+--------+----+----+
///    0 | hard_expiry_ms  | gener- | key|    |   hard_expiry_ms:48 | view:16, then u32 generation, u16 key_bytes, u16 shard
///      |   :48 | view:16 | ation  | by | sh |
///      +---+---+---+---+-+--------+----+----+
///   16 |frq|grn|flg|que|                        u8 freq, u8 granules (0: allocated outside the arena), u8 flags, u8 queue
///      +---+---+---+---+
///   20 | key bytes ... | padding | value ...    a key of 20 bytes and the first of its value share the header's line
///      +---------------+
///      | heap charge   |                        u64, only with flag 0x10
///      +---------------+-+---------------+
///  -24 | version         | link          |      Cold. u64; u64: live: 0:32 | install sequence:32; retired: the next retired one
///      +-----------------+---------------+
///   -8 | soft_lead | idle|                      u32 soft_lead_ms, u32 idle word (idle.hpp), only read with flag 0x20
///      +-----------+-----+
///
/// flags: 0x0f log2 of the value's alignment, 0x10 a heap charge, 0x20 an idle ttl, 0x40 counted in its view's bytes, 0x80
/// retired. The value begins at the next multiple of its alignment; the entry itself is aligned to that, and at least to 32. The
/// cold part is at the end of the entry's granules; outside the arena it is in front of the entry. The heap charge is stored, not
/// computed again at the end: a footprint() that looks through a pointer at something that still changes would otherwise drift
/// the budget.
class Entry {
 public:
  static constexpr std::size_t header_bytes = 20;
  static constexpr std::size_t granule_bytes = 32;

  [[nodiscard]] std::uint64_t version() const noexcept { return cold().version; }
  /// 0: never expires.
  [[nodiscard]] std::int64_t hard_expiry_ms() const noexcept {
    const auto expiry = static_cast<std::int64_t>(expiry_view() >> 16);
    return expiry == never ? 0 : expiry;
  }
  [[nodiscard]] std::uint32_t soft_lead_ms() const noexcept { return cold().soft_lead_ms; }
  [[nodiscard]] std::uint16_t view() const noexcept { return static_cast<std::uint16_t>(expiry_view_[0]); }
  [[nodiscard]] std::uint16_t shard() const noexcept { return shard_; }
  [[nodiscard]] std::uint32_t generation() const noexcept { return generation_; }
  [[nodiscard]] std::string_view key() const noexcept { return {reinterpret_cast<const char*>(this) + header_bytes, key_bytes_}; }
  [[nodiscard]] const void* value() const noexcept {
    return reinterpret_cast<const char*>(this) +
           value_offset(key_bytes_, std::size_t{1} << (flags_.load(std::memory_order_relaxed) & 0x0fU));
  }
  template <class V>
  [[nodiscard]] const V& value_as() const noexcept {
    return value_as<V>(key_bytes_);
  }
  template <class V>
  [[nodiscard]] const V& value_as(std::size_t key_bytes) const noexcept {
    return *reinterpret_cast<const V*>(reinterpret_cast<const char*>(this) + value_offset(key_bytes, alignof(V)));
  }
  [[nodiscard]] bool expired(std::int64_t now_ms) const noexcept {
    if (static_cast<std::int64_t>(expiry_view() >> 16) <= now_ms) return true;
    return (flags_.load(std::memory_order_relaxed) & flag_idle) != 0 && idle_expired(now_ms);
  }

  [[nodiscard]] static constexpr std::size_t value_offset(std::size_t key_bytes, std::size_t align) noexcept {
    return (header_bytes + key_bytes + align - 1) & ~(align - 1);
  }

 private:
  friend struct detail::EntryAccess;
  static constexpr std::uint8_t flag_heap = 0x10;
  static constexpr std::uint8_t flag_idle = 0x20;
  static constexpr std::uint8_t flag_counted = 0x40;
  static constexpr std::uint8_t flag_retired = 0x80;
  static constexpr std::int64_t never = (std::int64_t{1} << 48) - 1;

  struct Cold {
    std::uint64_t version = 0;
    std::atomic<std::uint64_t> link{0};
    std::uint32_t soft_lead_ms = 0;
    std::atomic<std::uint32_t> idle{0};
  };
  static_assert(sizeof(Cold) == 24);

  Entry() noexcept = default;

  // Two halves of one word, which must not align the header to 8. Only ever read and written as a whole; entries lie at multiples
  // of 32.
  using Aliased [[gnu::may_alias]] = std::uint64_t;
  [[nodiscard]] std::uint64_t expiry_view() const noexcept {
    return __atomic_load_n(static_cast<const Aliased*>(__builtin_assume_aligned(expiry_view_, 8)), __ATOMIC_RELAXED);
  }
  [[nodiscard]] char* end_of_granules() const noexcept {
    return const_cast<char*>(reinterpret_cast<const char*>(this)) +
           granules_ * granule_bytes;  // granules_ 0: in front of the entry
  }
  [[nodiscard]] Cold& cold() const noexcept { return *reinterpret_cast<Cold*>(end_of_granules() - sizeof(Cold)); }
  [[nodiscard]] bool idle_expired(std::int64_t now_ms) const noexcept {
    return idle::expired(cold().idle.load(std::memory_order_relaxed), now_ms);
  }

  std::uint32_t expiry_view_[2] = {0, 0};
  std::uint32_t generation_ = 0;
  std::uint16_t key_bytes_ = 0;
  std::uint16_t shard_ = 0;
  mutable std::atomic<std::uint8_t> freq_{0};
  std::uint8_t granules_ = 0;
  std::atomic<std::uint8_t> flags_{0};
  mutable std::atomic<QueueOf> queue_{QueueOf::none};
};
static_assert(sizeof(Entry) == Entry::header_bytes);

namespace detail {

/// The table's way into an entry.
struct EntryAccess {
  static constexpr std::uint8_t freq_max = 3;

  [[nodiscard]] static Entry* at(std::uint64_t address) noexcept {
    return reinterpret_cast<Entry*>(static_cast<std::uintptr_t>(address));  // NOLINT(performance-no-int-to-ptr)
  }
  [[nodiscard]] static std::uint64_t address(const Entry* entry) noexcept { return reinterpret_cast<std::uintptr_t>(entry); }

  /// True when a hit has nothing to write: the use counter is at its maximum. It never is on entries that have an idle ttl.
  [[nodiscard]] static bool saturated(const Entry& entry) noexcept {
    return entry.freq_.load(std::memory_order_relaxed) >= freq_max;
  }
  [[nodiscard]] static std::uint8_t freq_limit(const Entry& entry) noexcept { return has_idle(entry) ? freq_max - 1 : freq_max; }
  [[nodiscard]] static bool has_idle(const Entry& entry) noexcept {
    return (entry.flags_.load(std::memory_order_relaxed) & Entry::flag_idle) != 0;
  }
  /// REQUIRES: has_idle(). Pushes the idle ttl out; writes once a quantum.
  static void touch_idle(const Entry& entry, std::int64_t now_ms) noexcept {
    auto& word = entry.cold().idle;
    const std::uint32_t old = word.load(std::memory_order_relaxed);
    const std::uint32_t now = idle::touched(old, now_ms);
    if (now != old) word.store(now, std::memory_order_relaxed);
  }
  [[nodiscard]] static std::uint8_t freq(const Entry& entry) noexcept { return entry.freq_.load(std::memory_order_relaxed); }
  /// Before the link, by the only thread that knows the entry.
  static void set_counted(Entry& entry) noexcept {
    entry.flags_.store(static_cast<std::uint8_t>(entry.flags_.load(std::memory_order_relaxed) | Entry::flag_counted),
                       std::memory_order_relaxed);
  }
  [[nodiscard]] static bool counted(const Entry& entry) noexcept {
    return (entry.flags_.load(std::memory_order_relaxed) & Entry::flag_counted) != 0;
  }
  [[nodiscard]] static std::atomic<QueueOf>& queue(const Entry& entry) noexcept { return entry.queue_; }
  static void set_freq(const Entry& entry, std::uint8_t freq) noexcept { entry.freq_.store(freq, std::memory_order_relaxed); }

  [[nodiscard]] static bool matches(const Entry& entry, std::uint16_t view, std::string_view key) noexcept {
    return entry.view() == view && entry.key_bytes_ == key.size() && same(entry.key().data(), key.data(), key.size());
  }
  /// Void entries are absent: another generation, or past hard expiry. Of an idle ttl it does not know.
  [[nodiscard]] static bool current(const Entry& entry, std::uint32_t generation, std::int64_t now_ms) noexcept {
    return entry.generation_ == generation && static_cast<std::int64_t>(entry.expiry_view() >> 16) > now_ms;
  }

  /// Garbage once the entry is retired; then the slot no longer holds it, and the CAS that wanted the number fails.
  [[nodiscard]] static std::uint32_t seq(const Entry& entry) noexcept {
    return static_cast<std::uint32_t>(entry.cold().link.load(std::memory_order_relaxed));
  }
  static void set_seq(Entry& entry, std::uint32_t seq) noexcept { entry.cold().link.store(seq, std::memory_order_relaxed); }

  /// For validate(), when nothing moves.
  [[nodiscard]] static bool retired(const Entry& entry) noexcept {
    return (entry.flags_.load(std::memory_order_relaxed) & Entry::flag_retired) != 0;
  }
  /// For HazardKernel, which marks the entry retired and asks for it.
  static constexpr std::uint8_t flag_retired = Entry::flag_retired;
  [[nodiscard]] static const std::atomic<std::uint8_t>& flags(const Entry& entry) noexcept { return entry.flags_; }
  [[nodiscard]] static std::atomic<std::uint8_t>& flags(Entry& entry) noexcept { return entry.flags_; }

  /// Key compare without a call: keys are short.
  [[nodiscard]] static bool same(const char* a, const char* b, std::size_t n) noexcept {
    if (n > 16) {
      // Most keys are of at most 32 bytes, and equal: one test for both halves.
      return equal32(a, b, n - 16) && (n <= 32 || std::memcmp(a + 16, b + 16, n - 32) == 0);
    }
    if (n >= 8) {
      return ((word<std::uint64_t>(a) ^ word<std::uint64_t>(b)) |
              (word<std::uint64_t>(a + n - 8) ^ word<std::uint64_t>(b + n - 8))) == 0;
    }
    if (n >= 4) {
      return ((word<std::uint32_t>(a) ^ word<std::uint32_t>(b)) |
              (word<std::uint32_t>(a + n - 4) ^ word<std::uint32_t>(b + n - 4))) == 0;
    }
    for (std::size_t i = 0; i < n; ++i) {
      if (a[i] != b[i]) return false;
    }
    return true;
  }

  /// A retired entry's handle, granules:16 | address:48: where its link is can be told without reading it, by one who may find
  /// the memory in use again.
  [[nodiscard]] static std::uint64_t handle(const Entry& entry) noexcept {
    return std::uint64_t{entry.granules_} << 48 | address(&entry);
  }
  [[nodiscard]] static bool in_arena(std::uint64_t handle) noexcept { return handle >> 48 != 0; }
  [[nodiscard]] static unsigned granules_of_handle(std::uint64_t handle) noexcept { return static_cast<unsigned>(handle >> 48); }
  [[nodiscard]] static Entry* of_handle(std::uint64_t handle) noexcept { return at(handle & ((std::uint64_t{1} << 48) - 1)); }
  [[nodiscard]] static std::atomic<std::uint64_t>& link(std::uint64_t handle) noexcept {
    char* const end = reinterpret_cast<char*>(of_handle(handle)) + (handle >> 48) * Entry::granule_bytes;
    return reinterpret_cast<Entry::Cold*>(end - cold_bytes)->link;
  }

  static void prefetch_cold(const Entry& entry) noexcept { prefetch_to_write(&entry.cold()); }

  // Construction and size, for the table's own source files.
  static constexpr std::size_t cold_bytes = sizeof(Entry::Cold);
  [[nodiscard]] static Entry* create(void* memory, unsigned granules) noexcept {
    auto* entry = ::new (memory) Entry();
    entry->granules_ = static_cast<std::uint8_t>(granules);
    ::new (static_cast<void*>(&entry->cold())) Entry::Cold;
    return entry;
  }
  static void set_meta(Entry& entry, std::uint16_t view, std::int64_t hard_expiry_ms, std::uint32_t generation,
                       std::uint16_t shard, std::uint32_t soft_lead_ms, std::uint64_t version) noexcept {
    set_expiry(entry, view, hard_expiry_ms);
    entry.generation_ = generation;
    entry.shard_ = shard;
    entry.cold().soft_lead_ms = soft_lead_ms;
    entry.cold().version = version;
  }
  static void set_shape(Entry& entry, std::uint16_t key_bytes, unsigned align_log2, bool heap, std::uint32_t idle_word) noexcept {
    entry.key_bytes_ = key_bytes;
    entry.cold().idle.store(idle_word, std::memory_order_relaxed);
    entry.flags_.store(
        static_cast<std::uint8_t>(align_log2 | (heap ? Entry::flag_heap : 0U) | (idle_word != 0 ? Entry::flag_idle : 0U)),
        std::memory_order_relaxed);
  }
  /// 0, or anything that 48 bits cannot hold: never.
  static void set_expiry(Entry& entry, std::uint16_t view, std::int64_t hard_expiry_ms) noexcept {
    const std::int64_t expiry = hard_expiry_ms <= 0 || hard_expiry_ms > Entry::never ? Entry::never : hard_expiry_ms;
    __atomic_store_n(static_cast<Entry::Aliased*>(__builtin_assume_aligned(entry.expiry_view_, 8)),
                     (static_cast<std::uint64_t>(expiry) << 16) | view, __ATOMIC_RELAXED);
  }
  /// REQUIRES: has_heap_charge(). In front of the cold part.
  [[nodiscard]] static std::uint64_t& heap_charge(const Entry& entry) noexcept {
    return *reinterpret_cast<std::uint64_t*>(entry.end_of_granules() - cold_bytes - sizeof(std::uint64_t));
  }
  [[nodiscard]] static unsigned granules(const Entry& entry) noexcept { return entry.granules_; }
  [[nodiscard]] static bool has_heap_charge(const Entry& entry) noexcept {
    return (entry.flags_.load(std::memory_order_relaxed) & Entry::flag_heap) != 0;
  }

 private:
  /// The first 16 bytes, and 16 from there on.
  [[nodiscard]] static bool equal32(const char* a, const char* b, std::size_t further) noexcept {
#ifdef __SSE2__
    const auto differ = [](const char* x, const char* y) noexcept {
      return _mm_xor_si128(_mm_loadu_si128(reinterpret_cast<const __m128i*>(x)),
                           _mm_loadu_si128(reinterpret_cast<const __m128i*>(y)));
    };
    const __m128i all = _mm_or_si128(differ(a, b), differ(a + further, b + further));
    return _mm_movemask_epi8(_mm_cmpeq_epi8(all, _mm_setzero_si128())) == 0xffff;
#else
    const auto differ = [](const char* x, const char* y) noexcept {
      return (word<std::uint64_t>(x) ^ word<std::uint64_t>(y)) | (word<std::uint64_t>(x + 8) ^ word<std::uint64_t>(y + 8));
    };
    return (differ(a, b) | differ(a + further, b + further)) == 0;
#endif
  }
  template <class T>
  [[nodiscard]] static T word(const char* p) noexcept {
    T out;
    __builtin_memcpy(&out, p, sizeof out);
    return out;
  }
};

}  // namespace detail
}  // namespace tiercache::l1
