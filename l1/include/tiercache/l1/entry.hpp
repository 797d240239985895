// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <atomic>
#include <cstddef>
#include <cstdint>
#include <new>
#include <string_view>

namespace tiercache::l1 {

namespace detail {
struct EntryAccess;
}

/// One cached entry: header, key and value in one allocation. Immutable once it is in the table, but for freq, flags and link.
/// Frozen layout: later releases fill it, they do not widen it.
///
///      0        +8                +16
///      +-----------------+--------+----+----+
///    0 | hard_expiry_ms  | gener- | key|    |   hard_expiry_ms:48 | view:16, then u32 generation, u16 key_bytes, u16 shard
///      |   :48 | view:16 | ation  | by | sh |
///      +---+---+---+---+-+--------+----+----+
///   16 |frq|grn|flg| 0 | soft_lead|          |   u8 freq, u8 granules (0: allocated outside the arena), u8 flags, u8 reserved,
///      +---+---+---+---+----------+          |   u32 soft_lead_ms
///   24 | version         |                       u64
///      +-----------------+
///   32 | link            |                       u64: live: stamp:32 (spare) | install sequence:32; retired: the next retired
///      +-----------------+
///   40 | key bytes ... | padding | value ... | heap charge (u64, only with flag 0x10) |
///
/// flags: 0x0f log2 of the value's alignment, 0x10 a heap charge stands behind the value (next multiple of 8), 0x80 retired.
/// The value begins at the next multiple of its alignment; the entry itself is aligned to that, and at least to 32.
/// The heap charge is stored, not computed again at the end: a footprint() that looks through a pointer at something that still
/// changes would otherwise drift the budget.
class Entry {
 public:
  static constexpr std::size_t header_bytes = 40;

  [[nodiscard]] std::uint64_t version() const noexcept { return version_; }
  /// 0: never expires.
  [[nodiscard]] std::int64_t hard_expiry_ms() const noexcept { return static_cast<std::int64_t>(expiry_view_ >> 16); }
  [[nodiscard]] std::uint32_t soft_lead_ms() const noexcept { return soft_lead_ms_; }
  [[nodiscard]] std::uint16_t view() const noexcept { return static_cast<std::uint16_t>(expiry_view_); }
  [[nodiscard]] std::uint16_t shard() const noexcept { return shard_; }
  [[nodiscard]] std::uint32_t generation() const noexcept { return generation_; }
  [[nodiscard]] std::string_view key() const noexcept { return {reinterpret_cast<const char*>(this) + header_bytes, key_bytes_}; }
  [[nodiscard]] const void* value() const noexcept {
    return reinterpret_cast<const char*>(this) +
           value_offset(key_bytes_, std::size_t{1} << (flags_.load(std::memory_order_relaxed) & 0x0fU));
  }
  [[nodiscard]] bool expired(std::int64_t now_ms) const noexcept { return hard_expiry_ms() != 0 && hard_expiry_ms() <= now_ms; }

  [[nodiscard]] static constexpr std::size_t value_offset(std::size_t key_bytes, std::size_t align) noexcept {
    return (header_bytes + key_bytes + align - 1) & ~(align - 1);
  }

 private:
  friend struct detail::EntryAccess;
  static constexpr std::uint8_t flag_heap = 0x10;
  static constexpr std::uint8_t flag_retired = 0x80;

  Entry() noexcept = default;

  std::uint64_t expiry_view_ = 0;
  std::uint32_t generation_ = 0;
  std::uint16_t key_bytes_ = 0;
  std::uint16_t shard_ = 0;
  mutable std::atomic<std::uint8_t> freq_{0};
  std::uint8_t granules_ = 0;
  std::atomic<std::uint8_t> flags_{0};
  [[maybe_unused]] std::uint8_t reserved_ = 0;
  std::uint32_t soft_lead_ms_ = 0;
  std::uint64_t version_ = 0;
  std::atomic<std::uint64_t> link_{0};
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

  /// Writes only below the maximum, so that a hot entry's line stays shared. A lost increment does not matter.
  static void touch(const Entry& entry) noexcept {
    const std::uint8_t freq = entry.freq_.load(std::memory_order_relaxed);
    if (freq < freq_max) entry.freq_.store(static_cast<std::uint8_t>(freq + 1), std::memory_order_relaxed);
  }
  [[nodiscard]] static std::uint8_t freq(const Entry& entry) noexcept { return entry.freq_.load(std::memory_order_relaxed); }
  static void set_freq(const Entry& entry, std::uint8_t freq) noexcept { entry.freq_.store(freq, std::memory_order_relaxed); }

  [[nodiscard]] static bool matches(const Entry& entry, std::uint16_t view, std::string_view key) noexcept {
    return entry.view() == view && entry.key_bytes_ == key.size() && same(entry.key().data(), key.data(), key.size());
  }
  /// Void entries are absent: another generation, or past hard expiry.
  [[nodiscard]] static bool current(const Entry& entry, std::uint32_t generation, std::int64_t now_ms) noexcept {
    return entry.generation_ == generation && !entry.expired(now_ms);
  }

  /// Garbage once the entry is retired; then the slot no longer holds it, and the CAS that wanted the number fails.
  [[nodiscard]] static std::uint32_t seq(const Entry& entry) noexcept {
    return static_cast<std::uint32_t>(entry.link_.load(std::memory_order_relaxed));
  }
  static void set_seq(Entry& entry, std::uint32_t seq) noexcept { entry.link_.store(seq, std::memory_order_relaxed); }
  [[nodiscard]] static Entry* next(const Entry& entry) noexcept { return at(entry.link_.load(std::memory_order_relaxed)); }
  static void set_next(Entry& entry, const Entry* next) noexcept { entry.link_.store(address(next), std::memory_order_relaxed); }

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
    if (n >= 8) {
      std::uint64_t different = 0;
      for (std::size_t i = 0; i + 8 < n; i += 8) different |= word<std::uint64_t>(a + i) ^ word<std::uint64_t>(b + i);
      return (different | (word<std::uint64_t>(a + n - 8) ^ word<std::uint64_t>(b + n - 8))) == 0;
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

  // Construction and size, for the table's own source files.
  [[nodiscard]] static Entry* create(void* memory) noexcept { return ::new (memory) Entry(); }
  static void set_meta(Entry& entry, std::uint16_t view, std::int64_t hard_expiry_ms, std::uint32_t generation,
                       std::uint16_t shard, std::uint32_t soft_lead_ms, std::uint64_t version) noexcept {
    entry.expiry_view_ = (static_cast<std::uint64_t>(hard_expiry_ms) << 16) | view;
    entry.generation_ = generation;
    entry.shard_ = shard;
    entry.soft_lead_ms_ = soft_lead_ms;
    entry.version_ = version;
  }
  static void set_shape(Entry& entry, std::uint16_t key_bytes, unsigned granules, unsigned align_log2, bool heap) noexcept {
    entry.key_bytes_ = key_bytes;
    entry.granules_ = static_cast<std::uint8_t>(granules);
    entry.flags_.store(static_cast<std::uint8_t>(align_log2 | (heap ? Entry::flag_heap : 0U)), std::memory_order_relaxed);
  }
  [[nodiscard]] static unsigned granules(const Entry& entry) noexcept { return entry.granules_; }
  [[nodiscard]] static bool has_heap_charge(const Entry& entry) noexcept {
    return (entry.flags_.load(std::memory_order_relaxed) & Entry::flag_heap) != 0;
  }

 private:
  template <class T>
  [[nodiscard]] static T word(const char* p) noexcept {
    T out;
    __builtin_memcpy(&out, p, sizeof out);
    return out;
  }
};

}  // namespace detail
}  // namespace tiercache::l1
