// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <tiercache/l1/footprint.hpp>
#include <tiercache/l1/table.hpp>

#include <algorithm>
#include <array>
#include <atomic>
#include <chrono>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <optional>
#include <span>
#include <string_view>
#include <type_traits>
#include <utility>
#include <vector>

namespace tiercache::l1 {

struct CacheOptions {
  Options table;            ///< is_void and void_context are set by the cache
  double ttl_jitter = 0.1;  ///< each ttl is shortened by a random share of up to this much, so that entries put together do not
                            ///< expire together; 0 .. 1
  /// A value goes when it was not read for so long, to within 128 ms or 1 part in 500; 0: never; at most 49 days. A put may name
  /// another. A hit on such a value may write to it, at most once in so many milliseconds.
  std::chrono::milliseconds idle_ttl{0};
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
  /// True when it is the cache's own value, not a copy.
  [[nodiscard]] bool pinned() const noexcept { return static_cast<bool>(pin_); }

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
  /// REQUIRES: `pin` is not empty.
  explicit Handle(Pin pin) noexcept : pin_(std::move(pin)), value_(&pin_.template value_as<V>()) {}
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
  using Milliseconds = std::chrono::milliseconds;
  using IdleTtl = std::optional<Milliseconds>;

  /// Errors: those of Table::create; invalid_argument for a jitter or an idle ttl out of range.
  static Result<std::unique_ptr<Cache>> create(CacheOptions options) {
    if (!(options.ttl_jitter >= 0 && options.ttl_jitter <= 1)) {
      return Error{Errc::invalid_argument, "l1.ttl_jitter: must be 0 to 1"};
    }
    if (options.idle_ttl.count() < 0 || options.idle_ttl > std::chrono::hours(49 * 24)) {
      return Error{Errc::invalid_argument, "l1.idle_ttl: must be 0 to 49 days"};
    }
    std::unique_ptr<Cache> cache(new Cache(options.ttl_jitter, options.idle_ttl));
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

  /// Stores or replaces. `ttl` 0: no expiry; `idle_ttl` unset: the cache's, 0: none. On anything but `stored` nothing was stored;
  /// an older value of the key may stand.
  PutStatus put(std::string_view key, V value, Milliseconds ttl = Milliseconds::zero(), IdleTtl idle_ttl = {}) {
    return put_when(When::always, key, value, ttl, idle_ttl);
  }
  /// put(), if the key is absent; else `unmatched`. Of several at a time one stores.
  PutStatus put_if_absent(std::string_view key, V value, Milliseconds ttl = Milliseconds::zero(), IdleTtl idle_ttl = {}) {
    return put_when(When::absent, key, value, ttl, idle_ttl);
  }
  /// put(), if the key is present; else `unmatched`.
  PutStatus replace(std::string_view key, V value, Milliseconds ttl = Milliseconds::zero(), IdleTtl idle_ttl = {}) {
    return put_when(When::present, key, value, ttl, idle_ttl);
  }
  /// put() for the key of `expected`, if its value still is the very one that `expected` holds; else `unmatched`, as always for a
  /// handle that is not pinned(). It keeps holding the old value. REQUIRES: `expected` came from this cache.
  PutStatus compare_and_swap(const Handle<V>& expected, V value, Milliseconds ttl = Milliseconds::zero(), IdleTtl idle_ttl = {}) {
    if (!expected.pin_) return PutStatus::unmatched;
    const std::string_view key = expected.pin_.entry()->key();
    const std::uint64_t hash = table_->hash(view_, key);
    return table_->compare_and_swap(expected.pin_, view_, key, hash, &value, meta(hash, ttl, idle_ttl));
  }

  /// The value, in place; empty: a miss, or V cannot be copied and the thread has no pin left.
  [[nodiscard]] Handle<V> get(std::string_view key) {
    const std::uint32_t generation = generation_.load(std::memory_order_acquire);
    const std::uint64_t hash = table_->hash(view_, key);
    const std::int64_t now = now_ms_();
    if (Pin pin = table_->find(view_, key, hash, generation, now)) [[likely]] {
      table_->count_hit(view_, key, hash, *pin.entry());
      return Handle<V>(std::move(pin));
    }
    return pins_exhausted() ? without_pin(key, hash, generation, now) : missed(hash);
  }

  /// get() for many keys, with the memory of several under way at a time; in the order of the keys. Half of pins_per_thread() of
  /// them at most are pinned, the others copies; where V cannot be copied, those past the thread's pins are empty.
  [[nodiscard]] std::vector<Handle<V>> get_many(std::span<const std::string_view> keys) {
    constexpr std::size_t group = pins_per_thread() / 2;
    std::vector<Handle<V>> handles;
    handles.reserve(keys.size());
    const std::uint32_t generation = generation_.load(std::memory_order_acquire);
    const std::int64_t now = now_ms_();
    std::array<std::uint64_t, group> hashes{};
    for (std::size_t begin = 0; begin < keys.size(); begin += group) {
      const std::span<const std::string_view> some = keys.subspan(begin, std::min(group, keys.size() - begin));
      std::array<Pin, group> pins;
      table_->find_many(view_, some, hashes.data(), generation, now, pins.data());
      const bool exhausted = pins_exhausted();  // then an empty pin need not be a miss
      for (std::size_t i = 0; i < some.size(); ++i) {
        if (!pins[i]) {
          handles.push_back(exhausted ? without_pin(some[i], hashes[i], generation, now) : missed(hashes[i]));
          continue;
        }
        table_->count_hit(view_, some[i], hashes[i], *pins[i].entry());
        if constexpr (std::is_copy_constructible_v<V>) {
          if (begin != 0) {
            handles.push_back(Handle<V>(std::make_unique<const V>(pins[i].template value_as<V>())));
            pins[i].reset();
            continue;
          }
        }
        handles.push_back(Handle<V>(std::move(pins[i])));
      }
    }
    return handles;
  }

  /// A copy of the value. Takes no pin.
  [[nodiscard]] std::optional<V> get_copy(std::string_view key) {
    std::optional<V> copy;
    if (!visit(key, [&](const V& value) { copy.emplace(value); })) table_->count_miss(table_->hash(view_, key));
    return copy;
  }

  /// Calls f(const V&) if the key is present; false otherwise. Takes no pin; nests six deep, past that false.
  template <class F>
  bool visit(std::string_view key, F&& f) {
    const std::uint32_t generation = generation_.load(std::memory_order_acquire);
    const std::uint64_t hash = table_->hash(view_, key);
    return table_->visit(view_, key, hash, generation, now_ms_(), [&](const void*, const Entry& entry) {
      table_->count_hit(view_, key, hash, entry);
      static_cast<F&&>(f)(entry.template value_as<V>());
    });
  }

  /// Gives a present key another ttl, from now on (0: no expiry); false when it is absent.
  bool expire(std::string_view key, Milliseconds ttl) {
    const std::uint32_t generation = generation_.load(std::memory_order_acquire);
    const std::uint64_t hash = table_->hash(view_, key);
    return table_->expire(view_, key, hash, generation, now_ms_(), ttl.count() != 0 ? expiry(ttl.count(), hash) : 0);
  }
  /// True if this call removed the key. As erase(), for values that are good but need not be here: it is the lighter one.
  bool evict(std::string_view key) { return table_->evict(view_, key, table_->hash(view_, key)); }
  /// True if this call removed the key.
  bool erase(std::string_view key) { return table_->erase(view_, key, table_->hash(view_, key)); }
  /// O(1): everything put before is absent from now on; its memory comes back as the hand passes.
  void clear() noexcept { generation_.fetch_add(1, std::memory_order_acq_rel); }

  /// Another budget: see Table::resize, and Options::resize_max_bytes for its bound.
  Result<void> resize(std::uint64_t capacity_bytes) noexcept { return table_->resize(capacity_bytes); }

  // The workload: see Table, whose members they are. They allocate; not for hot paths.
  /// The keys that most hits of lately went to, hottest first; at most 64.
  [[nodiscard]] std::vector<KeyHeat> hottest(std::uint32_t k) { return table_->hottest(k); }
  /// The keys that would be evicted first.
  [[nodiscard]] std::vector<KeyAge> coldest(std::uint32_t k) { return table_->coldest(k); }
  /// The hit ratio that other capacities would bring.
  [[nodiscard]] std::vector<MissCurvePoint> miss_curve() { return table_->miss_curve(); }

  [[nodiscard]] L1Stats stats() const noexcept { return table_->stats(); }
  [[nodiscard]] Result<void> validate() const { return table_->validate(); }

 private:
  Cache(double jitter, Milliseconds idle_ttl) noexcept : jitter_(jitter), idle_ttl_(idle_ttl) {}

  [[nodiscard]] EntryMeta meta(std::uint64_t hash, Milliseconds ttl, const IdleTtl& idle_ttl) const noexcept {
    EntryMeta made;
    made.generation = generation_.load(std::memory_order_acquire);
    if (ttl.count() != 0) made.hard_expiry_ms = expiry(ttl.count(), hash);
    made.idle_ttl_ms = idle_ttl.value_or(idle_ttl_).count();
    return made;
  }
  PutStatus put_when(When when, std::string_view key, V& value, Milliseconds ttl, const IdleTtl& idle_ttl) {
    const std::uint64_t hash = table_->hash(view_, key);
    return table_->put_when(when, view_, key, hash, &value, meta(hash, ttl, idle_ttl));
  }

  Handle<V> missed(std::uint64_t hash) noexcept {
    table_->count_miss(hash);
    return {};
  }
  /// For a thread whose pins are used up.
  Handle<V> without_pin(std::string_view key, std::uint64_t hash, std::uint32_t generation, std::int64_t now) {
    if constexpr (std::is_copy_constructible_v<V>) {
      std::unique_ptr<const V> copy;
      table_->visit(view_, key, hash, generation, now, [&](const void*, const Entry& entry) {
        table_->count_hit(view_, key, hash, entry);
        copy = std::make_unique<const V>(entry.template value_as<V>());
      });
      if (copy) return Handle<V>(std::move(copy));
    }
    return missed(hash);
  }

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
  Milliseconds idle_ttl_;
  std::int64_t (*now_ms_)() noexcept = nullptr;
  ViewId view_ = 0;
  std::unique_ptr<Table> table_;
};

}  // namespace tiercache::l1
