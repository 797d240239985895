// SPDX-License-Identifier: Apache-2.0
//
// What Cache<V> stands on: a view without its type. Users have no business here.
#pragma once

#include <tiercache/base/result.hpp>
#include <tiercache/base/stats.hpp>
#include <tiercache/core/codec.hpp>
#include <tiercache/core/handle.hpp>
#include <tiercache/core/options.hpp>
#include <tiercache/l1/table.hpp>

#include <chrono>
#include <cstdint>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <type_traits>
#include <utility>
#include <vector>

namespace tiercache::detail {

/// What the untyped layers must know of a value type and its codec. One static object for each pair; its address is the identity.
struct ValueOps {
  l1::TypeOps type;
  std::uint8_t codec_id = 0;
  /// Null or a throw: the bytes do not decode.
  std::shared_ptr<void> (*decode)(std::string_view bytes) = nullptr;
  void (*encode)(const void* value, std::string& out) = nullptr;  ///< may throw
  std::shared_ptr<void> (*copy)(const void* value) = nullptr;     ///< may throw
};

template <class V, class C>
const ValueOps& value_ops() {
  static const ValueOps ops{
      *l1::type_ops<V>(), C::id,
      [](std::string_view bytes) -> std::shared_ptr<void> {
        std::optional<V> value = C::decode(bytes);
        return value ? std::make_shared<V>(std::move(*value)) : nullptr;
      },
      [](const void* value, std::string& out) { C::encode(*static_cast<const V*>(value), out); },
      [](const void* value) -> std::shared_ptr<void> { return std::make_shared<V>(*static_cast<const V*>(value)); }};
  return ops;
}

/// A non-owning reference to a callable; lives no longer than the call it is passed to.
template <class>
class FunctionRef;
template <class R, class... Args>
class FunctionRef<R(Args...)> {
 public:
  // clang-format off
  template <class F> requires(!std::is_same_v<std::remove_cvref_t<F>, FunctionRef>)
  FunctionRef(F&& f) noexcept  // NOLINT(google-explicit-constructor,bugprone-forwarding-reference-overload): constrained above
      : object_(const_cast<void*>(static_cast<const void*>(std::addressof(f)))),
        call_([](void* object, Args... args) -> R {
          return (*static_cast<std::remove_reference_t<F>*>(object))(std::forward<Args>(args)...);
        }) {}
  // clang-format on
  R operator()(Args... args) const { return call_(object_, std::forward<Args>(args)...); }

 private:
  void* object_;
  R (*call_)(void*, Args...);
};

struct LoadResult {
  std::shared_ptr<void> value;  ///< null: there is none
  std::uint64_t version = 0;
  std::optional<std::chrono::milliseconds> ttl;
  std::vector<std::string> tags{};
};
using LoaderRef = FunctionRef<LoadResult()>;
/// Answers the version that was written, 0: none.
using DatabaseWriteRef = FunctionRef<std::uint64_t()>;

struct ReadResult {
  l1::Pin pin;
  std::shared_ptr<const void> owned;
  std::optional<Error> error;
  std::uint64_t version = 0;
  Source source = Source::none;
  bool stale = false;  ///< see Handle::stale()
  [[nodiscard]] bool has_value() const noexcept { return pin || owned; }
};

class StoreCore;
struct Contract;
struct ViewState;

/// A named view, untyped. Thread-safe. Keeps its store's memory alive, not its threads.
class View {
 public:
  View(std::shared_ptr<StoreCore> core, ViewState* state, std::optional<Error> error) noexcept;

  /// The hit path, for reads that are plain(). Lock-free; empty when L1 has nothing coherent, and always in a view with a
  /// max_staleness of its own: read() looks for itself there.
  [[nodiscard]] l1::Pin probe(std::string_view id) noexcept { return l1::Pin(hold(id)); }
  /// Whether probe() may answer the call. Known at compile time where the call has no options.
  [[nodiscard]] static bool plain(const ReadOptions& options) noexcept {
    return options.max_staleness.count() == 0 && options.after.get() == nullptr;
  }
  bool visit(std::string_view id, FunctionRef<void(const l1::Entry&)> f);

  [[nodiscard]] ReadResult read(std::string_view id, const ReadOptions& options, const LoaderRef* loader) noexcept;
  [[nodiscard]] std::vector<ReadResult> read_many(std::span<const std::string_view> ids, const ReadOptions& options);
  Result<WriteToken> put(std::string_view id, const void* value, const WriteOptions& options) noexcept;
  Result<WriteToken> erase(std::span<const std::string_view> ids, const WriteOptions& options) noexcept;
  Result<WriteToken> clear(const BulkOptions& options) noexcept;
  Result<WriteToken> erase_prefix(std::string_view prefix, const BulkOptions& options) noexcept;
  Result<WriteToken> erase_matching(std::string_view glob, const BulkOptions& options) noexcept;
  Result<WriteToken> erase_tag(std::string_view tag, const WriteOptions& options) noexcept;
  Result<WriteToken> update(std::string_view id, const DatabaseWriteRef& write, const WriteOptions& options) noexcept;
  /// values[i] under ids[i]; an answer for each. May throw, for want of memory, before anything was sent.
  std::vector<Result<WriteToken>> put_many(std::span<const std::string_view> ids, std::span<const void* const> values,
                                           const WriteOptions& options);
  [[nodiscard]] Result<bool> exists(std::string_view id, const ReadOptions& options) noexcept;
  [[nodiscard]] ViewStats stats() const;
  [[nodiscard]] Health health() const;
  [[nodiscard]] const Error* error() const noexcept { return error_ ? &*error_ : nullptr; }

 private:
  struct Standing {
    std::int64_t now_ms;
    std::uint32_t generation;
  };
  /// probe(), in registers.
  [[nodiscard]] l1::Held hold(std::string_view id) noexcept;
  [[nodiscard]] static Standing standing(StoreCore& core, ViewState& state, std::string_view id) noexcept;
  /// What L1 answers under a contract, a value or an error; nothing: L2 is to be asked. `probed`: probe() was tried, and counted
  /// what it did not answer. Lock-free but for a copy, which is made where `pin` is false or the thread has no pin left; may
  /// throw what that throws.
  [[nodiscard]] std::optional<ReadResult> answer_from_l1(const Contract& contract, std::string_view id, bool probed, bool pin);
  bool visit_within(const Contract& contract, std::string_view id, FunctionRef<void(const l1::Entry&)> f);
  /// The hits among `ids`, whole groups at a time, into `results`.
  void probe_many(std::span<const std::string_view> ids, std::span<ReadResult> results);
  /// A hit as a copy, where the thread has no pin left. May throw what the value's copy throws.
  [[nodiscard]] ReadResult probe_copy(std::string_view id);

  std::shared_ptr<StoreCore> core_;
  ViewState* state_;           ///< owned by core_; null when error_ is set
  ViewState* plain_;           ///< state_, or null where probe() must not answer
  std::uint64_t shadow_mask_;  ///< a hit whose number has none of these bits is compared with L2; all bits: none is
  std::optional<Error> error_;
};

[[nodiscard]] std::shared_ptr<View> open_view(const std::shared_ptr<StoreCore>& core, std::string_view name,
                                              const ViewOptions& options, const ValueOps& ops);

}  // namespace tiercache::detail
