// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <tiercache/base/error.hpp>
#include <tiercache/l1/pin.hpp>

#include <cassert>
#include <cstdint>
#include <memory>
#include <string_view>
#include <utility>

namespace tiercache {

/// Where an answer came from.
enum class Source : std::uint8_t { none, l1, l2, loader };

/// The answer of a read: a value, an absence, or an absence with the reason why nobody could be asked.
///
/// With a value it is either a pin on L1's own entry (nothing was copied) or a shared owner of a value that L1 did not keep.
/// Either way `*handle` stays readable and unchanged until the handle goes, whatever happens to the entry, the view or the store.
/// Move-only (a moved-from handle is empty); may be moved to and destroyed on another thread; not for concurrent use. A thread
/// may hold 24 pins; past that, hits are copied. A held pin keeps its entry's bytes in the budget: keep handles for a request,
/// not for an hour.
template <class V>
class Handle {
 public:
  Handle() noexcept = default;
  Handle(Handle&& other) noexcept
      : value_(std::exchange(other.value_, nullptr)),
        pin_(std::move(other.pin_)),
        owned_(std::move(other.owned_)),
        error_(std::move(other.error_)),
        version_(std::exchange(other.version_, 0)),
        source_(std::exchange(other.source_, Source::none)),
        stale_(std::exchange(other.stale_, false)) {}
  Handle& operator=(Handle&& other) noexcept {
    Handle taken(std::move(other));
    std::swap(value_, taken.value_);
    std::swap(pin_, taken.pin_);
    std::swap(owned_, taken.owned_);
    std::swap(error_, taken.error_);
    std::swap(version_, taken.version_);
    std::swap(source_, taken.source_);
    std::swap(stale_, taken.stale_);
    return *this;
  }

  /// True when there is a value.
  explicit operator bool() const noexcept { return value_ != nullptr; }
  /// REQUIRES: a value.
  const V& operator*() const noexcept { return assert(value_), *value_; }
  const V* operator->() const noexcept { return assert(value_), value_; }
  [[nodiscard]] const V* get() const noexcept { return value_; }

  [[nodiscard]] Source source() const noexcept { return source_; }
  /// Null when the question was answered, also by "absent". Set without a value: no tier could say. Set with a value: it is good,
  /// but could not be stored (Redis away: Errc::unavailable).
  [[nodiscard]] const Error* error() const noexcept { return error_.get(); }
  /// The value's version; 0: none.
  [[nodiscard]] std::uint64_t version() const noexcept {
    return pin_ ? pin_.entry()->version() : version_;  // not read before it is asked for: it lies on a line of its own
  }
  /// True when L1 was not known to be coherent within the staleness asked for, and the caller wanted its value all the same
  /// (WhenStale::serve_stale).
  [[nodiscard]] bool stale() const noexcept { return stale_; }
  /// True when the value lies in L1 itself.
  [[nodiscard]] bool pinned() const noexcept { return static_cast<bool>(pin_); }

 private:
  template <class, class>
  friend class Cache;

  /// A hit. Made where it is wanted: moving a handle costs as much as half a probe.
  Handle(l1::Pin&& pin, std::string_view key) noexcept
      : value_(&pin.value_as<V>(key)), pin_(std::move(pin)), source_(Source::l1) {}

  const V* value_ = nullptr;
  l1::Pin pin_;
  std::shared_ptr<const void> owned_;
  std::unique_ptr<Error> error_;
  std::uint64_t version_ = 0;  ///< without a pin
  Source source_ = Source::none;
  bool stale_ = false;
};

}  // namespace tiercache
