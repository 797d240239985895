// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <tiercache/l1/footprint.hpp>
#include <tiercache/l1/table.hpp>

#include <atomic>
#include <chrono>
#include <cstdint>
#include <memory>
#include <string_view>
#include <type_traits>
#include <utility>

namespace tiercache::l1 {

struct CacheOptions {
  Options table;            ///< is_void and void_context are set by the cache
  double ttl_jitter = 0.1;  ///< each ttl is shortened by a random share of up to this much, so that entries put together do not
                            ///< expire together; 0 .. 1
};

/// A value of a Cache: pinned in place or, when the thread's pins were used up, a copy of its own. Move-only; may outlive the
/// cache; may be destroyed on another thread. Empty after a miss.
template <class V>
class Handle {
 public:
  Handle() noexcept = default;
  explicit operator bool() const noexcept { return value_ != nullptr; }
  /// REQUIRES for all three: not empty. Valid while the handle lives.
  const V& operator*() const noexcept { return *value_; }
  const V* operator->() const noexcept { return value_; }
  [[nodiscard]] const V* get() const noexcept { return value_; }

  Handle(Handle&& other) noexcept
      : pin_(std::move(other.pin_)), owned_(std::move(other.owned_)), value_(std::exchange(other.value_, nullptr)) {}
  Handle& operator=(Handle&& other) noexcept {
    pin_ = std::move(other.pin_);
    owned_ = std::move(other.owned_);
    value_ = std::exchange(other.value_, nullptr);
    return *this;
  }

 private:
  template <class>
  friend class Cache;
  explicit Handle(Pin pin) noexcept : pin_(std::move(pin)), value_(static_cast<const V*>(pin_ ? pin_.value() : nullptr)) {}
  explicit Handle(std::unique_ptr<const V> owned) noexcept : owned_(std::move(owned)), value_(owned_.get()) {}

  Pin pin_;
  std::unique_ptr<const V> owned_;
  const V* value_ = nullptr;
};

/// L1 alone: a typed, bounded, lock-free cache in this process, without Redis. A thin front over a Table of its own, whose
/// guarantees of progress it has. Keys: any bytes, at most 65535. All members are thread-safe.
///
///     auto cache = tiercache::l1::Cache<User>::create({.table = {.capacity_bytes = 64 << 20}});
///     (*cache)->put("42", user, std::chrono::minutes(5));
///     if (auto found = (*cache)->get("42")) use(found->name);
template <class V>
class Cache {
 public:
  /// Errors: those of Table::create; invalid_argument for a jitter out of range.
  static Result<std::unique_ptr<Cache>> create(CacheOptions options) {
    if (!(options.ttl_jitter >= 0 && options.ttl_jitter <= 1)) {
      return Error{Errc::invalid_argument, "l1.ttl_jitter: must be 0 to 1"};
    }
    std::unique_ptr<Cache> cache(new Cache(options.ttl_jitter));
    options.table.is_void = [](const void* context, const Entry& entry) noexcept {
      return entry.generation() != static_cast<const Cache*>(context)->generation_.load(std::memory_order_acquire);
    };
    options.table.void_context = cache.get();
    cache->now_ms_ = options.table.now_ms;
    auto table = Table::create(options.table);
    if (!table) return std::move(table).error();
    cache->table_ = std::move(*table);
    auto view = cache->table_->add_view(type_ops<V>());
    if (!view) return std::move(view).error();
    cache->view_ = *view;
    return cache;
  }
  Cache(const Cache&) = delete;
  Cache& operator=(const Cache&) = delete;

  /// Stores or replaces. `ttl` 0: no expiry. On anything but `stored` nothing was stored; an older value of the key may stand.
  PutStatus put(std::string_view key, V value, std::chrono::milliseconds ttl = std::chrono::milliseconds::zero()) {
    EntryMeta meta;
    meta.generation = generation_.load(std::memory_order_acquire);
    const std::uint64_t hash = table_->hash(view_, key);
    if (ttl.count() != 0) meta.hard_expiry_ms = expiry(ttl.count(), hash);
    return table_->put(view_, key, hash, &value, meta);
  }

  /// The value, in place; empty: a miss, or V cannot be copied and the thread has no pin left.
  [[nodiscard]] Handle<V> get(std::string_view key) {
    const std::uint32_t generation = generation_.load(std::memory_order_acquire);
    const std::uint64_t hash = table_->hash(view_, key);
    const std::int64_t now = now_ms_();
    if (Pin pin = table_->find(view_, key, hash, generation, now)) [[likely]]
      return Handle<V>(std::move(pin));
    if constexpr (std::is_copy_constructible_v<V>) {
      if (pins_exhausted()) {
        std::unique_ptr<const V> copy;
        table_->visit(view_, key, hash, generation, now,
                      [&](const void* value, const Entry&) { copy = std::make_unique<const V>(*static_cast<const V*>(value)); });
        if (copy) return Handle<V>(std::move(copy));
      }
    }
    table_->count_miss(hash);
    return {};
  }

  /// Calls f(const V&) if the key is present; false otherwise. Takes no pin; nests six deep.
  template <class F>
  bool visit(std::string_view key, F&& f) {
    const std::uint32_t generation = generation_.load(std::memory_order_acquire);
    const std::uint64_t hash = table_->hash(view_, key);
    return table_->visit(view_, key, hash, generation, now_ms_(),
                         [&](const void* value, const Entry&) { static_cast<F&&>(f)(*static_cast<const V*>(value)); });
  }

  /// True if this call removed the key.
  bool erase(std::string_view key) { return table_->erase(view_, key, table_->hash(view_, key)); }
  /// O(1): everything put before is absent from now on; its memory comes back as the hand passes.
  void clear() noexcept { generation_.fetch_add(1, std::memory_order_acq_rel); }

  [[nodiscard]] L1Stats stats() const noexcept { return table_->stats(); }
  [[nodiscard]] Result<void> validate() const { return table_->validate(); }

 private:
  explicit Cache(double jitter) noexcept : jitter_(jitter) {}

  [[nodiscard]] std::int64_t expiry(std::int64_t ttl_ms, std::uint64_t hash) const noexcept {
    const std::int64_t now = now_ms_();
    if (ttl_ms < 0) return now > 0 ? now : 1;
    const double share = static_cast<double>(mix64(hash ^ static_cast<std::uint64_t>(now)) >> 11) * 0x1p-53;
    const auto shorter = static_cast<std::int64_t>(static_cast<double>(ttl_ms) * jitter_ * share);
    constexpr std::int64_t expiry_max = (std::int64_t{1} << 48) - 1;
    return ttl_ms > expiry_max - now ? expiry_max : now + ttl_ms - shorter;
  }

  std::atomic<std::uint32_t> generation_{1};
  double jitter_;
  std::int64_t (*now_ms_)() noexcept = nullptr;
  ViewId view_ = 0;
  std::unique_ptr<Table> table_;
};

}  // namespace tiercache::l1
