// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <tiercache/core/codec.hpp>
#include <tiercache/core/handle.hpp>
#include <tiercache/core/store.hpp>
#include <tiercache/core/view.hpp>

#include <functional>
#include <memory>
#include <optional>
#include <ranges>
#include <span>
#include <string>
#include <string_view>
#include <type_traits>
#include <utility>
#include <vector>

namespace tiercache {

/// What a loader may return beside V and std::optional<V>: the value with its row's version or a ttl of its own.
template <class V>
struct Loaded {
  std::optional<V> value;
  std::uint64_t version = 0;
  std::optional<std::chrono::milliseconds> ttl{};
  std::vector<std::string> tags{};  ///< as WriteOptions::tags
};

/// A named, typed view of a store. Cheap to copy; all calls thread-safe; keys are 1..1024 bytes above 0x20 without 0x7F, `{`,
/// `}`.
///
/// Progress: a hit in L1 is lock-free (no lock, no allocation, no system call; no shared write when repeated, but for the one hit
/// in some sixty that Config::l1.profile samples, and those of Config::shadow_reads). Everything else talks to Redis and blocks
/// up to the deadline. No call throws, but get_many for want of memory (or what V's copy throws) and visit what its visitor
/// throws; what the loader throws becomes Errc::loader_failed for the leader and everyone who waited for it.
///
/// A writer reads its own writes: after put or erase returned ok, reads of this store see that write or a later one; after any
/// other answer from Redis, or none, they see what Redis holds, never an L1 copy of before. Other stores see it within the
/// staleness budget once it returned ok, or at once where the reader brings the write's token (ReadOptions::after).
template <class V, class C = Msgpack<V>>
class Cache {
  static_assert(std::is_nothrow_move_constructible_v<V> && std::is_copy_constructible_v<V> && std::is_nothrow_destructible_v<V>,
                "cached values need a noexcept move constructor, a copy constructor and a noexcept destructor");
  static_assert(Codec<C, V>, "C is no codec for V: see tiercache/core/codec.hpp");

 public:
  /// L1, then Redis. Absent: an empty handle without error. Redis away: an empty handle with Errc::unavailable.
  [[nodiscard]] Handle<V> get(std::string_view key) {
    if (l1::Pin pin = view_->probe(key)) [[likely]]
      return Handle<V>(std::move(pin), key);
    return get_beyond_l1(key);
  }
  /// `options` say how stale L1 may be and what is to be done where it is staler (max_staleness, when_stale), and which write it
  /// must have (after).
  [[nodiscard]] Handle<V> get(std::string_view key, const ReadOptions& options) {
    if (detail::View::plain(options)) [[likely]] {
      if (l1::Pin pin = view_->probe(key)) [[likely]]
        return Handle<V>(std::move(pin), key);
      if (Handle<V> copy = copy_of_hit(key)) return copy;
    }
    return wrap(view_->read(key, options, nullptr));
  }

  /// get(), and when neither tier has it `loader()` -> V, std::optional<V> or Loaded<V>. One loader call per key at a time, in
  /// this process by joining the call in flight, across instances by a lease in Redis; the value is stored only while the lease
  /// stands, so a slow loader cannot bring old data back. nullopt: an empty handle, nothing is stored. Redis away: the loader is
  /// called (once per key and process), the value comes with error() == unavailable. A waiter whose deadline passes gets
  /// deadline_exceeded.
  template <class F>
  [[nodiscard]] Handle<V> get_or_load(std::string_view key, F&& loader, const ReadOptions& options = {}) {
    if (detail::View::plain(options)) [[likely]] {
      if (l1::Pin pin = view_->probe(key)) [[likely]]
        return Handle<V>(std::move(pin), key);
      if (Handle<V> copy = copy_of_hit(key)) return copy;
    }
    const auto call = [&loader]() -> detail::LoadResult { return run_loader(loader); };
    const detail::LoaderRef ref(call);
    return wrap(view_->read(key, options, &ref));
  }

  /// Calls `f(const V&)` on a hit in L1 without making a handle; false when L1 has nothing coherent to offer. f must not keep the
  /// reference. For the caller that wants L1 or nothing: it never talks to Redis. Coherent within the view's max_staleness; stale
  /// values are not shown.
  template <class F>
  bool visit(std::string_view key, F&& f) {
    return view_->visit(key, [&f](const l1::Entry& entry) { std::forward<F>(f)(entry.value_as<V>()); });
  }

  /// Stores and announces in one atomic step. With Redis as the record: last write wins. Where a database is the record: erase()
  /// after the commit, or put with {.version}. Does not fill L1 (with L2 disabled it does). Answers the token by which any
  /// instance reads this write (with L2 disabled an empty one). Errors: see Errc; after outcome_unknown erase.
  Result<WriteToken> put(std::string_view key, const V& value, const WriteOptions& options = {}) {
    return view_->put(key, &value, options);
  }

  /// put() of many: `pairs` is a range of pairs (key, value), as a std::map<std::string, V> or a span of std::pair. Stored in
  /// groups of one shard, up to 64 pairs or 1 MiB, each group one atomic step with one announcement. An answer for each pair, in
  /// their order: those of put(), with the token of its group, and the same may be assumed; options.version is every pair's.
  /// Where a key comes twice, the later pair is stored (with a version the earlier one; the later is superseded). Nobody else's
  /// put can come between the pairs of a group; groups are sent one after the other, all by one deadline. O(bytes). Throws only
  /// std::bad_alloc, and then nothing was sent.
  template <std::ranges::input_range R>
  std::vector<Result<WriteToken>> put_many(const R& pairs, const WriteOptions& options = {}) {
    static_assert(std::is_lvalue_reference_v<std::ranges::range_reference_t<const R>>, "the pairs must lie somewhere");
    std::vector<std::string_view> keys;
    std::vector<const void*> values;
    for (const auto& [key, value] : pairs) {
      static_assert(std::is_same_v<std::remove_cvref_t<decltype(value)>, V>, "the pairs hold values of the view's type");
      keys.emplace_back(key);
      values.push_back(&value);
    }
    return view_->put_many(keys, values, options);
  }

  /// Deletes and announces in one atomic step, and displaces every load of the key in progress anywhere. Erasing what is absent
  /// is ok. With {.version} that version survives: see WriteOptions.
  Result<WriteToken> erase(std::string_view key, const WriteOptions& options = {}) {
    return view_->erase(std::span(&key, 1), options);
  }
  /// In batches of one shard and some hundred keys (4 KiB of announced names), each one step with one announcement, sent one
  /// after the other by one deadline; ok when all are done. Others may see some batches done and others not yet. On an error some
  /// keys may be erased. The token is of all of them. O(keys).
  Result<WriteToken> erase_many(std::span<const std::string_view> keys, const WriteOptions& options = {}) {
    return view_->erase(keys, options);
  }

  /// Erases the key, runs `db_write()`, which commits the record's change to the database, and erases again. In between a gate
  /// stands in Redis: whoever loads the key gets what the loader reads, and no cache keeps it. So a process that dies at any
  /// instant of it leaves no old value in any cache, where a commit followed by erase() may; the gate lapses after
  /// Config::gate_ttl. Updates of one key do not wait for each other: that is the database's affair. A put meanwhile is stored as
  /// ever (see WriteOptions::version).
  ///
  /// `db_write` returns nothing, or as std::uint64_t the version that it wrote; it runs at most once, on this thread, and must
  /// end within gate_ttl. The deadline bounds what comes before it; what comes after may take l2.call_timeout more.
  ///
  /// Answers the token of its end: a read with it meets no copy of before the write in any instance (with L2 disabled an empty
  /// one).
  ///
  /// Errors: update_failed: db_write threw (whether it committed only the database knows): the key was erased. outcome_unknown:
  /// db_write was done, the end was not answered: erase until one is ok; until the gate lapses nobody caches the key. internal:
  /// want of memory, at any place. unreplicated: all was done, but see l2.wait_replicas. Any other: db_write was not called. With
  /// L2 disabled: the write, then an erase.
  template <class F>
  Result<WriteToken> update(std::string_view key, F&& db_write, const WriteOptions& options = {}) {
    const auto call = [&db_write]() -> std::uint64_t {
      using R = std::remove_cvref_t<std::invoke_result_t<F&>>;
      static_assert(std::is_void_v<R> || std::is_same_v<R, std::uint64_t>,
                    "a database write returns nothing, or the version it wrote as std::uint64_t");
      if constexpr (std::is_void_v<R>) return std::invoke(db_write), 0;
      else return std::invoke(db_write);
    };
    return view_->update(key, detail::DatabaseWriteRef(call), options);
  }

  /// Whether either tier has the key (Redis may hold bytes that do not decode: they count).
  [[nodiscard]] Result<bool> exists(std::string_view key, const ReadOptions& options = {}) { return view_->exists(key, options); }

  /// As many get()s with one round trip for all that L1 lacks; answers in the order of the keys.
  [[nodiscard]] std::vector<Handle<V>> get_many(std::span<const std::string_view> keys, const ReadOptions& options = {}) {
    std::vector<detail::ReadResult> results = view_->read_many(keys, options);
    std::vector<Handle<V>> handles;
    handles.reserve(results.size());
    for (detail::ReadResult& r : results) handles.push_back(wrap(std::move(r)));
    return handles;
  }

  /// Voids every key of the view: in every L1 in O(1), in this one at once, in others by announcement; in Redis by SCAN in
  /// bounded batches. Values put while it runs may go, too. Errors: outcome_unknown: cut short, some keys may stand in Redis,
  /// call again with more time; unavailable: nothing was done in Redis; unacknowledged: done, but see BulkOptions::acknowledged;
  /// unreplicated: done, but see l2.wait_replicas.
  Result<WriteToken> clear(const BulkOptions& options = {}) { return view_->clear(options); }
  /// clear() of the keys that begin with `prefix`, which stands for itself whatever signs it holds. L1s cannot tell which entries
  /// match: they void the whole view and fetch the rest from Redis again. O(keys in Redis) there.
  Result<WriteToken> erase_prefix(std::string_view prefix, const BulkOptions& options = {}) {
    return view_->erase_prefix(prefix, options);
  }
  /// clear() of the keys that match Redis's glob (`*`, `?`, `[ab]`, `[^a]`, `[a-z]`, `\` before what stands for itself; at most 8
  /// stars). L1s as for erase_prefix().
  Result<WriteToken> erase_matching(std::string_view glob, const BulkOptions& options = {}) {
    return view_->erase_matching(glob, options);
  }
  /// erase_many() of the keys that bear the tag (WriteOptions::tags, Loaded::tags), in its batches; a load in progress anywhere
  /// that brings the tag fills no cache afterwards. Other entries stay in every L1. O(keys with the tag). With L2
  /// disabled it voids the view. Without a deadline in the options it may take 120 times l2.call_timeout for each step. Errors:
  /// as erase_many(): some of the keys may be erased, call again.
  Result<WriteToken> erase_tag(std::string_view tag, const WriteOptions& options = {}) { return view_->erase_tag(tag, options); }

  [[nodiscard]] ViewStats stats() const { return view_->stats(); }
  /// Of the store behind the view.
  [[nodiscard]] Health health() const { return view_->health(); }

  /// Why this view is unusable: bad name, other type than the first time, store closed; null when usable.
  [[nodiscard]] const Error* error() const noexcept { return view_->error(); }

 private:
  friend class Store;
  explicit Cache(std::shared_ptr<detail::View> view) noexcept : view_(std::move(view)) {}

  /// Out of line, so that a hit does not pay for options that it does not read.
  [[gnu::noinline]] Handle<V> get_beyond_l1(std::string_view key) {
    if (Handle<V> copy = copy_of_hit(key)) return copy;
    return wrap(view_->read(key, {}, nullptr));
  }

  /// A hit that could not be pinned, because the thread's pins are used up.
  Handle<V> copy_of_hit(std::string_view key) {
    Handle<V> handle;
    if (l1::pins_exhausted()) [[unlikely]] {
      try {
        view_->visit(key, [&handle](const l1::Entry& entry) {
          auto copy = std::make_shared<V>(entry.value_as<V>());
          handle.value_ = copy.get();
          handle.owned_ = std::move(copy);
          handle.version_ = entry.version();
          handle.source_ = Source::l1;
        });
      } catch (...) {  // a copy that cannot be made is a miss
      }
    }
    return handle;
  }

  Handle<V> wrap(detail::ReadResult&& r) {
    Handle<V> handle;
    handle.pin_ = std::move(r.pin);
    handle.owned_ = std::move(r.owned);
    handle.value_ = handle.pin_ ? &handle.pin_.template value_as<V>() : static_cast<const V*>(handle.owned_.get());
    handle.version_ = r.version;
    handle.source_ = r.source;
    handle.stale_ = r.stale;
    if (r.error) handle.error_ = std::make_unique<Error>(std::move(*r.error));
    return handle;
  }

  template <class F>
  static detail::LoadResult run_loader(F& loader) {
    detail::LoadResult result;
    using R = std::remove_cvref_t<std::invoke_result_t<F&>>;
    R raw = std::invoke(loader);
    if constexpr (std::is_same_v<R, Loaded<V>>) {
      if (raw.value) result.value = std::make_shared<V>(std::move(*raw.value));
      result.version = raw.version;
      result.ttl = raw.ttl;
      result.tags = std::move(raw.tags);
    } else if constexpr (std::is_same_v<R, std::optional<V>>) {
      if (raw) result.value = std::make_shared<V>(std::move(*raw));
    } else {
      static_assert(std::is_convertible_v<R, V>, "a loader returns V, std::optional<V> or Loaded<V>");
      result.value = std::make_shared<V>(std::move(raw));
    }
    return result;
  }

  std::shared_ptr<detail::View> view_;
};

template <class V, class C>
Cache<V, C> Store::cache(std::string_view name, ViewOptions options) {
  return Cache<V, C>(detail::open_view(core_, name, options, detail::value_ops<V, C>()));
}

}  // namespace tiercache
